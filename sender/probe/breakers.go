// Package probe guards endpoints with circuit breakers.
//
// While the breaker of a subscription is closed, Breaker counts the results of its requests
// and opens it after enough failures. While it is open, no sender pulls from the queue but
// for one probe at a time, which a Prober makes. The record of each breaker is in the state
// bucket (package internal/subscription/breaker), and every sender has a live copy of it.
package probe

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// loadPatience is how long workers wait at the start until the breakers are read. Then
	// they fail open: an endpoint that is down costs some requests, but one that is up must
	// not wait for a bucket.
	loadPatience = 5 * time.Second
	// changeTimeout bounds one change of a breaker.
	changeTimeout = 5 * time.Second
)

// Config of Breakers.
type Config struct {
	// Member is the id of this sender in leases. Required.
	Member string
	// Timing of probes.
	Timing breaker.Timing
	// Events is where operational events are published. Default: nowhere.
	Events *operational.Publisher
	// Open shows how many breakers are not closed, Transitions counts their changes by this
	// sender. Required.
	Open        prometheus.Gauge
	Transitions *prometheus.CounterVec
}

// Breakers are this sender's copies of all breakers, which one watch keeps up to date. An
// outdated copy does no harm: changes are by compare-and-set.
type Breakers struct {
	cfg   Config
	state *stream.Bucket
	view  *subscription.View
	clock *clock.Clock
	log   *zap.Logger

	mu     sync.Mutex
	known  map[string]*replica
	loaded chan struct{} // closed when all were read once
	once   sync.Once
	late   sync.Once // logs that they were not, in time
}

// NewBreakers returns the breakers in the bucket state.
func NewBreakers(cfg Config, state *stream.Bucket, view *subscription.View, clock *clock.Clock, log *zap.Logger) *Breakers {
	return &Breakers{cfg: cfg, state: state, view: view, clock: clock, log: log, known: make(map[string]*replica), loaded: make(chan struct{})}
}

// Follow keeps the copies up to date until ctx ends.
func (b *Breakers) Follow(ctx context.Context, js jetstream.JetStream) {
	follower := follow.New(follow.Config{
		Bucket: b.state.Name(), Keys: stream.StateBreaker("*"),
		Begin: func(reconnected bool) {
			if reconnected {
				b.distrust()
			}
		},
		Change: func(d follow.Delta) {
			d.Each(func(key string, value []byte, revision uint64) {
				r := b.of(stream.StateBreakerSubscription(key))
				if value != nil {
					r.set(breaker.Parse(value), revision, revision)
				} else {
					r.set(breaker.Record{}, 0, revision)
				}
			})
			b.once.Do(func() { close(b.loaded) })
			b.Count()
		},
	}, js, b.log)
	_ = follower.Run(ctx) // it fails only when the connection is closed
}

// Await waits until the breakers are read. It reports whether to go on.
func (b *Breakers) Await(ctx context.Context) bool {
	patience := time.NewTimer(loadPatience)
	defer patience.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-patience.C:
		b.late.Do(func() { b.log.Warn("failed to read the breakers in time, deliveries are sent as if all were closed") })
	case <-b.loaded:
	}
	return true
}

// Forget drops the copy of a deleted subscription.
func (b *Breakers) Forget(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.known, id)
}

// Count counts the breakers of active subscriptions that are not closed.
func (b *Breakers) Count() {
	snapshot, open := b.view.Snapshot(), 0
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
	b.cfg.Open.Set(float64(open))
}

func (b *Breakers) of(id string) *replica {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.known[id]
	if r == nil {
		r = &replica{changed: make(chan struct{})}
		b.known[id] = r
	}
	return r
}

// distrust makes the copies accept any revision. A server that has crashed may have lost
// changes, and then uses their revisions again.
func (b *Breakers) distrust() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.known {
		r.mu.Lock()
		r.seen = 0
		r.mu.Unlock()
	}
}

// A replica is the copy of one breaker.
type replica struct {
	mu       sync.Mutex
	record   breaker.Record
	revision uint64 // 0: there is none
	seen     uint64 // the latest known revision, also of a deletion
	changed  chan struct{}
}

// get returns the record, its revision, and a channel that is closed when it changes.
func (r *replica) get() (breaker.Record, uint64, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.record, r.revision, r.changed
}

// set stores a record; revision is 0 when it was deleted, as of seen.
func (r *replica) set(record breaker.Record, revision, seen uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seen < r.seen || seen == r.seen && revision == r.revision {
		return
	}
	r.replace(record, revision, seen)
}

// refresh stores what was read just now.
func (r *replica) refresh(record breaker.Record, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if revision == r.revision || revision != 0 && revision < r.seen {
		return
	}
	r.replace(record, revision, max(revision, r.seen))
}

func (r *replica) replace(record breaker.Record, revision, seen uint64) {
	r.record, r.revision, r.seen = record, revision, seen
	close(r.changed)
	r.changed = make(chan struct{})
}
