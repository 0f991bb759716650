// Package follow keeps live copies of key-value buckets.
//
// A Follower hands out all entries with each change, or what has changed, of all keys or
// some. Its Sync waits for every change that was acknowledged before. Every copy of a bucket
// in a process is one.
package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/stream"
)

// Config says what a Follower follows. Only Bucket and one of Apply and Change are
// required.
type Config struct {
	// Bucket is the name of a key-value bucket.
	Bucket string
	// Keys is a pattern of the keys to follow, such as breaker.*. Default: all. With Keys
	// there is no Sync and no Check, because the last revision of the bucket may be that
	// of another key.
	Keys string
	// Apply gets all entries when they were read and whenever one has changed: a map of its
	// own, and the revision up to which it is the truth. The Follower keeps all values
	// for it, so the bucket should be small and rarely written.
	Apply func(entries map[string]Entry, revision uint64)
	// Change gets what has changed. The Follower keeps no values for it. Apply and Change
	// are called by one goroutine at a time, and have returned before Sync does.
	Change func(Delta)
	// Begin, if set, is called before everything is read from the start; reconnected says
	// that the connection is another one than before, so that the server may have lost
	// changes in a crash. The next Delta has every key that there is, and every deletion
	// that is stored. Default: a Delta has only what is not as it was before.
	Begin func(reconnected bool)
	// Check is how often the server is asked whether the watch still brings
	// everything, in case it stands still without noticing. Default: 15s.
	Check time.Duration
	// Resync is how often everything is read from the start, in case a watch has missed
	// something that Check cannot find, such as a purge. Default: only when the watch ends;
	// with Keys, 10m.
	Resync time.Duration
	// SyncInterval is the least time, on average, between two requests to the server
	// that Sync makes; calls that come meanwhile share the next one. Default: 20ms.
	SyncInterval time.Duration
	// SyncBurst is how many of these requests may follow each other at once. Default: 4.
	SyncBurst int
	// Patience is how long a Sync waits for the watch to bring what the server has,
	// before it has the watch opened again. Default: 2s.
	Patience time.Duration
}

func (c Config) withDefaults() Config {
	c.Check = cmp.Or(c.Check, 15*time.Second)
	c.SyncInterval = cmp.Or(c.SyncInterval, 20*time.Millisecond)
	c.SyncBurst = cmp.Or(c.SyncBurst, 4)
	c.Patience = cmp.Or(c.Patience, 2*time.Second)
	if c.Keys != "" {
		c.Resync = cmp.Or(c.Resync, 10*time.Minute)
	}
	return c
}

// An Entry is the value of a key.
type Entry struct {
	Value    []byte
	Revision uint64
	Stored   time.Time // when the server stored it
}

// A Delta is what has changed in a bucket since the Delta before.
type Delta struct {
	// Put are the keys that have another value.
	Put map[string]Entry
	// Deleted are the keys that have none any more, and the revision of the deletion where
	// that is known.
	Deleted map[string]uint64
	// Revision of the last change that was read.
	Revision uint64
	// Start says that everything was read from the start.
	Start bool
}

// Each calls take for each key of d: with its value, nil for a deletion, and the revision.
func (d *Delta) Each(take func(key string, value []byte, revision uint64)) {
	for key, e := range d.Put {
		take(key, e.Value, e.Revision)
	}
	for key, revision := range d.Deleted {
		take(key, nil, revision)
	}
}

// ErrStopped is returned by Sync when Run has ended.
var ErrStopped = errors.New("the copy of the bucket is no longer kept up to date")

// errNoSync is a mistake of the program.
var errNoSync = errors.New("a follower of some keys has no Sync")

// A Follower keeps a live copy of a key-value bucket.
//
//	                  ┌────────── Run ──────────┐
//	bucket ─► watch ──┼─► follow: collect ──────┼─► Apply, Change
//	bucket ─► its     │                         │
//	  last revision ──┼─► ask ──────────────────┼─► Sync
//	                  └─────────────────────────┘
//
// It lives through lost connections, watches that end, and buckets that are made
// anew; while it cannot read, what was applied last stays. Use New.
type Follower struct {
	cfg Config
	js  jetstream.JetStream
	log *zap.Logger

	rewatch chan struct{} // asks follow to open the watch again
	wake    chan struct{} // wakes ask for next
	stopped chan struct{} // closed when Run ends

	known   map[string]version // what was applied last; of follow alone
	entries map[string]Entry   // the same with its values, for Apply; of follow alone

	mu       sync.Mutex
	epoch    uint64        // counts the times that a bucket was given up: see startOver
	loaded   bool          // everything was read once from this bucket
	settled  bool          // see following.settled
	applied  uint64        // up to this revision
	created  time.Time     // of the bucket that it was read from
	progress chan struct{} // closed when one of the above changes
	next     *question     // which ask sends next
}

