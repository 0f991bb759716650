package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// progressEvery is how often the progress of a job is written at most.
const progressEvery = time.Second

// A Claim is a job while this process works on it.
type Claim struct {
	store  *Store
	lease  time.Duration
	cancel context.CancelFunc // ends the work
	saved  time.Time          // when the job was written last

	mu     sync.Mutex
	record *Record
	lost   bool // another process has it, or that cannot be found out
}

// progress changes the job, which is written within a second.
func (c *Claim) progress(change func(*Record)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.record)
}

// beat writes the job every second, until ctx ends.
func (c *Claim) beat(ctx context.Context) {
	tick := time.NewTicker(min(progressEvery, c.lease/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.save(ctx)
		}
	}
}

// save writes the job, and reports whether it did. When it belongs to another process by
// now, was cancelled, or that cannot be found out, the work is ended.
func (c *Claim) save(ctx context.Context) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, max(c.lease/3, 50*time.Millisecond))
	defer cancel()
	err := c.store.Update(ctx, c.record)
	written := err == nil
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		err = c.reload(ctx)
	}
	switch {
	case err == nil:
		c.saved = time.Now()
	case errors.Is(err, ErrNotFound), time.Since(c.saved) > c.lease*2/3:
		c.lost = true
		c.cancel()
	}
	return written
}

// reload finds out why the job has another revision.
func (c *Claim) reload(ctx context.Context) error {
	stored, err := c.store.Get(ctx, c.record.ID)
	if err != nil {
		return err
	}
	switch {
	case stored.Holder != c.store.holder || stored.Claims != c.record.Claims:
		c.lost = true
		c.cancel()
	case stored.State != Running:
		c.record.State, c.record.EndedAt = stored.State, stored.EndedAt
		c.cancel()
	}
	c.record.revision = stored.revision // or it was a write of our own whose answer was lost
	return nil
}

// finish writes how the work has ended: done, failed, cancelled meanwhile, or not
// at all, for another process to go on.
func (c *Claim) finish(ctx context.Context, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if r := c.record; r.State == Running {
		switch {
		case err == nil:
			r.end(Done)
		case errors.Is(err, errHopeless):
			r.Error = shorten(err.Error(), maxFailure)
			r.end(Failed)
		default:
			r.Holder = "" // the next process need not wait for the end of the lease
		}
	}
	for !c.lost && !c.save(ctx) && wait(ctx, 100*time.Millisecond) {
	}
}

// wait reports whether ctx is still alive after a time.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
