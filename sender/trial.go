package sender

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/rate"
)

const (
	// probeLease is for how long a lease is taken. It is renewed while the requests are
	// under way, however long they take; so when it is over the sender that has it is dead,
	// or stands still. What that had in hand is handed out again by then: see
	// stream.AckWait.
	probeLease = stream.AckWait
	// renewEvery leaves time for two more tries before the lease is over.
	renewEvery = probeLease / 4
	// maxSweep is how many deliveries are pulled at a time while all are too old.
	maxSweep = 64
	// Between two looks at whether the queue of a breaker that is half-open is empty,
	// doubling.
	firstEmptyLook = 250 * time.Millisecond
	longEmptyLook  = 30 * time.Second
)

// A trial makes the requests of a lane while its breaker is not closed:
//
//	wait until it is time ─► pull what there is room for ─► give up what is too old
//	     ▲                                                        │
//	     │                                             (wait for a turn, with a rate)
//	     │                                                        ▼
//	     └──────── write down the result ◄── requests ◄── take the lease, or hand back
//
// The lease is taken with the deliveries in hand, so a breaker whose queue is empty
// costs nothing, whatever the number of senders.
type trial struct {
	*lane
	sweep int // how many more than there is room for are pulled
}

// closed reports whether deliveries go their ordinary way.
func (l *lane) closed(r *breaker.Record) bool {
	if l.terms.breaker.Mode != subscription.BreakerOn {
		return true
	}
	if r.State != breaker.Open && r.State != breaker.HalfOpen {
		return true
	}
	sub, ok := l.view.Snapshot().Get(l.id)
	return !ok || r.IsClosed(breaker.TargetOf(sub))
}

// admits is closed, as things are now.
func (l *lane) admits() bool {
	r, _, _ := l.breaker.get()
	return l.closed(&r)
}

// awaitBreakers waits until it is known which breakers are closed. It reports whether
// to go on.
func (l *lane) awaitBreakers(ctx context.Context) bool {
	patience := time.NewTimer(breakerPatience)
	defer patience.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-patience.C:
		l.breakers.late.Do(func() { l.log.Warn("breakers cannot be read, deliveries are made as if they were closed") })
	case <-l.breakers.loaded:
	}
	return true
}

