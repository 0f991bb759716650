package sender

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// clockAge is how long a reading of the server's clock is used: even a bad clock
// drifts by some milliseconds only in that time, and one that was set is noticed.
const clockAge = 15 * time.Second

// clockPause is for how long a server that did not tell the time is not asked again.
const clockPause = time.Second

// A clock tells the time of the NATS server. All senders ask the same one, so they
// agree about it however their own clocks are set; what is left of the difference
// is half the time that the answer takes.
type clock struct {
	read func(context.Context) (time.Time, error)
	// agree changes the setting of a reading, which is that of the one before it, to what
	// senders have agreed on after the clock was set by so much in between; by is 0 at the
	// beginning. Nil: it stays.
	agree func(ctx context.Context, read *reading, by time.Duration) error

	mu sync.Mutex
	reading
	failed time.Time // when it could not be read last
}

// reading is a clock as it was read.
type reading struct {
	local  time.Time     // when, with a monotonic reading
	server time.Time     // and what the server's clock showed then
	within time.Duration // by how much local may be wrong
	setting
}

// A setting is how the server's clock was set last.
type setting struct {
	Mark stream.Mark `json:"mark"`
	// At is when, by that clock, and Before what it had shown before.
	At     time.Time `json:"at,omitzero"`
	Before time.Time `json:"before,omitzero"`
}

// maxStep is by how much this machine's clock may be set while a reading is used: the
// server's, which may be the same one, was set perhaps as well.
const maxStep = time.Second

// at reads the clock, if the last reading is old. An old reading is better than
// none.
func (c *clock) at(ctx context.Context) (reading, error) { return c.atLeast(ctx, clockAge) }

// afresh reads the clock unless that was done a moment ago, for those who have a reason
// to believe that it was set.
func (c *clock) afresh(ctx context.Context) (reading, error) { return c.atLeast(ctx, clockPause) }

func (c *clock) atLeast(ctx context.Context, age time.Duration) (reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !c.local.IsZero() && now.Sub(c.local) < age && stream.Step(c.local, now).Abs() < maxStep {
		return c.reading, nil
	}
	if !c.local.IsZero() && time.Since(c.failed) < clockPause {
		return c.reading, nil
	}
	next, err := c.next(ctx)
	switch {
	case err == nil:
		c.reading = next
	case c.local.IsZero():
		return reading{}, fmt.Errorf("ask NATS for its time: %w", err)
	default: // those who come next need not wait as long
		c.failed = time.Now()
	}
	return c.reading, nil
}

// next is another reading. Until it is agreed what a setting of the clock is called, no
// reading is by that setting.
func (c *clock) next(ctx context.Context) (reading, error) {
	asked := time.Now()
	server, err := c.read(ctx)
	if err != nil {
		return reading{}, err
	}
	half := time.Since(asked) / 2
	next := reading{local: asked.Add(half), server: server, within: half, setting: c.setting}
	first := c.local.IsZero()
	by := time.Duration(0)
	if !first {
		by = next.server.Sub(c.server) - next.local.Sub(c.local)
	}
	if c.agree != nil && (first || by.Abs() > stream.LeastSet+2*(half+c.within)) {
		err = c.agree(ctx, &next, by)
	}
	return next, err
}

// set takes note that the clock was set, by so much before it was read first.
func (c *clock) set(ctx context.Context, by time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agree(ctx, &c.reading, by)
}

// now is the server's time.
func (r reading) now() time.Time { return r.server.Add(time.Since(r.local)) }

// age is how long ago a time of the server's clock was. Where that clock was set forward
// since, that does not count. Set back, what was before may look younger than it is.
func (r reading) age(since time.Time) time.Duration {
	age := r.now().Sub(since)
	if r.At.After(r.Before) && !since.After(r.Before) {
		age -= r.At.Sub(r.Before)
	}
	return age
}

// there is the inverse of here, and rather later than sooner.
func (r reading) there(t time.Time) time.Time { return r.server.Add(t.Sub(r.local) + r.within) }

// here is a time of the server by this machine's clock. Steps of that clock do not
// matter to it.
func (r reading) here(t time.Time) time.Time { return r.local.Add(t.Sub(r.server)) }
