package probe

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/rate"
)

const (
	// leaseLength is for how long a lease is taken. It is renewed while the requests are
	// under way; when it expires, the sender that has it is dead or stands still. Its
	// deliveries are handed out again by then: see stream.AckWait.
	leaseLength = stream.AckWait
	// renewEvery leaves time for two more tries before the lease expires.
	renewEvery = leaseLength / 4
	// maxSweep is how many deliveries are pulled at a time while all are too old.
	maxSweep = 64
	// Between two checks whether the queue of a half-open breaker is empty, doubling.
	firstEmptyCheck = 250 * time.Millisecond
	longEmptyCheck  = 30 * time.Second
)

// Queue is what a Prober does with the queue of its subscription, and with its deliveries.
type Queue struct {
	// Pull pulls up to a number of deliveries once, and hands them to handle.
	Pull func(ctx context.Context, batch int, handle func([]*consume.Message)) error
	// IsEmpty reports whether the queue is certainly empty.
	IsEmpty func(ctx context.Context) bool
	// Ready returns the endpoint for deliveries, or hands them back and returns nil.
	Ready func(ctx context.Context, msgs []*consume.Message) *endpoint.Endpoint
	// Expired reports whether Deliver makes no request for a delivery: it is too old, or
	// cannot be read.
	Expired func(ctx context.Context, e *endpoint.Endpoint, m *consume.Message) bool
	// Deliver makes one delivery.
	Deliver func(ctx context.Context, e *endpoint.Endpoint, m *consume.Message) Evidence
	// HandBack hands deliveries back.
	HandBack func(msgs []*consume.Message, delay time.Duration)
	// Disable disables the subscription.
	Disable func(ctx context.Context, reason string) error
}

// A Prober makes the requests of a subscription while its breaker is not closed:
//
//	wait until one is due ─► pull what there is room for ─► give up what is too old
//	     ▲                                                        │
//	     │                                          (wait for a slot, with a rate)
//	     │                                                        ▼
//	     └──────── store the result ◄── requests ◄── take the lease, or hand back
//
// The lease is taken with the deliveries in hand, so a breaker whose queue is empty costs
// nothing, whatever the number of senders.
type Prober struct {
	all     *Breakers
	breaker *Breaker
	queue   Queue
	limiter func() *rate.Limiter // nil: the subscription has no rate
	sweep   int                  // how many more than there is room for are pulled
}

// NewProber returns a prober. limiter makes the rate limiter of a round; nil: there is none.
func NewProber(b *Breaker, queue Queue, limiter func() *rate.Limiter) *Prober {
	return &Prober{all: b.all, breaker: b, queue: queue, limiter: limiter}
}

// Run probes until the breaker is closed, or ctx ends. Requests go on until work ends.
func (p *Prober) Run(ctx, work context.Context) {
	for ctx.Err() == nil {
		viewChanged := p.all.view.Changed()
		r, _, changed := p.breaker.copy.get()
		if p.breaker.admits(&r) {
			return
		}
		r, now := p.breaker.now(ctx, r)
		if wait := r.Due(p.all.cfg.Member, now, p.all.cfg.Timing).Sub(now); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-changed:
			case <-viewChanged:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		p.pull(ctx, work, &r, changed, viewChanged)
	}
}

// pull pulls deliveries for one round of requests, and makes them. It returns early when the
// breaker or the subscription changes before any arrive.
func (p *Prober) pull(ctx, work context.Context, r *breaker.Record, changed, viewChanged <-chan struct{}) {
	waiting, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-waiting.Done():
		case <-changed:
		case <-viewChanged:
		}
		cancel()
	})
	room := r.Room()
	if p.limiter != nil {
		room = 1 // each has a slot of its own
	}
	if r.State == breaker.HalfOpen {
		watching.Go(func() { p.closeWhenDelivered(waiting) })
	}
	if err := p.queue.Pull(waiting, room+p.sweep, func(msgs []*consume.Message) { p.round(ctx, work, room, msgs) }); err != nil && ctx.Err() == nil {
		p.all.log.Error("stopped pulling deliveries", zap.String("subscription_id", p.breaker.id), zap.Error(err))
		clock.Pause(ctx, time.Second)
	}
}

