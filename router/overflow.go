package router

import (
	"context"
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// overflowPause is how long the first overflow of a subscription waits for others,
	// so that the event about them has a count that says something.
	overflowPause = time.Second
	// overflowEvery is how often there is such an event for a subscription, at most.
	overflowEvery = time.Minute
)

// overflows counts the deliveries of one kind that are not queued, by subscription, and
// publishes the counts: those that have found their queues full, or those whose filters
// take too many steps.
type overflows struct {
	events *operational.Publisher
	event  func(*subscription.Subscription, operational.Overflow) operational.Event
	pause  time.Duration
	every  time.Duration

	mu      sync.Mutex
	pending map[string]*overflowing
	wake    chan struct{}
}

// overflowing is one subscription with such deliveries.
type overflowing struct {
	sub *subscription.Subscription
	operational.Overflow

	due time.Time // for the next event
}

func newOverflows(events *operational.Publisher, event func(*subscription.Subscription, operational.Overflow) operational.Event, pause, every time.Duration) *overflows {
	return &overflows{events: events, event: event, pause: pause, every: every, pending: make(map[string]*overflowing), wake: make(chan struct{}, 1)}
}

// add counts d, which is a dead letter now.
func (o *overflows) add(sub *subscription.Subscription, d *delivery.Delivery) {
	if o.events == nil || operational.Observes(sub) {
		return
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.pending[sub.ID]
	if p == nil {
		p = &overflowing{due: now.Add(o.pause)}
		o.pending[sub.ID] = p
	}
	if p.Count == 0 {
		p.Since, p.First = now, d
	}
	p.sub, p.Until, p.Last = sub, now, d
	p.Count++
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends. While nothing overflows it does nothing.
func (o *overflows) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		}
		for o.flush(time.Now()) && ctx.Err() == nil {
			timer := time.NewTimer(o.pause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// flush publishes what is due at a time. It reports whether to come again.
func (o *overflows) flush(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, p := range o.pending {
		switch {
		case now.Before(p.due):
		case p.Count == 0: // none since the last event
			delete(o.pending, id)
		default:
			o.events.Publish(o.event(p.sub, p.Overflow))
			p.Overflow, p.due = operational.Overflow{}, now.Add(o.every)
		}
	}
	return len(o.pending) > 0
}

// flushAll publishes all that was counted, when the router ends.
func (o *overflows) flushAll() { o.flush(time.Now().Add(o.pause + o.every)) }
