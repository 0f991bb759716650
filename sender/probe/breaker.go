package probe

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
)

// A Health is what a request says about the endpoint.
type Health int

// The values of Health.
const (
	Unknown Health = iota // nothing: no request was made, or it was aborted
	Up
	Down
)

// Evidence is the result of a delivery, for the breaker.
type Evidence struct {
	DeliveryID string
	Health     Health
	Cause      breaker.Cause

	// opens is why the breaker is to be opened now, after row failures; empty: it is not.
	opens string
	row   int
}

// Observe sets what an attempt says about the endpoint: 408, 425, 429, 5xx and every
// transport error are failures of the endpoint (standards.md, section 12). A receiver that
// refuses one delivery is up.
func (f *Evidence) Observe(a *delivery.Attempt, err error, retryAfter time.Duration) {
	f.Cause = breaker.Cause{Status: a.Status, Error: a.Error}
	if a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable {
		f.Cause.RetryAfter = retryAfter
	}
	switch {
	case a.Outcome == delivery.Delivered:
		f.Health = Up
	case err != nil, a.Status >= 500,
		a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooEarly, a.Status == http.StatusTooManyRequests:
		f.Health = Down
	default:
		f.Health = Up
	}
}

// A Breaker is that of one subscription, for one worker.
type Breaker struct {
	all   *Breakers
	id    string
	terms subscription.Breaker
	copy  *replica

	mu         sync.Mutex
	counter    breaker.Counter // of the requests while it is closed
	generation int             // of the time in which it was closed
	opening    bool
}

// Of returns the breaker of a subscription.
func (b *Breakers) Of(id string, terms subscription.Breaker) *Breaker {
	return &Breaker{all: b, id: id, terms: terms, copy: b.of(id)}
}

// IsOn reports whether the subscription has a breaker.
func (b *Breaker) IsOn() bool { return b.terms.Mode == subscription.BreakerOn }

// Admits reports whether deliveries are sent now, without a probe.
func (b *Breaker) Admits() bool {
	r, _, _ := b.copy.get()
	return b.admits(&r)
}

func (b *Breaker) admits(r *breaker.Record) bool {
	if !b.IsOn() || r.State != breaker.Open && r.State != breaker.HalfOpen {
		return true
	}
	sub, ok := b.all.view.Snapshot().Get(b.id)
	return !ok || r.IsClosed(breaker.TargetOf(sub))
}

// State is the state of the breaker, in the words of the API.
func (b *Breaker) State() string {
	r, _, _ := b.copy.get()
	switch {
	case !b.IsOn():
		return subscription.BreakerOff
	case b.admits(&r):
		return string(breaker.Closed)
	}
	return string(r.State)
}

// WhileClosed returns a context that ends when the breaker is no longer closed, and the
// function that ends and awaits it.
func (b *Breaker) WhileClosed(ctx context.Context) (closed context.Context, stop func()) {
	b.mu.Lock()
	b.generation++
	b.counter.Reset()
	b.opening = false
	b.mu.Unlock()
	closed, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		for closed.Err() == nil {
			r, _, changed := b.copy.get()
			if !b.admits(&r) {
				return
			}
			select {
			case <-closed.Done():
			case <-changed:
			}
		}
	})
	return closed, func() {
		cancel()
		watching.Wait()
	}
}

// Generation is the current time in which the breaker is closed, for Count.
func (b *Breaker) Generation() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.generation
}

// Count counts the result of an ordinary delivery. Requests that began before the breaker
// was last closed do not count. It is called when the response is there, before its record
// is stored: records of successes are stored together, later than those of failures, which
// would then look as if they came in a row.
func (b *Breaker) Count(f *Evidence, generation int) {
	if f.Health == Unknown || !b.IsOn() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if generation != b.generation || b.opening {
		return
	}
	if f.Health == Up {
		b.counter.Success(time.Now())
		return
	}
	f.opens, f.row = b.counter.Failure(time.Now(), b.terms.Failures), b.counter.Row()
	b.opening = f.opens != "" // for one caller at a time
}

// Open opens the breaker, where the evidence says so.
func (b *Breaker) Open(ctx context.Context, e *endpoint.Endpoint, f *Evidence) {
	if f.opens == "" {
		return
	}
	target := breaker.TargetOf(e.Subscription)
	next, err := b.change(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
		if !r.IsClosed(target) {
			return r, false // another sender was faster
		}
		if sub, ok := b.all.view.Snapshot().Get(b.id); !ok || sub.State != subscription.Active || breaker.TargetOf(sub) != target {
			return r, false // no sender would read the record, or delete it
		}
		return r.Trip(now, target, f.opens, f.row, f.Cause, b.all.cfg.Timing), true
	})
	if err != nil || next == nil { // the next failures may try again
		b.mu.Lock()
		b.opening = false
		b.mu.Unlock()
	}
	if err != nil {
		b.all.log.Warn("failed to open breaker, deliveries continue", zap.String("subscription_id", b.id), zap.Error(err))
		return
	}
	if next != nil {
		b.all.cfg.Transitions.WithLabelValues(string(next.State)).Inc()
		b.all.cfg.Events.Publish(operational.Opened(e.Subscription, next))
		b.all.log.Warn("breaker opened", append(logFields(b.id, next), zap.String("delivery_id", f.DeliveryID), zap.String("endpoint_host", e.Host))...)
	}
}

// now is a record by the current setting of the clock, and the time.
func (b *Breaker) now(ctx context.Context, r breaker.Record) (breaker.Record, time.Time) {
	read, err := b.all.clock.At(ctx)
	if err != nil {
		return r, time.Now()
	}
	return r.On(read.Mark), read.Now()
}

// change stores what change makes of the record, as often as needed, and returns nil when
// there is nothing to change.
func (b *Breaker) change(ctx context.Context, change func(breaker.Record, time.Time) (breaker.Record, bool)) (*breaker.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeTimeout)
	defer cancel()
	kv, err := b.all.state.Open(ctx)
	if err != nil {
		return nil, err
	}
	for {
		r, revision, _ := b.copy.get()
		next, wanted := change(b.now(ctx, r))
		if !wanted {
			return nil, nil //nolint:nilnil // documented
		}
		written, err := breaker.Write(ctx, kv, b.id, &next, revision)
		if err == nil {
			b.copy.set(next, written, written)
			b.all.Count()
			return &next, nil
		}
		if !errors.Is(err, breaker.ErrOvertaken) {
			return nil, err
		}
		r, revision, err = breaker.Read(ctx, kv, b.id)
		if err != nil {
			return nil, err
		}
		b.copy.refresh(r, revision)
		clock.Pause(ctx, rand.N(10*time.Millisecond)) //nolint:gosec // jitter
	}
}

// publishClosed publishes that the breaker has closed, where it has.
func (b *Breaker) publishClosed(sub *subscription.Subscription, was, r *breaker.Record) {
	if r.State == breaker.Closed {
		b.all.cfg.Events.Publish(operational.Closed(sub, was, r, operational.Itself))
	}
}

// logFields are those of the one line for each transition.
func logFields(id string, r *breaker.Record) []zap.Field {
	fields := []zap.Field{zap.String("subscription_id", id), zap.String("reason", r.Reason), zap.Int("failures", r.Failures), zap.Int("status", r.LastStatus)}
	if r.LastError != "" {
		fields = append(fields, zap.String("error", r.LastError))
	}
	if !r.NextProbe.IsZero() {
		fields = append(fields, zap.Time("next_probe", r.NextProbe))
	}
	return fields
}
