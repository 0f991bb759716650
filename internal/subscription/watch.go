package subscription

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

var (
	errWatchClosed = errors.New("the watch was closed")
	errWatchSilent = errors.New("the watch brings nothing")
	errReplaced    = errors.New("the bucket was replaced")
)

const (
	openTimeout    = 5 * time.Second        // to open a watch
	loadTimeout    = 30 * time.Second       // between two entries of the first reading
	lagTimeout     = 5 * time.Second        // for a replica to catch up with the leader
	settleTimeout  = 100 * time.Millisecond // see watching.settled
	maxBatch       = 1024                   // entries between two snapshots
	reconnectDelay = 250 * time.Millisecond // at most, so that not all read at once
)

// watch reads everything, then follows changes, until ctx ends, the watch fails
// (an error), or it is time to read everything again (nil). It reports whether it
// got as far as having read everything.
func (v *View) watch(ctx context.Context, reconnected <-chan nats.Status) (loaded bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the watch as well
	drain(reconnected, v.rewatch)

	w := newWatching(v)
	watcher, err := w.Open(ctx, cancel)
	if err != nil {
		return false, err
	}
	defer abandon(watcher)
	resync := time.NewTimer(v.cfg.Resync/2 + rand.N(v.cfg.Resync/2)) //nolint:gosec // jitter
	defer resync.Stop()
	wait := time.NewTimer(loadTimeout) // see arm
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.loaded, nil
		case <-resync.C:
			return w.loaded, nil
		case <-reconnected:
			// The server may have forgotten the watch with the connection. The
			// client library would find out, but 10 to 15 s later.
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(reconnectDelay)): //nolint:gosec // jitter
			}
			return w.loaded, nil
		case <-v.rewatch:
			if w.loaded { // otherwise a watch is being opened just now
				v.log.Warn("the watch of subscriptions is behind, opening it again", zap.Uint64("applied", w.last))
				return true, nil
			}
			continue // whoever is impatient must not keep the timer from going off
		case <-wait.C:
			if err := w.expired(ctx); err != nil {
				return w.loaded, err
			}
		case e, ok := <-watcher.Updates():
			if !ok || !w.takeAll(e, watcher.Updates()) {
				return w.loaded, errWatchClosed
			}
		}
		if err := w.publish(); errors.Is(err, errReplaced) {
			return true, nil
		} else if err != nil {
			return w.loaded, err
		}
		w.arm(wait)
	}
}

// drain forgets signals that the watch about to be opened answers anyway.
func drain(reconnected <-chan nats.Status, rewatch <-chan struct{}) {
	for {
		select {
		case <-reconnected:
		case <-rewatch:
		default:
			return
		}
	}
}

// abandon reads what a watch still has to say after its context has ended, or the
// client library's goroutine would wait for ever with it in hand.
func abandon(w jetstream.KeyWatcher) {
	go func() {
		for range w.Updates() { // reading is all there is to do
		}
	}()
}

// watching is the state of one watch. Entries are collected until everything was
// read (loaded); from then on each batch of them makes a new snapshot.
type watching struct {
	view  *View
	epoch uint64      // of the view when the watch was opened
	head  stream.Head // of the bucket, before that
	known *Snapshot   // whose revisions mean the same as the watch's
	// When the records of known were stored, and those of this watch. A bucket that has
	// lost changes in a crash uses revisions again: only both together name a record.
	knownStored, stored map[string]time.Time

	last   uint64 // revision of the last entry
	behind bool   // the server had more when it sent the last entry
	marked bool   // the mark that ends the initial entries has come
	lagged bool   // enough time was given to the replica that is read from
	idle   bool   // nothing has come for settleTimeout while behind
	silent int    // how often nothing has come for stream.WatchSilence before the mark
	loaded bool
	dirty  bool // there is something to publish

	table  *filter.Table[*Subscription]
	broken map[string]Broken
	put    map[string]*Subscription // since the last snapshot
	gone   map[string]bool
}

func newWatching(v *View) *watching {
	return &watching{
		view: v, known: emptySnapshot(), broken: make(map[string]Broken),
		knownStored: v.stored, stored: make(map[string]time.Time),
		put: make(map[string]*Subscription), gone: make(map[string]bool),
	}
}

// open opens the watch, which lives as long as ctx.
func (w *watching) Open(ctx context.Context, cancel func()) (jetstream.KeyWatcher, error) {
	v := w.view
	v.mu.Lock()
	w.epoch = v.epoch
	v.mu.Unlock()
	// The head is asked for before the watch is opened: what it covers, the
	// watch will bring.
	head, err := v.head(ctx)
	if err != nil {
		return nil, err
	}
	w.head = head
	v.mu.Lock()
	if v.loaded && v.created.Equal(head.Created) && v.applied <= head.Last {
		w.known = v.Snapshot()
	}
	v.mu.Unlock()

	timeout := time.AfterFunc(openTimeout, cancel)
	name := v.layout.SubscriptionsBucket()
	kv, err := v.js.KeyValue(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", name, err)
	}
	watcher, err := kv.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("watch bucket %s: %w", name, err)
	}
	if !timeout.Stop() {
		abandon(watcher)
		return nil, fmt.Errorf("watch bucket %s: %w", name, context.DeadlineExceeded)
	}
	return watcher, nil
}

