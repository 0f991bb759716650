package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

var (
	errWatchClosed = errors.New("the watch was closed")
	errWatchSilent = errors.New("the watch brings nothing")
)

const (
	watchOpenTimeout    = 5 * time.Second        // to open a watch
	watchLoadTimeout    = 30 * time.Second       // between two entries of the first reading
	watchLagTimeout     = 5 * time.Second        // for a replica to catch up with the leader
	watchSettleTimeout  = 100 * time.Millisecond // for what follows an entry that had more behind it
	watchReconnectDelay = 250 * time.Millisecond // at most, so that not all read at once
)

// following is the state of one watch.
type following struct {
	epoch   uint64 // of the Follower when the watch was opened
	head    Head   // of the bucket, before that
	entries map[string]Entry

	last   uint64 // revision of the last entry
	marked bool   // the mark that ends the initial entries has come
	behind bool   // the server had more when it sent the last entry
	lagged bool   // enough time was given to the replica that is read from
	idle   bool   // nothing has come for a while although the server had more
	silent int    // how often nothing has come for WatchSilence before the mark
	loaded bool   // was applied once
	dirty  bool   // there is something to apply
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
	// What the watch still has to say after its context has ended must be read, or
	// the client library's goroutine would wait for ever with it in hand.
	defer func() {
		go func() {
			for range watcher.Updates() { // reading is all there is to do
			}
		}()
	}()
	wait := time.NewTimer(watchLoadTimeout)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
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
				return true, nil
			}
			continue // whoever is impatient must not keep the timer from going off
		case <-wait.C:
			if !w.marked {
				if err := f.endOfDamaged(ctx, w); err != nil {
					return w.loaded, err
				}
				break
			}
			w.lagged, w.idle, w.dirty = true, true, true
		case e, ok := <-watcher.Updates():
			if !ok {
				return w.loaded, errWatchClosed
			}
			w.take(e)
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

// endOfDamaged is for a watch that brings nothing and has not said that it has brought
// all.
func (f *Follower) endOfDamaged(ctx context.Context, w *following) error {
	if IsWatchEnd(ctx, f.js, bucketStream(f.cfg.Bucket), w.last, w.head.Last) {
		f.log.Error("messages of a bucket are damaged: it is followed without them", zap.Uint64("seq", w.last), zap.Uint64("last", w.head.Last))
		w.marked, w.dirty, w.idle, w.lagged = true, true, true, true
		return nil
	}
	if w.silent++; w.silent >= int(watchLoadTimeout/WatchSilence) {
		return errWatchSilent
	}
	return nil
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
	w := &following{entries: map[string]Entry{}, dirty: true}
	f.mu.Lock()
	w.epoch = f.epoch
	f.mu.Unlock()
	var err error
	if w.head, err = f.head(ctx); err != nil {
		return nil, nil, err
	}
	timeout := time.AfterFunc(watchOpenTimeout, cancel)
	defer timeout.Stop()
	kv, err := f.js.KeyValue(ctx, f.cfg.Bucket)
	if err != nil {
		return nil, nil, fmt.Errorf("open bucket %s: %w", f.cfg.Bucket, err)
	}
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("watch bucket %s: %w", f.cfg.Bucket, err)
	}
	return w, watcher, nil
}

// take notes one entry; nil is the mark that ends the initial ones.
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
	if e.Operation() != jetstream.KeyValuePut {
		delete(w.entries, e.Key())
		return
	}
	w.entries[e.Key()] = Entry{Value: e.Value(), Revision: e.Revision(), Stored: e.Created()}
}

// ready reports whether the entries are the whole truth up to the last one. On a
// cluster the watch may read from a replica that is behind the leader, so the head
// must have been reached too, unless that was erased. And where the server had more
// to send, a key may have changed more often than the bucket keeps history: what
// took its place comes later. The time limits keep both from waiting for ever.
func (w *following) ready() bool { return w.dirty && w.complete() && (!w.behind || w.idle) }

func (w *following) complete() bool {
	return w.marked && (w.last >= w.head.Last || w.head.Replicas <= 1 || w.lagged)
}

// arm sets the time after which what is missing is no longer waited for.
func (w *following) arm(wait *time.Timer) {
	switch {
	case !w.marked:
		wait.Reset(WatchSilence)
	case !w.complete():
		wait.Reset(watchLagTimeout)
	case w.behind && !w.idle:
		wait.Reset(watchSettleTimeout)
	default:
		wait.Stop()
	}
}