// A version names a value. A bucket that has lost changes in a crash uses revisions
// again: only both together name one.
type version struct {
	revision uint64
	stored   int64 // in nanoseconds
}

func (e *Entry) version() version { return version{e.Revision, e.Stored.UnixNano()} }

// New makes a Follower, which does nothing until Run.
func New(cfg Config, js jetstream.JetStream, log *zap.Logger) *Follower {
	return &Follower{
		cfg: cfg.withDefaults(), js: js, log: log.With(zap.String("stream", stream.BucketStream(cfg.Bucket))),
		rewatch: make(chan struct{}, 1), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		known: make(map[string]version), entries: make(map[string]Entry), progress: make(chan struct{}),
	}
}

// Run keeps the copy up to date until ctx ends. It returns an error only when the
// connection was closed for good. It can be called once.
func (f *Follower) Run(ctx context.Context) error {
	defer close(f.stopped)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.follow(ctx) })
	if f.cfg.Keys == "" {
		g.Go(func() error { f.ask(ctx); return nil })
		g.Go(func() error { f.check(ctx); return nil })
	}
	return g.Wait()
}

// check finds a watch that stands still: Sync has it opened again.
func (f *Follower) check(ctx context.Context) {
	ticker := time.NewTicker(f.cfg.Check)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			limited, cancel := context.WithTimeout(ctx, max(f.cfg.Check, 2*f.cfg.Patience))
			_ = f.Sync(limited) // what went wrong is in the log, and is tried again
			cancel()
		}
	}
}

// follow opens one watch after the other.
func (f *Follower) follow(ctx context.Context) error {
	nc := f.js.Conn()
	reconnected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(reconnected)
	pauses := stream.Pauses(time.Second, 30*time.Second) // jetstream.md, section 8
	pause := pauses.NextBackOff()
	reconnects := nc.Stats().Reconnects
	for failures := 0; ; {
		if now := nc.Stats().Reconnects; f.cfg.Begin != nil {
			f.cfg.Begin(now != reconnects)
			reconnects = now
		}
		loaded, err := f.watch(ctx, reconnected)
		if loaded {
			pauses.Reset()
			pause, failures = pauses.NextBackOff(), 0
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case nc.IsClosed():
			return fmt.Errorf("watch bucket %s: %w", f.cfg.Bucket, nats.ErrConnectionClosed)
		case err == nil: // it is time to read everything again
			continue
		}
		if failures++; failures == 1 {
			f.log.Warn("cannot follow changes of a bucket, will keep trying", zap.Error(err))
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

// apply makes what a watch has learned known. It reports false when the watch is
// of a bucket that was given up since.
func (f *Follower) apply(w *following) bool {
	f.mu.Lock()
	revision := max(w.last, w.head.Last)
	changed := !f.loaded || f.applied != revision
	current := f.epoch == w.epoch
	f.mu.Unlock()
	if !current {
		return false
	}
	delta := w.delta(f.known, revision)
	changed = changed || delta.Start && f.cfg.Begin != nil
	if changed || len(delta.Put)+len(delta.Deleted) > 0 { // otherwise there is nothing new
		f.hand(delta)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epoch != w.epoch {
		return false
	}
	f.loaded, f.settled, f.applied, f.created = true, w.settled(), revision, w.head.Created
	close(f.progress)
	f.progress = make(chan struct{})
	return true
}

// hand hands out a delta, which is known from then on.
func (f *Follower) hand(delta Delta) {
	for key, e := range delta.Put {
		f.known[key] = e.version()
	}
	for key := range delta.Deleted {
		delete(f.known, key)
	}
	if f.cfg.Change != nil {
		f.cfg.Change(delta)
	}
	if f.cfg.Apply == nil {
		return
	}
	maps.Copy(f.entries, delta.Put)
	for key := range delta.Deleted {
		delete(f.entries, key)
	}
	f.cfg.Apply(maps.Clone(f.entries), delta.Revision)
}
