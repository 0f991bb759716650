package sender

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// manualCopies are this sender's copies of what was made by hand, which one watch keeps up
// to date: each retry of a receiver that fails asks for it. Until they are complete the
// bucket is read.
type manualCopies struct {
	mu       sync.Mutex
	complete bool
	known    map[string]manualCopy // by subscription
}

type manualCopy struct {
	all      []manualSuccess
	revision uint64
}

// get returns the copy of a subscription. ok is false where the bucket has to be read.
func (c *manualCopies) get(id string) (all []manualSuccess, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[id].all, c.complete
}

// set takes note of what is written at a revision.
func (c *manualCopies) set(id string, all []manualSuccess, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[string]manualCopy)
	}
	if revision > c.known[id].revision {
		c.known[id] = manualCopy{all, revision}
	}
}

// forget drops the copy of a subscription that is gone: its key goes without a word.
func (c *manualCopies) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, id)
}

// reset begins anew.
func (c *manualCopies) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete, c.known = false, nil
}

func (c *manualCopies) completed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
}

// followManual keeps the copies up to date until ctx ends.
func (s *Sender) followManual(ctx context.Context) {
	s.follow(ctx, &stateWatch{
		what: "deliveries made by hand", keys: stream.StateMade("*"),
		begin: func(bool) { s.manual.reset() },
		take: func(e jetstream.KeyValueEntry) {
			var all []manualSuccess
			if e.Operation() == jetstream.KeyValuePut {
				all = parseManual(e.Value())
			}
			s.manual.set(stream.StateMadeSubscription(e.Key()), all, e.Revision())
		},
		complete: s.manual.completed,
	})
}

// parseManual returns nil for what is of no use: it will be written over.
func parseManual(value []byte) (all []manualSuccess) {
	if json.Unmarshal(value, &all) != nil {
		return nil
	}
	return all
}
