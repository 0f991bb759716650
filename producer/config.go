package producer

import (
	"fmt"
	"time"

	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
)

// Config has the limits of a Producer. The zero value is usable.
type Config struct {
	// Timeout is how long a publish may take, with all its tries: a lost
	// connection or the election of a leader is waited for that long. Default:
	// 10 s. At most a third of stream.Dedupe, within which trying again is safe.
	Timeout time.Duration
	// BodyTimeout is how long an HTTP client may take to send the body of a
	// request. Default: 30 s.
	BodyTimeout time.Duration
	// MaxBatchEvents is how many events an HTTP batch may have. Default: 1,000.
	MaxBatchEvents int
	// MaxBatchBytes is how long the body of an HTTP batch may be. Default: 16 MiB.
	MaxBatchBytes int64
	// Health is told which event logs store nothing. Default: nobody is.
	Health *stream.Health
	// Repositories are those whose class is written into events that do not say it, as
	// the attribute schemas.RepositoryClass. The caller keeps it running. Default: none.
	Repositories *repository.Registry
	// Memory bounds what the bodies of HTTP requests under way take, together. A request
	// waits for room for 2 s, and is then answered with 503. Default: nothing bounds it.
	Memory *budget.Budget
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = 30 * time.Second
	}
	if c.MaxBatchEvents == 0 {
		c.MaxBatchEvents = 1000
	}
	if c.MaxBatchBytes == 0 {
		c.MaxBatchBytes = 16 << 20
	}
	return c
}

func (c Config) validate() error {
	if most := stream.Dedupe / 3; c.Timeout < 0 || c.Timeout > most {
		return fmt.Errorf("publish timeout %v: use up to %v", c.Timeout, most)
	}
	if c.BodyTimeout < 0 || c.MaxBatchEvents < 0 || c.MaxBatchBytes < 0 {
		return fmt.Errorf("body timeout %v, batch of %d events and %d bytes: use positive numbers",
			c.BodyTimeout, c.MaxBatchEvents, c.MaxBatchBytes)
	}
	return nil
}