// takeAll takes e and what is waiting behind it. It reports whether the channel
// is still open.
func (w *watching) takeAll(e jetstream.KeyValueEntry, more <-chan jetstream.KeyValueEntry) bool {
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

// take notes one entry; nil is the mark. It does no I/O: the client library cannot
// go on reading while its channel is full.
func (w *watching) take(e jetstream.KeyValueEntry) {
	w.dirty, w.idle, w.silent = true, false, 0
	if e == nil {
		w.marked = true
		return
	}
	if e.Revision() <= w.last {
		return // had already
	}
	w.last, w.behind = e.Revision(), e.Delta() > 0
	id := e.Key()
	delete(w.put, id)
	delete(w.broken, id)
	delete(w.stored, id)
	w.gone[id] = true
	if e.Operation() != jetstream.KeyValuePut {
		return
	}
	w.stored[id] = e.Created()
	sub, err := w.decode(id, e)
	if err != nil { // it matches nothing, rather than what it once said
		w.report(Broken{id, e.Revision(), err})
		return
	}
	delete(w.gone, id)
	w.put[id] = sub
}

// decode reads an entry, or takes it from the snapshot when that has it.
func (w *watching) decode(id string, e jetstream.KeyValueEntry) (*Subscription, error) {
	if known, ok := w.known.Get(id); ok && known.Revision == e.Revision() && w.knownStored[id].Equal(e.Created()) {
		return known, nil
	}
	return decodeRecord(id, e.Revision(), e.Value(), w.view.keyring)
}

// report notes a record that cannot be used, and logs it once.
func (w *watching) report(b Broken) {
	w.broken[b.ID] = b
	if known, ok := w.known.broken[b.ID]; ok && known.Revision == b.Revision && w.knownStored[b.ID].Equal(w.stored[b.ID]) {
		return
	}
	w.view.log.Error("subscription cannot be read and matches no event",
		zap.String("subscription_id", b.ID), zap.Uint64("revision", b.Revision), zap.Error(b.Err))
}

// complete reports whether everything that was in the bucket when the watch was
// opened has been read.
//
// The mark says so. But on a cluster the watch may read from a replica that is
// behind the leader, so the head must have been reached too; unless that was
// erased (a deletion whose marker was purged), when nothing will ever reach it.
func (w *watching) complete() bool {
	return w.marked && (w.last >= w.head.Last || w.head.Replicas <= 1 || w.lagged)
}

// settled reports whether the entries so far are the whole truth up to the last
// one. When a key changes more often than the bucket keeps history before the
// watch has read it, the watch skips what is gone: it has passed that revision,
// and what took its place comes later. Where the server had nothing more to send
// that cannot be. The time limit keeps an endless stream of changes from holding
// up every Sync.
func (w *watching) settled() bool { return !w.behind || w.idle }

// arm sets the time after which expired is called.
func (w *watching) arm(wait *time.Timer) {
	switch {
	case !w.marked:
		wait.Reset(stream.WatchSilence)
	case !w.complete():
		wait.Reset(lagTimeout)
	case !w.settled():
		wait.Reset(settleTimeout)
	default:
		wait.Stop()
	}
}

// expired is called when nothing has come for the time that arm has set.
func (w *watching) expired(ctx context.Context) error {
	w.dirty = true
	switch {
	case !w.marked && stream.IsWatchEnd(ctx, w.view.js, w.view.layout.SubscriptionsStream(), w.last, w.head.Last):
		// Nothing may be routed by them before that is accepted: see package inventory.
		w.view.log.Error("subscriptions are damaged: the others are followed without them", zap.Uint64("seq", w.last), zap.Uint64("last", w.head.Last))
		w.marked, w.idle, w.lagged = true, true, true
	case !w.marked:
		if w.silent++; w.silent >= int(loadTimeout/stream.WatchSilence) {
			return errWatchSilent
		}
	case !w.complete():
		w.lagged = true
	default:
		w.idle = true
	}
	return nil
}

// publish makes what has come known, once everything was read.
func (w *watching) publish() error {
	if !w.dirty || !w.complete() || !w.loaded && !w.settled() {
		return nil
	}
	if err := w.apply(); err != nil {
		return err
	}
	w.loaded, w.dirty = true, false
	w.view.stored = w.stored
	clear(w.put)
	clear(w.gone)
	if !w.view.publish(w) {
		return errReplaced
	}
	return nil
}

// apply brings the table up to date.
func (w *watching) apply() error {
	if !w.loaded && w.sameAsKnown() {
		w.table = w.known.table // so that nobody is woken for nothing
		return nil
	}
	if w.table == nil {
		w.table = emptyTable()
	}
	if len(w.put) == 0 && len(w.gone) == 0 {
		return nil
	}
	table, err := w.table.Without(slices.Collect(maps.Keys(w.gone))...).With(slices.Collect(maps.Values(w.put))...)
	if err != nil {
		return err // cannot be: what was decoded has been checked
	}
	w.table = table
	return nil
}

// sameAsKnown reports whether reading everything has brought nothing new.
func (w *watching) sameAsKnown() bool {
	if len(w.put) != w.known.table.Len() || len(w.broken) != len(w.known.broken) {
		return false
	}
	for id, sub := range w.put {
		if known, ok := w.known.Get(id); !ok || known != sub {
			return false
		}
	}
	for id, b := range w.broken {
		if known, ok := w.known.broken[id]; !ok || known.Revision != b.Revision || !w.knownStored[id].Equal(w.stored[id]) {
			return false
		}
	}
	return true
}
