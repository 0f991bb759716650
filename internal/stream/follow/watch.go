package follow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

var (
	errWatchClosed = errors.New("the watch was closed")
	errWatchSilent = errors.New("timed out waiting for watch updates")
)

const (
	watchOpenTimeout    = 5 * time.Second        // to open a watch
	watchLoadTimeout    = 30 * time.Second       // between two entries of the first reading
	watchLagTimeout     = 5 * time.Second        // for a replica to catch up with the leader
	watchSettleTimeout  = 100 * time.Millisecond // for what follows an entry that had more behind it
	watchReconnectDelay = 250 * time.Millisecond // at most, so that not all read at once
)

// maxBatch is how many entries are taken at most before they are applied.
const maxBatch = 1024

// following is the state of one watch. Entries are collected until everything was read
// (loaded); from then on each batch of them is applied.
type following struct {
	epoch uint64      // of the Follower when the watch was opened
	head  stream.Head // of the bucket, before that
	// known are the values that do not count as changed until everything was read: those
	// that were applied from the same bucket.
	known map[string]version
	keys  bool // the watch is of some keys only
	all   bool // a delta has deletions of what is not known, too: see Config.Begin

	last   uint64 // revision of the last entry
	marked bool   // the mark that ends the initial entries has come
	behind bool   // the server had more when it sent the last entry
	lagged bool   // enough time was given to the replica that is read from
	idle   bool   // nothing has come for a while although the server had more
	silent int    // how often nothing has come for watchSilence before the mark
	loaded bool   // was applied once
	dirty  bool   // there is something to apply

	put     map[string]Entry    // that is not known, since it was applied last
	deleted map[string]uint64   // since it was applied last
	same    map[string]struct{} // until everything was read: keys that are as they were
}

// watch reads everything, then follows changes, until ctx ends, the watch fails
// (an error), or it is to be opened again (nil). It reports whether it got as far
// as having read everything.
func (f *Follower) watch(ctx context.Context, reconnected <-chan nats.Status) (loaded bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watch as well
	drainSignals(reconnected, f.rewatch)
	w, watcher, err := f.openWatch(ctx, cancel)
	if err != nil {
		return false, err
	}
	defer abandon(watcher)
	wait := time.NewTimer(watchLoadTimeout) // see arm
	defer wait.Stop()
	var resync <-chan time.Time
	if f.cfg.Resync > 0 {
		timer := time.NewTimer(f.cfg.Resync/2 + rand.N(f.cfg.Resync/2)) //nolint:gosec // jitter
		defer timer.Stop()
		resync = timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return w.loaded, nil
		case <-resync:
			return w.loaded, nil
		case <-reconnected:
			// The server may have forgotten the watch with the connection. The client
			// library would find out, but 10 to 15 s later.
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(watchReconnectDelay)): //nolint:gosec // jitter
			}
			return w.loaded, nil
		case <-f.rewatch:
			if w.loaded { // otherwise a watch is being opened just now
				f.log.Warn("the watch of a bucket is behind, opening it again", zap.Uint64("applied", w.last))
				return true, nil
			}
			continue // an impatient caller must not keep the timer from going off
		case <-wait.C:
			if err := f.expired(ctx, w); err != nil {
				return w.loaded, err
			}
		case e, ok := <-watcher.Updates():
			if !ok || !w.takeAll(e, watcher.Updates()) {
				return w.loaded, errWatchClosed
			}
		}
		if w.ready() {
			if !f.apply(w) {
				return true, nil
			}
			w.loaded, w.dirty = true, false
		}
		w.arm(wait)
	}
}

// expired is called when nothing has come for the time that arm has set.
func (f *Follower) expired(ctx context.Context, w *following) error {
	w.dirty = true
	switch {
	case !w.marked && !w.keys && isWatchEnd(ctx, f.js, stream.BucketStream(f.cfg.Bucket), w.last, w.head.Last):
		f.log.Error("messages of a bucket are damaged: it is followed without them", zap.Uint64("seq", w.last), zap.Uint64("last", w.head.Last))
		w.marked, w.idle, w.lagged = true, true, true
	case !w.marked:
		if w.silent++; w.silent >= int(watchLoadTimeout/watchSilence) {
			return errWatchSilent
		}
	case !w.complete():
		w.lagged = true
	default:
		w.idle = true
	}
	return nil
}

// abandon reads what a watch still sends after its context has ended: otherwise the
// client library's goroutine would wait without end.
func abandon(w jetstream.KeyWatcher) {
	go func() {
		for range w.Updates() { // reading is all there is to do
		}
	}()
}

// drainSignals forgets those that the watch about to be opened answers anyway.
func drainSignals(reconnected <-chan nats.Status, rewatch <-chan struct{}) {
	for {
		select {
		case <-reconnected:
		case <-rewatch:
		default:
			return
		}
	}
}