// whileClosed ends ctx when the breaker is no longer closed.
func (l *lane) whileClosed(ctx context.Context, cancel context.CancelFunc) {
	for ctx.Err() == nil {
		r, _, changed := l.breaker.get()
		if !l.closed(&r) {
			cancel()
			return
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// tryOut returns when the breaker is closed, or ctx has ended. Requests go on until
// work ends.
func (l *lane) tryOut(ctx, work context.Context) {
	t := &trial{lane: l}
	for ctx.Err() == nil {
		viewChanged := l.view.Changed()
		r, _, changed := l.breaker.get()
		if l.closed(&r) {
			return
		}
		r, now := l.current(ctx, r)
		if wait := r.Due(l.token, now, l.cfg.Probes).Sub(now); wait > 0 {
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
		t.pull(ctx, work, &r, changed, viewChanged)
	}
}

// pull takes deliveries for one round of requests, and makes them. It gives up when
// the breaker or the subscription has changed before any came.
func (t *trial) pull(ctx, work context.Context, r *breaker.Record, changed, viewChanged <-chan struct{}) {
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
	if t.terms.rate > 0 {
		room = 1 // each has its turn
	}
	if r.State == breaker.HalfOpen {
		watching.Go(func() { t.closeWhenDelivered(waiting) })
	}
	pull := stream.Pull{
		Stream: t.terms.queue.Stream, Consumer: t.terms.queue.Consumer, Batch: room + t.sweep, Once: true,
		Held: t.held, Memory: t.memory, Alone: t.members.IsAlone, Pulse: t.pulse,
		Handle: t.whenNotMade(func(_ context.Context, msgs []*stream.Message) { t.round(ctx, work, room, msgs) }),
		OnError: func(err error) {
			t.log.Warn("cannot pull deliveries, will go on trying", zap.String("subscription_id", t.id), zap.Error(err))
		},
	}
	if err := pull.Run(waiting, t.nc); err != nil && ctx.Err() == nil {
		t.log.Error("stopped pulling deliveries", zap.String("subscription_id", t.id), zap.Error(err))
		clock.Pause(ctx, time.Second)
	}
}

// round makes one request for each delivery that there is room for, if no other
// sender does. The others are handed back, those that are too old given up.
func (t *trial) round(ctx, work context.Context, room int, msgs []*stream.Message) {
	defer stream.KeepHolding(msgs...)()
	e := t.ready(ctx, msgs)
	if e == nil {
		clock.Pause(ctx, 100*time.Millisecond)
		return
	}
	fresh := t.sweepExpired(work, e, msgs)
	if len(fresh) == 0 {
		t.sweep = min(2*(t.sweep+1), maxSweep)
		return
	}
	t.sweep = 0
	if len(fresh) > room {
		t.handBack(fresh[room:], time.Millisecond)
		fresh = fresh[:room]
	}
	if t.terms.rate > 0 {
		if !t.awaitTurn(ctx, fresh) {
			t.handBack(fresh, time.Millisecond)
			return
		}
		if e = t.ready(ctx, fresh); e == nil { // it may have changed
			return
		}
	}
	target := breaker.TargetOf(e.Subscription)
	if !t.takeLease(ctx, target, len(fresh)) {
		t.handBack(fresh, time.Millisecond)
		return
	}
	stopRenewing := t.keepLease(work, target)
	findings := make([]evidence, len(fresh))
	var requests sync.WaitGroup
	for i, m := range fresh {
		requests.Go(func() { findings[i] = t.deliver(work, e, m, nil) })
	}
	requests.Wait()
	stopRenewing()
	t.finish(work, e, findings)
}

// closeWhenDelivered closes a breaker that is half-open when nothing waits in its queue,
// until ctx ends, as it does when the breaker has changed.
func (t *trial) closeWhenDelivered(ctx context.Context) {
	for wait := firstEmptyLook; clock.Pause(ctx, wait); wait = min(2*wait, longEmptyLook) {
		if !t.isDelivered(ctx) {
			continue
		}
		var before breaker.Record
		next, err := t.changeBreaker(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
			before = r
			return r.Delivered(now)
		})
		if err != nil {
			t.log.Debug("cannot close breaker, will try again", zap.String("subscription_id", t.id), zap.Error(err))
			continue
		}
		if next == nil {
			continue
		}
		t.metrics.transition(next.State)
		if sub, ok := t.view.Snapshot().Get(t.id); ok && breaker.TargetOf(sub) == next.Target {
			t.noteClosed(sub, &before, next)
		}
		t.log.Warn("breaker is "+string(next.State), breakerFields(t.id, next)...)
	}
}

// isDelivered reports whether the queue is empty. What is under way, or was handed back
// with a delay, is in it; timers are not: they may be of hours.
func (t *trial) isDelivered(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	queue, err := t.js.Stream(ctx, t.terms.queue.Stream)
	return err == nil && queue.CachedInfo().State.Msgs == 0
}

// sweepExpired gives up the deliveries that have waited for too long, and those that
// cannot be read, and returns the others.
func (t *trial) sweepExpired(work context.Context, e *endpoint.Endpoint, msgs []*stream.Message) (fresh []*stream.Message) {
	for _, m := range msgs {
		d, err := delivery.FromMessage(t.id, m.Header, m.Data)
		if err != nil || d.Manual == "" && expired(work, t.clock, e.Subscription, d) {
			t.deliver(work, e, m, nil) // makes no request
			continue
		}
		fresh = append(fresh, m)
	}
	return fresh
}

// awaitTurn waits for the turn of one request, as all senders have agreed on.
func (t *trial) awaitTurn(ctx context.Context, msgs []*stream.Message) bool {
	due, err := rate.NewLimiter(t.state, t.clock, t.id, t.terms.rate).Wait(ctx, len(msgs))
	if err != nil {
		if ctx.Err() == nil {
			t.log.Warn("cannot reserve the next request of a subscription with a rate, its deliveries wait", zap.String("subscription_id", t.id), zap.Error(err))
		}
		clock.Pause(ctx, time.Second)
		return false
	}
	return due
}

// takeLease reports whether this sender may make n requests. Failing closed: the
// next round tries again.
func (t *trial) takeLease(ctx context.Context, target string, n int) bool {
	taken, err := t.changeBreaker(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
		if r.IsClosed(target) || r.Due(t.token, now, t.cfg.Probes).After(now) || r.Room() < n {
			return r, false
		}
		return r.Take(now, t.token, probeLease), true
	})
	if err != nil {
		t.log.Warn("cannot agree on who probes, deliveries wait", zap.String("subscription_id", t.id), zap.Error(err))
		clock.Pause(ctx, time.Second)
	}
	return taken != nil
}

// keepLease renews the lease until it is told to stop, or the lease is lost: to another
// sender, or because somebody has closed the breaker. The requests under way end as they
// would.
func (t *trial) keepLease(work context.Context, target string) (stop func()) {
	ctx, cancel := context.WithCancel(work)
	var renewing sync.WaitGroup
	renewing.Go(func() {
		for failed := false; clock.Pause(ctx, renewEvery); {
			renewed, err := t.changeBreaker(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
				return r.Take(now, t.token, probeLease), !r.IsClosed(target) && r.Lease.By == t.token
			})
			if err != nil && !failed {
				t.log.Warn("cannot renew the lease of a probe, another sender may probe as well", zap.String("subscription_id", t.id), zap.Error(err))
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

// finish writes down what came of the requests, unless the lease has been lost: to
// another sender, or because somebody has closed the breaker.
func (t *trial) finish(ctx context.Context, e *endpoint.Endpoint, findings []evidence) {
	target, succeeded, failed := breaker.TargetOf(e.Subscription), 0, 0
	var cause breaker.Cause
	for i := range findings {
		switch findings[i].health {
		case up:
			succeeded++
		case down:
			failed, cause = failed+1, findings[i].cause
		case unknown:
		}
	}
	var before breaker.Record
	next, err := t.changeBreaker(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
		before = r
		switch {
		case r.IsClosed(target) || r.Lease.By != t.token:
			return r, false
		case succeeded+failed == 0:
			return r.Release(), true
		}
		if succeeded > 0 {
			r = r.Succeed(now, succeeded)
		}
		if failed > 0 && !r.IsClosed(target) {
			r = r.Fail(now, failed, cause, t.cfg.Probes)
		}
		return r, true
	})
	if err != nil {
		t.log.Warn("cannot write down what came of a probe, another follows when its lease is over", zap.String("subscription_id", t.id), zap.Error(err))
		return
	}
	if next == nil {
		return
	}
	fields := append(breakerFields(t.id, next), zap.String("delivery_id", findings[0].id), zap.String("endpoint_host", e.Host))
	switch {
	case next.State != before.State:
		t.metrics.transition(next.State)
		t.noteClosed(e.Subscription, &before, next)
		t.log.Warn("breaker is "+string(next.State), fields...)
	case failed > 0:
		t.log.Info("breaker stays "+string(next.State), fields...)
	}
	if failed > 0 && next.State == breaker.Open {
		t.disableWhenDead(ctx, next, target)
	}
}

// disableWhenDead disables the subscription when its endpoint has been down for too
// long, and has failed again just now. The breaker closes with it: who makes the
// subscription active again finds it as new.
func (t *trial) disableWhenDead(ctx context.Context, r *breaker.Record, target string) {
	after := time.Duration(t.terms.breaker.DisableAfter)
	if after == 0 || r.LastFailure.Sub(r.DownSince) < after {
		return
	}
	last := "no answer"
	if r.LastStatus != 0 {
		last = fmt.Sprintf("status %d", r.LastStatus)
	}
	reason := fmt.Sprintf("its endpoint has been down since %s, longer than %s; last: %s", r.DownSince.UTC().Format(time.RFC3339), t.terms.breaker.DisableAfter, last)
	err := t.disable(ctx, reason)
	if err == nil {
		_, err = t.changeBreaker(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
			return r.Close(now, "the subscription was disabled"), !r.IsClosed(target)
		})
	}
	if err != nil {
		t.log.Warn("cannot disable subscription whose endpoint is down, will try again", zap.String("subscription_id", t.id), zap.Error(err))
	}
}
