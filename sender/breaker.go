package sender

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/watch"
)

const (
	// breakerPatience is how long lanes wait for the breakers to be read at the
	// beginning. Then they fail open: an endpoint that is down costs some requests,
	// one that is up must not wait for a bucket.
	breakerPatience = 5 * time.Second
	// breakerTimeout bounds one change of a breaker.
	breakerTimeout = 5 * time.Second
)

// breakers are this sender's copies of all breakers, which one watch keeps up to
// date. A copy that is old does no harm: changes are by compare-and-set.
type breakers struct {
	mu     sync.Mutex
	known  map[string]*breakerCopy
	loaded chan struct{} // closed when all were read once
	once   sync.Once
	late   sync.Once // says that they were not, in time
}

func newBreakers() *breakers {
	return &breakers{known: make(map[string]*breakerCopy), loaded: make(chan struct{})}
}

// breakerCopy is one of them.
type breakerCopy struct {
	mu       sync.Mutex
	record   breaker.Record
	revision uint64 // 0: there is none
	seen     uint64 // the latest revision known of, also of a deletion
	changed  chan struct{}
}

// of returns the breaker of a subscription.
func (b *breakers) of(id string) *breakerCopy {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.known[id]
	if c == nil {
		c = &breakerCopy{changed: make(chan struct{})}
		b.known[id] = c
	}
	return c
}

// distrust has whatever the bucket says next taken for true. A server that has crashed
// may have lost changes, and then it gives their revisions to others.
func (b *breakers) distrust() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.known {
		c.mu.Lock()
		c.seen = 0
		c.mu.Unlock()
	}
}

// forget drops the copy of a subscription that is gone.
func (b *breakers) forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, id)
}

// open counts those of active subscriptions that are not closed.
func (b *breakers) open(snapshot *subscription.Snapshot) (open int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, c := range b.known {
		sub, ok := snapshot.Get(id)
		if !ok || sub.State != subscription.Active || sub.Delivery.BreakerTerms().Mode != subscription.BreakerOn {
			continue
		}
		if r, _, _ := c.get(); !r.IsClosed(breaker.TargetOf(sub)) {
			open++
		}
	}
	return open
}

// get returns the record, its revision, and what is closed when there is another.
func (c *breakerCopy) get() (breaker.Record, uint64, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.record, c.revision, c.changed
}

// set takes note of a record; revision is 0 when there is none any more, as of seen.
func (c *breakerCopy) set(r breaker.Record, revision, seen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen < c.seen || seen == c.seen && revision == c.revision {
		return
	}
	c.record, c.revision, c.seen = r, revision, seen
	close(c.changed)
	c.changed = make(chan struct{})
}

// followBreakers keeps the copies up to date until ctx ends.
func (s *Sender) followBreakers(ctx context.Context) {
	keys := watch.Keys{
		What: "breakers", Pattern: stream.StateBreaker("*"),
		Begin: func(again bool) {
			if again {
				s.breakers.distrust()
			}
		},
		Take: func(e jetstream.KeyValueEntry) {
			s.takeBreaker(e)
			s.countBreakers()
		},
		Complete: func() {
			s.breakers.once.Do(func() { close(s.breakers.loaded) })
			s.countBreakers()
		},
	}
	keys.Follow(ctx, s.nc, s.state, s.log)
}

func (s *Sender) takeBreaker(e jetstream.KeyValueEntry) {
	c := s.breakers.of(stream.StateBreakerSubscription(e.Key()))
	if e.Operation() == jetstream.KeyValuePut {
		c.set(breaker.Parse(e.Value()), e.Revision(), e.Revision())
	} else {
		c.set(breaker.Record{}, 0, e.Revision())
	}
}

func (s *Sender) countBreakers() {
	s.metrics.breakers.Set(float64(s.breakers.open(s.view.Snapshot())))
}

// A health is what a request says about the endpoint.
type health int

const (
	unknown health = iota // nothing: no request was made, or it was broken off
	up
	down
)

// healthOf judges an attempt: 408, 425, 429, 5xx and everything that is no answer
// are failures of the endpoint (standards.md, section 12). A receiver that refuses
// one delivery is up.
func healthOf(a *delivery.Attempt, err error) health {
	switch {
	case a.Outcome == delivery.Delivered:
		return up
	case err != nil, a.Status >= 500,
		a.Status == http.StatusRequestTimeout, a.Status == http.StatusTooEarly, a.Status == http.StatusTooManyRequests:
		return down
	}
	return up
}

// An evidence is what came of a delivery, for the breaker.
type evidence struct {
	health health
	cause  breaker.Cause
	id     string // of the delivery
	// opens says why the breaker is to be opened now, after row failures; empty: it is
	// not.
	opens string
	row   int
}

// breakerNow is the time by which breakers go: the server's, or this machine's where
// that is not known.
func (s *Sender) breakerNow(ctx context.Context) time.Time {
	return s.clock.Now(ctx)
}