// round makes one request for each delivery that there is room for, if no other sender
// does. It hands back the others, and gives up those that are too old.
func (p *Prober) round(ctx, work context.Context, room int, msgs []*consume.Message) {
	defer consume.KeepHolding(msgs...)()
	e := p.queue.Ready(ctx, msgs)
	if e == nil {
		clock.Pause(ctx, 100*time.Millisecond)
		return
	}
	fresh := p.sweepExpired(work, e, msgs)
	if len(fresh) == 0 {
		p.sweep = min(2*(p.sweep+1), maxSweep)
		return
	}
	p.sweep = 0
	if len(fresh) > room {
		p.queue.HandBack(fresh[room:], time.Millisecond)
		fresh = fresh[:room]
	}
	if p.limiter != nil {
		if !p.awaitSlot(ctx, len(fresh)) {
			p.queue.HandBack(fresh, time.Millisecond)
			return
		}
		if e = p.queue.Ready(ctx, fresh); e == nil { // the subscription may have changed
			return
		}
	}
	target := breaker.TargetOf(e.Subscription)
	if !p.takeLease(ctx, target, len(fresh)) {
		p.queue.HandBack(fresh, time.Millisecond)
		return
	}
	stopRenewing := p.keepLease(work, target)
	findings := make([]Evidence, len(fresh))
	var requests sync.WaitGroup
	for i, m := range fresh {
		requests.Go(func() { findings[i] = p.queue.Deliver(work, e, m) })
	}
	requests.Wait()
	stopRenewing()
	p.finish(work, e, findings)
}

// closeWhenDelivered closes a half-open breaker when its queue is empty, until ctx ends, as
// it does when the breaker changes.
func (p *Prober) closeWhenDelivered(ctx context.Context) {
	for wait := firstEmptyCheck; clock.Pause(ctx, wait); wait = min(2*wait, longEmptyCheck) {
		if !p.queue.IsEmpty(ctx) {
			continue
		}
		var before breaker.Record
		next, err := p.breaker.change(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
			before = r
			return r.Delivered(now)
		})
		if err != nil {
			p.all.log.Debug("failed to close breaker, will retry", zap.String("subscription_id", p.breaker.id), zap.Error(err))
			continue
		}
		if next == nil {
			continue
		}
		p.all.cfg.Transitions.WithLabelValues(string(next.State)).Inc()
		if sub, ok := p.all.view.Snapshot().Get(p.breaker.id); ok && breaker.TargetOf(sub) == next.Target {
			p.breaker.publishClosed(sub, &before, next)
		}
		p.all.log.Warn("breaker is "+string(next.State), logFields(p.breaker.id, next)...)
	}
}

// sweepExpired gives up the deliveries that have waited for too long, and those that cannot
// be read, and returns the others.
func (p *Prober) sweepExpired(work context.Context, e *endpoint.Endpoint, msgs []*consume.Message) (fresh []*consume.Message) {
	for _, m := range msgs {
		if p.queue.Expired(work, e, m) {
			p.queue.Deliver(work, e, m) // makes no request
			continue
		}
		fresh = append(fresh, m)
	}
	return fresh
}

// awaitSlot waits until the rate limiter admits n requests.
func (p *Prober) awaitSlot(ctx context.Context, n int) bool {
	due, err := p.limiter().Wait(ctx, n)
	if err != nil {
		if ctx.Err() == nil {
			p.all.log.Warn("failed to reserve the next request of a subscription with a rate, its deliveries wait", zap.String("subscription_id", p.breaker.id), zap.Error(err))
		}
		clock.Pause(ctx, time.Second)
		return false
	}
	return due
}

// takeLease reports whether this sender may make n requests. Failing closed: the
// next round tries again.
func (p *Prober) takeLease(ctx context.Context, target string, n int) bool {
	taken, err := p.breaker.change(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
		if r.IsClosed(target) || r.Due(p.all.cfg.Member, now, p.all.cfg.Timing).After(now) || r.Room() < n {
			return r, false
		}
		return r.Take(now, p.all.cfg.Member, leaseLength), true
	})
	if err != nil {
		p.all.log.Warn("failed to take the lease of a probe, deliveries wait", zap.String("subscription_id", p.breaker.id), zap.Error(err))
		clock.Pause(ctx, time.Second)
	}
	return taken != nil
}

