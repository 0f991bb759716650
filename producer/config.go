package producer

import (
	"context"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// Dedupe is how long an event log remembers the source and id of an event: published
// again within that time, it is stored once.
const Dedupe = stream.Dedupe

// MaxEventSize is how many bytes an event may have, data and attributes together.
const MaxEventSize = stream.MaxEventSize

// Config says how a Producer publishes. The zero value is usable.
type Config struct {
	// Prefix goes before every name of the installation's streams: that of "jetpost serve
	// --prefix". Default: none.
	Prefix string
	// Timeout is how long a publish may take, with all its tries: a lost
	// connection or the election of a leader is waited for that long. Default:
	// 10 s. At most a third of Dedupe, within which trying again is safe.
	Timeout time.Duration
	// BodyTimeout is how long an HTTP client may take to send the body of a
	// request. Default: 30 s.
	BodyTimeout time.Duration
	// MaxBatchEvents is how many events an HTTP batch may have. Default: 1,000.
	MaxBatchEvents int
	// MaxBatchBytes is how long the body of an HTTP batch may be. Default: 16 MiB.
	MaxBatchBytes int64
	// Health is notified of event logs that store events, and that do not. Default: none.
	Health Health
	// Repositories are those whose class is added to events that do not have it, as the
	// attribute schemas.RepositoryClass. Default: none.
	Repositories Repositories
	// Memory bounds what the bodies of HTTP requests under way take, together. A request
	// waits for room for 2 s, and is then answered with 503. Default: nothing bounds it.
	Memory Memory
}

// A Health is notified whether events are stored. Its methods are called by many goroutines.
type Health interface {
	// Stored is called when an event log has stored an event.
	Stored(eventLog string)
	// Failed is called when an event log has not stored an event, with the reason.
	Failed(eventLog string, err error)
}

// Repositories know the class of repositories, such as local or remote. Their methods are
// called by many goroutines.
type Repositories interface {
	// Len is how many there are. While there are none, no event is looked at.
	Len() int
	// ClassOf returns the class of the repository of that key, and whether it is known.
	ClassOf(key string) (class string, known bool)
}

// A Memory shares out memory among those who publish. Its methods are called by many
// goroutines.
type Memory interface {
	// Take waits until there is room for a number of bytes for a user, the token of the
	// request; empty: unknown. give is called once they are free again. The
	// error is that of ctx.
	Take(ctx context.Context, user string, bytes int64) (give func(), err error)
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
	if most := Dedupe / 3; c.Timeout < 0 || c.Timeout > most {
		return fmt.Errorf("publish timeout %v: use up to %v", c.Timeout, most)
	}
	if c.BodyTimeout < 0 || c.MaxBatchEvents < 0 || c.MaxBatchBytes < 0 {
		return fmt.Errorf("body timeout %v, batch of %d events and %d bytes: use positive numbers",
			c.BodyTimeout, c.MaxBatchEvents, c.MaxBatchBytes)
	}
	return nil
}
