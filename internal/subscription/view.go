package subscription

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
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

// ErrStopped is returned by Sync when the view's Run has ended.
var ErrStopped = errors.New("the view of subscriptions has stopped")

// A View is a live copy of all subscriptions.
//
//	                  ┌──────────── Run ────────────┐
//	bucket ─► watch ──┼─► follow: decode, new table ┼─► Snapshot, Changed
//	bucket ─► its     │                             │
//	  last revision ──┼─► ask ──────────────────────┼─► Sync
//	                  └─────────────────────────────┘
//
// follow lives through lost connections, watches that end, and buckets that are
// made anew; while it cannot read, the last snapshot stays. Use NewView.
type View struct {
	cfg     ViewConfig
	js      jetstream.JetStream
	layout  stream.Layout
	keyring *keyring.Keyring
	log     *zap.Logger

	snapshot atomic.Pointer[Snapshot]
	stored   map[string]time.Time // when the records in it were stored; follow's own
	rewatch  chan struct{}        // asks follow to open the watch again
	wake     chan struct{}        // tells ask that next is there
	stopped  chan struct{}        // closed when Run ends

	mu       sync.Mutex
	epoch    uint64        // counts the times that a bucket was given up: see startOver
	loaded   bool          // everything was read once from this bucket
	settled  bool          // see watching.settled
	applied  uint64        // up to this revision
	created  time.Time     // of the bucket that it was read from
	progress chan struct{} // closed when one of the above changes
	changed  chan struct{} // closed when there is a new snapshot
	next     *question     // which ask sends next
}

// NewView makes a view, which is empty until Run has read the bucket. Without a
// keyring (nil) secrets stay sealed, and ActiveSecrets are empty: a router needs
// none.
func NewView(cfg ViewConfig, js jetstream.JetStream, layout stream.Layout, keyring *keyring.Keyring, log *zap.Logger) *View {
	v := &View{
		cfg: cfg.withDefaults(), js: js, layout: layout, keyring: keyring, log: log.Named("subscription"),
		rewatch: make(chan struct{}, 1), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		progress: make(chan struct{}), changed: make(chan struct{}),
	}
	v.snapshot.Store(emptySnapshot())
	return v
}

// Run keeps the view up to date until ctx ends. It returns an error only when the
// connection was closed for good. It can be called once.
func (v *View) Run(ctx context.Context) error {
	defer close(v.stopped)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return v.follow(ctx) })
	g.Go(func() error { v.ask(ctx); return nil })
	return g.Wait()
}

// Snapshot returns the subscriptions as far as they are known here. See Sync.
func (v *View) Snapshot() *Snapshot { return v.snapshot.Load() }

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

// follow opens one watch after the other.
func (v *View) follow(ctx context.Context) error {
	nc := v.js.Conn()
	reconnected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(reconnected)

	pauses := stream.Pauses(time.Second, 30*time.Second) // jetstream.md, section 8
	pause := pauses.NextBackOff()
	for failures := 0; ; {
		loaded, err := v.watch(ctx, reconnected)
		if loaded {
			pauses.Reset()
			pause, failures = pauses.NextBackOff(), 0
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case nc.IsClosed():
			return fmt.Errorf("watch subscriptions: %w", nats.ErrConnectionClosed)
		case err == nil: // it is time to read everything again
			continue
		}
		if failures++; failures == 1 {
			v.log.Warn("cannot follow changes of subscriptions, will keep trying", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-reconnected:
		case <-time.After(pause):
			pause = pauses.NextBackOff()
		}
	}
}

// publish makes what a watch has learned known. It reports false when the watch
// is of a bucket that was given up since.
func (v *View) publish(w *watching) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.epoch != w.epoch {
		return false
	}
	v.loaded, v.settled, v.created = true, w.settled(), w.head.Created
	v.applied = max(w.last, w.head.Last)
	if v.Snapshot().table != w.table {
		v.snapshot.Store(newSnapshot(w.table, maps.Clone(w.broken), v.applied))
		close(v.changed)
		v.changed = make(chan struct{})
	}
	close(v.progress)
	v.progress = make(chan struct{})
	return true
}

// openAgain asks for a new watch, if that was not asked for already.
func (v *View) openAgain() {
	select {
	case v.rewatch <- struct{}{}:
	default:
	}
}