// current is a record by the clock as it is set now, and what that shows.
func (s *Sender) current(ctx context.Context, r breaker.Record) (breaker.Record, time.Time) {
	read, err := s.clock.At(ctx)
	if err != nil {
		return r, time.Now()
	}
	return r.On(read.Mark), read.Now()
}

// guard counts the requests of one lane while its breaker is closed.
type guard struct {
	mu         sync.Mutex
	counter    breaker.Counter
	generation int // of the time in which it was closed
	opening    bool
}

// enter begins another time in which the breaker is closed.
func (g *guard) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.generation++
	g.counter.Reset()
	g.opening = false
}

func (g *guard) current() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.generation
}

// count takes note of an evidence. What began before the breaker was last closed does
// not count. reason says why the breaker is to be opened, to one caller at a time.
func (g *guard) count(f *evidence, generation, limit int) (reason string, row int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if generation != g.generation || g.opening {
		return "", 0
	}
	if f.health == up {
		g.counter.Success(time.Now())
		return "", 0
	}
	reason = g.counter.Failure(time.Now(), limit)
	g.opening = reason != ""
	return reason, g.counter.Row()
}

func (g *guard) notOpened() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opening = false
}

// count takes note of the answer to an ordinary delivery. It is called when the answer
// is there, before its record is stored: records of successes are stored together,
// and later than those of failures, which would then look as if they came in a row.
func (l *lane) count(f *evidence, generation int) {
	if f.health == unknown || l.terms.breaker.Mode != subscription.BreakerOn {
		return
	}
	f.opens, f.row = l.guard.count(f, generation, l.terms.breaker.Failures)
}

// openFor opens the breaker where the evidence has shown that it is time.
func (l *lane) openFor(ctx context.Context, e *endpoint.Endpoint, f *evidence) {
	if f.opens == "" {
		return
	}
	target := breaker.TargetOf(e.Subscription)
	next, err := l.changeBreaker(ctx, func(r breaker.Record, now time.Time) (breaker.Record, bool) {
		if !r.IsClosed(target) {
			return r, false // another sender was faster
		}
		if sub, ok := l.view.Snapshot().Get(l.id); !ok || sub.State != subscription.Active || breaker.TargetOf(sub) != target {
			return r, false // nobody would ask, and nobody would tidy up
		}
		return r.Trip(now, target, f.opens, f.row, f.cause, l.cfg.Probes), true
	})
	if err != nil || next == nil { // the failures to come may try again
		l.guard.notOpened()
	}
	if err != nil {
		l.log.Warn("cannot open breaker, deliveries go on", zap.String("subscription_id", l.id), zap.Error(err))
		return
	}
	if next != nil {
		l.metrics.transition(next.State)
		l.cfg.Events.Publish(operational.Opened(e.Subscription, next))
		l.log.Warn("breaker opened", append(breakerFields(l.id, next), zap.String("delivery_id", f.id), zap.String("endpoint_host", e.Host))...)
	}
}

// changeBreaker stores what change makes of the record, as often as it takes, and
// returns nil when there was nothing to change.
func (l *lane) changeBreaker(ctx context.Context, change func(breaker.Record, time.Time) (breaker.Record, bool)) (*breaker.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), breakerTimeout)
	defer cancel()
	kv, err := l.state.Open(ctx)
	if err != nil {
		return nil, err
	}
	for {
		r, revision, _ := l.breaker.get()
		next, wanted := change(l.current(ctx, r))
		if !wanted {
			return nil, nil //nolint:nilnil // documented
		}
		written, err := breaker.Write(ctx, kv, l.id, &next, revision)
		if err == nil {
			l.breaker.set(next, written, written)
			l.countBreakers()
			return &next, nil
		}
		if !errors.Is(err, breaker.ErrOvertaken) {
			return nil, err
		}
		if err := l.readBreaker(ctx, kv); err != nil {
			return nil, err
		}
		clock.Pause(ctx, rand.N(10*time.Millisecond)) //nolint:gosec // jitter
	}
}

// readBreaker brings the copy up to date.
func (l *lane) readBreaker(ctx context.Context, kv jetstream.KeyValue) error {
	r, revision, err := breaker.Read(ctx, kv, l.id)
	if err != nil {
		return err
	}
	l.breaker.replace(r, revision)
	return nil
}

// replace takes note of what was read just now.
func (c *breakerCopy) replace(r breaker.Record, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision == c.revision || revision != 0 && revision < c.seen {
		return
	}
	c.record, c.revision, c.seen = r, revision, max(revision, c.seen)
	close(c.changed)
	c.changed = make(chan struct{})
}

// breakerFields are those of the one line for each transition.
func breakerFields(id string, r *breaker.Record) []zap.Field {
	fields := []zap.Field{zap.String("subscription_id", id), zap.String("reason", r.Reason), zap.Int("failures", r.Failures), zap.Int("status", r.LastStatus)}
	if r.LastError != "" {
		fields = append(fields, zap.String("error", r.LastError))
	}
	if !r.NextProbe.IsZero() {
		fields = append(fields, zap.Time("next_probe", r.NextProbe))
	}
	return fields
}
