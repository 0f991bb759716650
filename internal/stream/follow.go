package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// FollowConfig says what a Follower follows. Only Bucket and Apply are required.
type FollowConfig struct {
	// Bucket is the name of a key-value bucket. It should be small and rarely
	// written: a Follower keeps all of it, and hands out all of it with each change.
	Bucket string
	// Apply gets the whole bucket when it was read and whenever it has changed: a
	// map of its own, and the revision up to which it is the truth. It is called by
	// one goroutine at a time, and has returned before Sync does.
	Apply func(entries map[string]Entry, revision uint64)
	// Check is how often the server is asked whether the watch still brings
	// everything, in case it stands still without noticing. Default: 15s.
	Check time.Duration
	// SyncInterval is the least time, on average, between two requests to the server
	// that Sync makes; calls that come meanwhile share the next one. Default: 20ms.
	SyncInterval time.Duration
	// Patience is how long a Sync waits for the watch to bring what the server has,
	// before it has the watch opened again. Default: 2s.
	Patience time.Duration
}

func (c FollowConfig) withDefaults() FollowConfig {
	c.Check = cmp.Or(c.Check, 15*time.Second)
	c.SyncInterval = cmp.Or(c.SyncInterval, 20*time.Millisecond)
	c.Patience = cmp.Or(c.Patience, 2*time.Second)
	return c
}

// An Entry is the value of a key.
type Entry struct {
	Value    []byte
	Revision uint64
	Stored   time.Time // when the server stored it
}

// ErrStopped is returned by Sync when Run has ended.
var ErrStopped = errors.New("the copy of the bucket is no longer kept up to date")

// A Follower keeps a live copy of a key-value bucket.
//
//	                  ┌────────── Run ──────────┐
//	bucket ─► watch ──┼─► follow: collect ──────┼─► Apply
//	bucket ─► its     │                         │
//	  last revision ──┼─► ask ──────────────────┼─► Sync
//	                  └─────────────────────────┘
//
// It lives through lost connections, watches that end, and buckets that are made
// anew; while it cannot read, what was applied last stays. Use NewFollower.
type Follower struct {
	cfg FollowConfig
	js  jetstream.JetStream
	log *zap.Logger

	rewatch chan struct{} // asks follow to open the watch again
	wake    chan struct{} // tells ask that next is there
	stopped chan struct{} // closed when Run ends

	mu       sync.Mutex
	epoch    uint64 // counts the times that a bucket was given up: see startOver
	loaded   bool   // everything was read once from this bucket
	known    map[string]Entry
	applied  uint64        // up to this revision
	created  time.Time     // of the bucket that it was read from
	progress chan struct{} // closed when one of the above changes
	next     *question     // which ask sends next
}

// NewFollower makes a Follower, which does nothing until Run.
func NewFollower(cfg FollowConfig, js jetstream.JetStream, log *zap.Logger) *Follower {
	return &Follower{
		cfg: cfg.withDefaults(), js: js, log: log.With(zap.String("stream", bucketStream(cfg.Bucket))),
		rewatch: make(chan struct{}, 1), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		progress: make(chan struct{}),
	}
}

func bucketStream(bucket string) string { return "KV_" + bucket }

// Run keeps the copy up to date until ctx ends. It returns an error only when the
// connection was closed for good. It can be called once.
func (f *Follower) Run(ctx context.Context) error {
	defer close(f.stopped)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.follow(ctx) })
	g.Go(func() error { f.ask(ctx); return nil })
	g.Go(func() error { f.check(ctx); return nil })
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

// A question is one request for the last revision of the bucket, and all who wait
// for its answer. It is sent after the last of them has come.
type question struct {
	answered chan struct{} // closed when revision is there
	revision uint64
}

