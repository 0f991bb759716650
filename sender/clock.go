package sender

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// clockAge is how long a reading of the server's clock is used: even a bad clock
// drifts by some milliseconds only in that time.
const clockAge = time.Minute

// A clock tells the time of the NATS server. All senders ask the same one, so they
// agree about it however their own clocks are set; what is left of the difference
// is half the time that the answer takes.
type clock struct {
	read func(context.Context) (time.Time, error)

	mu     sync.Mutex
	local  time.Time // when it was read last, with a monotonic reading
	server time.Time // and what the server's clock showed then
}

// reading is a clock as it was read.
type reading struct{ local, server time.Time }

// at reads the clock, if the last reading is old. An old reading is better than
// none.
func (c *clock) at(ctx context.Context) (reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.local.IsZero() && time.Since(c.local) < clockAge {
		return reading{c.local, c.server}, nil
	}
	asked := time.Now()
	server, err := c.read(ctx)
	switch {
	case err == nil:
		c.local, c.server = asked.Add(time.Since(asked)/2), server
	case c.local.IsZero():
		return reading{}, fmt.Errorf("ask NATS for its time: %w", err)
	}
	return reading{c.local, c.server}, nil
}

// now is the server's time.
func (r reading) now() time.Time { return r.server.Add(time.Since(r.local)) }

// here is a time of the server by this machine's clock. Steps of that clock do not
// matter to it.
func (r reading) here(t time.Time) time.Time { return r.local.Add(t.Sub(r.server)) }