// keepLease renews the lease until stop is called, or the lease is lost: to another sender,
// or because the breaker was closed by hand. The requests under way are not affected.
func (p *Prober) keepLease(work context.Context, target string) (stop func()) {
	ctx, cancel := context.WithCancel(work)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for failed := false; clock.Pause(ctx, renewEvery); {
			renewed, err := p.breaker.change(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
				return r.Take(now, p.all.cfg.Member, leaseLength), !r.IsClosed(target) && r.Lease.By == p.all.cfg.Member
			})
			if err != nil && !failed {
				p.all.log.Warn("failed to renew the lease of a probe, another sender may probe as well", zap.String("subscription_id", p.breaker.id), zap.Error(err))
			}
			failed = err != nil
			if renewed == nil && err == nil {
				return
			}
		}
	})
	return func() {
		cancel()
		renewing.Wait()
	}
}

// finish stores the result of the requests, unless the lease is lost: to another sender, or
// because the breaker was closed by hand.
func (p *Prober) finish(ctx context.Context, e *endpoint.Endpoint, findings []Evidence) {
	target, succeeded, failed := breaker.TargetOf(e.Subscription), 0, 0
	var cause breaker.Cause
	for i := range findings {
		switch findings[i].Health {
		case Up:
			succeeded++
		case Down:
			failed, cause = failed+1, findings[i].Cause
		case Unknown:
		}
	}
	var before breaker.Record
	next, err := p.breaker.change(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
		before = r
		switch {
		case r.IsClosed(target) || r.Lease.By != p.all.cfg.Member:
			return r, false
		case succeeded+failed == 0:
			return r.Release(), true
		}
		if succeeded > 0 {
			r = r.Succeed(now, succeeded)
		}
		if failed > 0 && !r.IsClosed(target) {
			r = r.Fail(now, failed, cause, p.all.cfg.Timing)
		}
		return r, true
	})
	if err != nil {
		p.all.log.Warn("failed to store the result of a probe, another follows when its lease expires", zap.String("subscription_id", p.breaker.id), zap.Error(err))
		return
	}
	if next == nil {
		return
	}
	fields := append(logFields(p.breaker.id, next), zap.String("delivery_id", findings[0].DeliveryID), zap.String("endpoint_host", e.Host))
	switch {
	case next.State != before.State:
		p.all.cfg.Transitions.WithLabelValues(string(next.State)).Inc()
		p.breaker.publishClosed(e.Subscription, &before, next)
		p.all.log.Warn("breaker is "+string(next.State), fields...)
	case failed > 0:
		p.all.log.Info("breaker stays "+string(next.State), fields...)
	}
	if failed > 0 && next.State == breaker.Open {
		p.disableWhenDead(ctx, next, target)
	}
}

// disableWhenDead disables the subscription when its endpoint has been down for too long, and
// has failed again just now. The breaker is closed with it: a subscription that is made
// active again starts afresh.
func (p *Prober) disableWhenDead(ctx context.Context, r *breaker.Record, target string) {
	after := time.Duration(p.breaker.terms.DisableAfter)
	if after == 0 || r.LastFailure.Sub(r.DownSince) < after {
		return
	}
	last := "no answer"
	if r.LastStatus != 0 {
		last = fmt.Sprintf("status %d", r.LastStatus)
	}
	reason := fmt.Sprintf("its endpoint has been down since %s, longer than %s; last: %s", r.DownSince.UTC().Format(time.RFC3339), p.breaker.terms.DisableAfter, last)
	err := p.queue.Disable(ctx, reason)
	if err == nil {
		_, err = p.breaker.change(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
			return r.Close(now, "the subscription was disabled"), !r.IsClosed(target)
		})
	}
	if err != nil {
		p.all.log.Warn("failed to disable subscription whose endpoint is down, will retry", zap.String("subscription_id", p.breaker.id), zap.Error(err))
	}
}
