// Package clock tells senders the time of the NATS server.
//
// Timers, ack waits and the keys of the state bucket go by that clock, so all senders agree
// however their own clocks are set. When the server's clock is set, forward or back, the
// senders agree by how much, and a Keeper corrects what was stored before.
package clock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
)

const (
	// maxAge is how long a reading is used: even a bad clock drifts by some milliseconds
	// only in that time, and a clock that was set is noticed.
	maxAge = 15 * time.Second
	// pauseFailed is how long the server is not asked again after a failed reading.
	pauseFailed = time.Second
	// maxStep is by how much this machine's clock may be set while a reading is used. The
	// server's, which may be the same clock, may have been set as well.
	maxStep = time.Second
	// earlyTimer is by how much too early a timer may fire and count as due.
	earlyTimer = 30 * time.Second
)

// A Clock tells the time of the NATS server. The difference between two senders is half
// the time that the server takes to answer.
type Clock struct {
	read func(context.Context) (time.Time, error)
	// agree replaces the setting of a reading, a copy of the one before, by what the senders
	// have agreed on after the clock was set by so much; by is 0 for the first reading.
	// Nil: the setting stays.
	agree func(ctx context.Context, read *Reading, by time.Duration) error

	mu     sync.Mutex
	last   Reading
	failed time.Time // of the last failed reading
}

// New returns a clock that is read by a function.
func New(read func(context.Context) (time.Time, error)) *Clock { return &Clock{read: read} }

// A Reading is one reading of the clock.
type Reading struct {
	Setting

	local  time.Time     // when it was read, with a monotonic reading
	server time.Time     // what the server's clock showed then
	within time.Duration // by how much local may be wrong
}

// A Setting is how the server's clock was set last.
type Setting struct {
	Mark stream.Mark `json:"mark"`
	// At is when, by that clock, and Before what it had shown before.
	At     time.Time `json:"at,omitzero"`
	Before time.Time `json:"before,omitzero"`
}

// At reads the clock, if the last reading is old. An old reading is better than none.
func (c *Clock) At(ctx context.Context) (Reading, error) { return c.atLeast(ctx, maxAge) }

func (c *Clock) atLeast(ctx context.Context, age time.Duration) (Reading, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	local := c.last.local
	if now := time.Now(); !local.IsZero() && now.Sub(local) < age && stream.Step(local, now).Abs() < maxStep {
		return c.last, nil
	}
	if !local.IsZero() && time.Since(c.failed) < pauseFailed {
		return c.last, nil
	}
	next, err := c.next(ctx)
	switch {
	case err == nil:
		c.last = next
	case local.IsZero():
		return Reading{}, fmt.Errorf("ask NATS for its time: %w", err)
	default: // the next callers need not wait as long
		c.failed = time.Now()
	}
	return c.last, nil
}

// next is another reading. It fails until the senders have agreed on a new setting.
func (c *Clock) next(ctx context.Context) (Reading, error) {
	asked := time.Now()
	server, err := c.read(ctx)
	if err != nil {
		return Reading{}, err
	}
	half := time.Since(asked) / 2
	next := Reading{local: asked.Add(half), server: server, within: half, Setting: c.last.Setting}
	first := c.last.local.IsZero()
	by := time.Duration(0)
	if !first {
		by = next.server.Sub(c.last.server) - next.local.Sub(c.last.local)
	}
	if c.agree != nil && (first || by.Abs() > stream.LeastSet+2*(half+c.last.within)) {
		err = c.agree(ctx, &next, by)
	}
	return next, err
}

// set records that the clock was set by so much before the first reading.
func (c *Clock) set(ctx context.Context, by time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agree(ctx, &c.last, by)
}

// Now is the server's time, or this machine's while that is not known.
func (c *Clock) Now(ctx context.Context) time.Time {
	read, err := c.At(ctx)
	if err != nil {
		return time.Now()
	}
	return read.Now()
}

// Server is a time of this machine by the server's clock, and by which setting of it.
// While the server's time is not known, both clocks count as equal.
func (c *Clock) Server(ctx context.Context, at time.Time) (time.Time, stream.Mark) {
	read, err := c.At(ctx)
	if err != nil {
		return at, stream.Mark{}
	}
	return read.there(at), read.Mark
}

// FiredEarly reports whether a timer has fired too early, because the clock was set
// forward, and when it is due.
func (c *Clock) FiredEarly(ctx context.Context, m *consume.Message) (due time.Time, mark stream.Mark, early bool) {
	planned, by, known := stream.TimerMark(m.Header)
	if !known {
		return time.Time{}, stream.Mark{}, false
	}
	for _, age := range []time.Duration{maxAge, pauseFailed} { // the second: read again, the clock may have been set
		read, err := c.atLeast(ctx, age)
		if err != nil {
			return time.Time{}, stream.Mark{}, false
		}
		if due, mark = planned.Add(read.Mark.Since(by)), read.Mark; due.Sub(read.Now()) <= earlyTimer {
			return due, mark, false
		}
	}
	// By the same setting it is the server that fires too early: it would again.
	return due, mark, mark != by
}

// Now is the server's time.
func (r Reading) Now() time.Time { return r.server.Add(time.Since(r.local)) }

// Age is how long ago a time of the server's clock was. Where that clock was set forward
// since, that does not count. Set back, what was before may look younger than it is.
func (r Reading) Age(since time.Time) time.Duration {
	age := r.Now().Sub(since)
	if r.At.After(r.Before) && !since.After(r.Before) {
		age -= r.At.Sub(r.Before)
	}
	return age
}

// there is the inverse of Here, and rather later than sooner.
func (r Reading) there(t time.Time) time.Time { return r.server.Add(t.Sub(r.local) + r.within) }

// Here is a time of the server by this machine's clock. Steps of that clock do not
// matter to it.
func (r Reading) Here(t time.Time) time.Time { return r.local.Add(t.Sub(r.server)) }

// Pause waits, and reports whether to go on: false when ctx has ended.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