// openWatch opens a watch, which lives as long as ctx. The head is asked for
// before: what it covers, the watch will bring.
func (f *Follower) openWatch(ctx context.Context, cancel func()) (*following, jetstream.KeyWatcher, error) {
	w := &following{
		dirty: true, keys: f.cfg.Keys != "", all: f.cfg.Begin != nil,
		put: make(map[string]Entry), deleted: make(map[string]uint64), same: make(map[string]struct{}),
	}
	f.mu.Lock()
	w.epoch = f.epoch
	f.mu.Unlock()
	var err error
	if w.head, err = f.head(ctx); err != nil {
		return nil, nil, err
	}
	f.mu.Lock()
	if f.cfg.Begin == nil && f.loaded && f.created.Equal(w.head.Created) && f.applied <= w.head.Last {
		w.known = f.known
	}
	f.mu.Unlock()
	timeout := time.AfterFunc(watchOpenTimeout, cancel)
	kv, err := f.js.KeyValue(ctx, f.cfg.Bucket)
	if err != nil {
		return nil, nil, fmt.Errorf("open bucket %s: %w", f.cfg.Bucket, err)
	}
	watcher, err := kv.Watch(ctx, cmp.Or(f.cfg.Keys, jetstream.AllKeys))
	if err != nil {
		return nil, nil, fmt.Errorf("watch bucket %s: %w", f.cfg.Bucket, err)
	}
	if !timeout.Stop() {
		abandon(watcher)
		return nil, nil, fmt.Errorf("watch bucket %s: %w", f.cfg.Bucket, context.DeadlineExceeded)
	}
	return w, watcher, nil
}

// takeAll takes e and what is waiting behind it. It reports whether the channel
// is still open.
func (w *following) takeAll(e jetstream.KeyValueEntry, more <-chan jetstream.KeyValueEntry) bool {
	for n := 1; ; n++ {
		w.take(e)
		if n == maxBatch {
			return true
		}
		var ok bool
		select {
		case e, ok = <-more:
			if !ok {
				return false
			}
		default:
			return true
		}
	}
}

// take notes one entry; nil is the mark that ends the initial ones. It does no I/O: the
// client library cannot go on reading while its channel is full.
func (w *following) take(e jetstream.KeyValueEntry) {
	w.dirty, w.idle, w.silent = true, false, 0
	if e == nil {
		w.marked = true
		return
	}
	if e.Revision() <= w.last {
		return // had already
	}
	w.last, w.behind = e.Revision(), e.Delta() > 0
	key := e.Key()
	delete(w.put, key)
	delete(w.deleted, key)
	delete(w.same, key)
	if e.Operation() != jetstream.KeyValuePut {
		w.deleted[key] = e.Revision()
		return
	}
	entry := Entry{Value: e.Value(), Revision: e.Revision(), Stored: e.Created()}
	if known, ok := w.known[key]; ok && !w.loaded && known == entry.version() {
		w.same[key] = struct{}{}
		return
	}
	w.put[key] = entry
}

// delta is what the watch has brought since the last one; known is what was applied
// before.
func (w *following) delta(known map[string]version, revision uint64) Delta {
	delta := Delta{Put: w.put, Deleted: w.deleted, Revision: revision, Start: !w.loaded}
	if !w.all {
		maps.DeleteFunc(delta.Deleted, func(key string, _ uint64) bool { _, ok := known[key]; return !ok })
	}
	if !w.loaded {
		for key := range known {
			_, same := w.same[key]
			_, put := w.put[key]
			_, deleted := w.deleted[key]
			if !same && !put && !deleted {
				delta.Deleted[key] = 0 // it was purged with its deletion
			}
		}
		w.known, w.same = nil, nil
	}
	w.put, w.deleted = make(map[string]Entry), make(map[string]uint64)
	return delta
}

// ready reports whether what has come may be applied: everything was read once.
func (w *following) ready() bool { return w.dirty && w.complete() && (w.loaded || w.settled()) }

// complete reports whether everything that was in the bucket when the watch was
// opened has been read.
//
// The mark says so. But on a cluster the watch may read from a replica that is
// behind the leader, so the head must have been reached too; unless that was
// erased (a deletion whose marker was purged), when nothing will ever reach it.
func (w *following) complete() bool {
	return w.marked && (w.last >= w.head.Last || w.head.Replicas <= 1 || w.lagged || w.keys)
}

// settled reports whether the entries so far are the whole truth up to the last
// one. When a key changes more often than the bucket keeps history before the
// watch has read it, the watch skips what is deleted: it has passed that revision,
// and what took its place comes later. Where the server had nothing more to send
// that cannot be. The time limit keeps an endless stream of changes from holding
// up every Sync.
func (w *following) settled() bool { return !w.behind || w.idle }

// arm sets the time after which expired is called.
func (w *following) arm(wait *time.Timer) {
	switch {
	case !w.marked:
		wait.Reset(watchSilence)
	case !w.complete():
		wait.Reset(watchLagTimeout)
	case !w.settled():
		wait.Reset(watchSettleTimeout)
	default:
		wait.Stop()
	}
}