// Sync returns when every change that was acknowledged before the call has been
// applied: it asks the bucket's leader for the last revision, and waits until the
// watch has brought it. Calls share requests, so any number of them costs no more
// than one request in SyncInterval. While the server does not answer it waits,
// until ctx ends or Run does (ErrStopped).
func (f *Follower) Sync(ctx context.Context) error {
	q := f.join()
	select {
	case <-q.answered:
	case <-f.stopped:
		return ErrStopped
	case <-ctx.Done():
		return fmt.Errorf("ask for the last revision of bucket %s: %w", f.cfg.Bucket, context.Cause(ctx))
	}
	patience := time.NewTimer(f.cfg.Patience)
	defer patience.Stop()
	for {
		reached, progress := f.reached(q.revision)
		if reached {
			return nil
		}
		select {
		case <-progress:
		case <-patience.C:
			f.openAgain()
			patience.Reset(f.cfg.Patience)
		case <-f.stopped:
			return ErrStopped
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d of bucket %s: %w", q.revision, f.cfg.Bucket, context.Cause(ctx))
		}
	}
}

// join returns the question that will be sent next.
func (f *Follower) join() *question {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = &question{answered: make(chan struct{})}
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
	return f.next
}

// reached reports whether everything up to revision was applied; otherwise it
// returns a channel that is closed when it is worth asking again.
func (f *Follower) reached(revision uint64) (bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded && f.applied >= revision, f.progress
}

// syncBurst is how many questions may follow each other at once.
const syncBurst = 4

// ask sends one question at a time.
func (f *Follower) ask(ctx context.Context) {
	limit := rate.NewLimiter(rate.Every(f.cfg.SyncInterval), syncBurst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
		}
		// Before the question is closed to others, so that those who come while it
		// waits share it.
		if limit.Wait(ctx) != nil {
			return
		}
		f.mu.Lock()
		q, loaded, applied, created := f.next, f.loaded, f.applied, f.created
		f.next = nil
		f.mu.Unlock()
		head, err := f.headUntilAnswered(ctx)
		if err != nil {
			return // ctx has ended
		}
		if loaded && (head.Last < applied || !head.Created.Equal(created)) {
			f.startOver(head)
		}
		q.revision = head.Last
		close(q.answered)
	}
}

// startOver has everything read again because the bucket is behind what was read
// from it: it was made anew, or its server lost writes.
func (f *Follower) startOver(head Head) {
	f.mu.Lock()
	f.log.Warn("the bucket was replaced or has lost changes, reading it again", zap.Uint64("seq", head.Last), zap.Uint64("applied", f.applied))
	f.epoch++
	f.loaded = false // so that nobody takes the old state for the new revision
	f.mu.Unlock()
	f.openAgain()
}

// headUntilAnswered repeats the request until there is an answer or ctx ends.
func (f *Follower) headUntilAnswered(ctx context.Context) (Head, error) {
	told := false
	h, err := backoff.Retry(ctx, func() (Head, error) { return f.head(ctx) },
		backoff.WithBackOff(Pauses(20*time.Millisecond, time.Second)), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, _ time.Duration) {
			if !told {
				f.log.Warn("cannot ask for the last revision of a bucket, will keep trying", zap.Error(err))
			}
			told = true
		}))
	if err != nil {
		return Head{}, ctx.Err()
	}
	return h, nil
}

func (f *Follower) head(ctx context.Context) (Head, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return ReadHead(ctx, f.js, bucketStream(f.cfg.Bucket))
}

// openAgain asks for a new watch, if that was not asked for already.
func (f *Follower) openAgain() {
	select {
	case f.rewatch <- struct{}{}:
	default:
	}
}

// follow opens one watch after the other.
func (f *Follower) follow(ctx context.Context) error {
	nc := f.js.Conn()
	reconnected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(reconnected)
	pauses := Pauses(time.Second, 30*time.Second) // jetstream.md, section 8
	pause := pauses.NextBackOff()
	for failures := 0; ; {
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
	changed := !f.loaded || f.applied != revision || !sameEntries(f.known, w.entries)
	current := f.epoch == w.epoch
	f.mu.Unlock()
	if !current {
		return false
	}
	if changed { // otherwise nobody is woken for nothing
		f.cfg.Apply(maps.Clone(w.entries), revision)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.epoch != w.epoch {
		return false
	}
	f.loaded, f.known, f.applied, f.created = true, maps.Clone(w.entries), revision, w.head.Created
	close(f.progress)
	f.progress = make(chan struct{})
	return true
}

func sameEntries(a, b map[string]Entry) bool {
	return maps.EqualFunc(a, b, func(x, y Entry) bool { return x.Revision == y.Revision && x.Stored.Equal(y.Stored) })
}
