package subscription

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
)

// ViewConfig are the times of a View.
type ViewConfig struct {
	// Resync is how often everything is read again from the beginning, in case a
	// watch has missed something without noticing. Default: 5m.
	Resync time.Duration
	// SyncInterval is the least time, on average, between two requests to the server
	// that Sync makes; calls that come meanwhile share the next one. Default: 2ms.
	SyncInterval time.Duration
	// Patience is how long a Sync waits for the watch to bring what the server
	// has, before it has the watch opened again. Default: 2s.
	Patience time.Duration
}

func (c ViewConfig) withDefaults() ViewConfig {
	setDefault(&c.Resync, 5*time.Minute)
	setDefault(&c.SyncInterval, 2*time.Millisecond)
	setDefault(&c.Patience, 2*time.Second)
	return c
}

// syncBurst is how many requests of Sync may follow each other at once: a single event
// must not wait for the interval, which is there for a stream of them.
const syncBurst = 8

// ErrStopped is returned by Sync when the view's Run has ended.
var ErrStopped = errors.New("the view of subscriptions has stopped")

// A View is a live copy of all subscriptions.
//
//	bucket ─► follow.Follower ─► change: decode, new table ─► Snapshot, Changed
//	                     └─────────────────────────────────► Sync
//
// While the bucket cannot be read, the last snapshot stays. Use NewView.
type View struct {
	follower *follow.Follower
	keyring  *keyring.Keyring
	log      *zap.Logger

	snapshot atomic.Pointer[Snapshot]

	mu      sync.Mutex
	changed chan struct{} // closed when there is a new snapshot
}

// NewView makes a view, which is empty until Run has read the bucket. Without a
// keyring (nil) secrets stay sealed, and ActiveSecrets are empty: a router needs
// none.
func NewView(cfg ViewConfig, js jetstream.JetStream, layout stream.Layout, keyring *keyring.Keyring, log *zap.Logger) *View {
	cfg = cfg.withDefaults()
	v := &View{keyring: keyring, log: log.Named("subscription"), changed: make(chan struct{})}
	v.snapshot.Store(emptySnapshot())
	v.follower = follow.New(follow.Config{
		Bucket: layout.SubscriptionsBucket(), Change: v.change,
		Resync: cfg.Resync, SyncInterval: cfg.SyncInterval, SyncBurst: syncBurst, Patience: cfg.Patience,
	}, js, v.log)
	return v
}

// Run keeps the view up to date until ctx ends. It returns an error only when the
// connection was closed for good. It can be called once.
func (v *View) Run(ctx context.Context) error { return v.follower.Run(ctx) }

// Snapshot returns the subscriptions as far as they are known here. See Sync.
func (v *View) Snapshot() *Snapshot { return v.snapshot.Load() }

// Sync returns a snapshot that has every change which was acknowledged before the
// call. Calls share requests to the server, so it may be called for every event. While
// the server does not answer it waits, until ctx ends or Run does (ErrStopped).
func (v *View) Sync(ctx context.Context) (*Snapshot, error) {
	err := v.follower.Sync(ctx)
	if errors.Is(err, follow.ErrStopped) {
		return nil, ErrStopped
	}
	if err != nil {
		return nil, err
	}
	return v.Snapshot(), nil
}

// Changed returns a channel that is closed when there is a newer snapshot. Call it
// before Snapshot, so that no change falls between the two:
//
//	for {
//		changed := view.Changed()
//		use(view.Snapshot())
//		<-changed
//	}
func (v *View) Changed() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// change makes a snapshot of the last one and what has changed since.
func (v *View) change(d follow.Delta) {
	if len(d.Put)+len(d.Deleted) == 0 {
		return
	}
	last := v.Snapshot()
	broken := maps.Clone(last.broken)
	replaced := slices.Collect(maps.Keys(d.Deleted))
	put := make([]*Subscription, 0, len(d.Put))
	for id := range d.Deleted {
		delete(broken, id)
	}
	for id, e := range d.Put {
		delete(broken, id)
		sub, err := decodeRecord(id, e.Revision, e.Value, v.keyring)
		if err != nil { // it matches nothing, rather than what it said before
			replaced = append(replaced, id)
			broken[id] = v.report(id, e.Revision, err)
			continue
		}
		put = append(put, sub)
	}
	table, err := last.table.Without(replaced...).With(put...)
	if err != nil { // which it should not be: what was decoded has been checked
		table = last.table.Without(replaced...)
		for _, sub := range put {
			next, err := table.With(sub)
			if err != nil {
				next, broken[sub.ID] = table.Without(sub.ID), v.report(sub.ID, sub.Revision, err)
			}
			table = next
		}
	}
	v.snapshot.Store(newSnapshot(table, broken, d.Revision))
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.changed)
	v.changed = make(chan struct{})
}

// report logs that a record cannot be used: once, because a Delta has each record once.
func (v *View) report(id string, revision uint64, err error) Broken {
	v.log.Error("subscription cannot be read and matches no event",
		zap.String("subscription_id", id), zap.Uint64("revision", revision), zap.Error(err))
	return Broken{id, revision, err}
}
