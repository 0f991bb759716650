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

// clockPause is for how long a server that did not tell the time is not asked again.
const clockPause = time.Second

// A clock tells the time of the NATS server. All senders ask the same one, so they
// agree about it however their own clocks are set; what is left of the difference
// is half the time that the answer takes.
type clock struct {
	read func(context.Context) (time.Time, error)

	mu sync.Mutex
	reading
	failed time.Time // when it could not be read last
}

// reading is a clock as it was read.
type reading struct {
	local  time.Time     // when, with a monotonic reading
	server time.Time     // and what the server's clock showed then
	within time.Duration // by how much local may be wrong
}

// maxStep is by how much this machine's clock may be set while a reading is used: the
// server's, which may be the same one, was set perhaps as well.
const maxStep = time.Second

// at reads the clock, if the last reading is old. An old reading is better than
// none.
func (c *clock) at(ctx context.Context) (reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !c.local.IsZero() && now.Sub(c.local) < clockAge && step(c.local, now).Abs() < maxStep {
		return c.reading, nil
	}
	if !c.local.IsZero() && time.Since(c.failed) < clockPause {
		return c.reading, nil
	}
	asked := time.Now()
	server, err := c.read(ctx)
	switch {
	case err == nil:
		half := time.Since(asked) / 2
		c.reading = reading{asked.Add(half), server, half}
	case c.local.IsZero():
		return reading{}, fmt.Errorf("ask NATS for its time: %w", err)
	default: // those who come next need not wait as long
		c.failed = time.Now()
	}
	return c.reading, nil
}

// now is the server's time.
func (r reading) now() time.Time { return r.server.Add(time.Since(r.local)) }

// step is by how much this machine's clock was set between two of its readings.
func step(from, to time.Time) time.Duration { return to.Round(0).Sub(from.Round(0)) - to.Sub(from) }

// there is the inverse of here, and rather later than sooner.
func (r reading) there(t time.Time) time.Time { return r.server.Add(t.Sub(r.local) + r.within) }

// here is a time of the server by this machine's clock. Steps of that clock do not
// matter to it.
func (r reading) here(t time.Time) time.Time { return r.local.Add(t.Sub(r.server)) }
