package subscription

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/jetpost/jetpost/internal/stream"
)

// A question is one request for the last revision of the bucket, and all who wait
// for its answer. It is sent after the last of them has come.
type question struct {
	answered chan struct{} // closed when revision is there
	revision uint64
}

// Sync returns a snapshot that has every change which was acknowledged before the
// call: it asks the bucket's leader for the last revision, and waits until the
// watch has brought it. Calls share requests, so it may be called for every event.
// While the server does not answer it waits, until ctx ends or Run does
// (ErrStopped).
func (v *View) Sync(ctx context.Context) (*Snapshot, error) {
	q := v.join()
	select {
	case <-q.answered:
	case <-v.stopped:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, fmt.Errorf("ask for the last revision of subscriptions: %w", context.Cause(ctx))
	}
	patience := time.NewTimer(v.cfg.Patience)
	defer patience.Stop()
	for {
		snapshot, progress := v.reached(q.revision)
		if snapshot != nil {
			return snapshot, nil
		}
		select {
		case <-progress:
		case <-patience.C:
			v.openAgain() // a watch may stand still and not know it
			patience.Reset(v.cfg.Patience)
		case <-v.stopped:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for revision %d of subscriptions: %w", q.revision, context.Cause(ctx))
		}
	}
}

// join returns the question that will be sent next.
func (v *View) join() *question {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.next == nil {
		v.next = &question{answered: make(chan struct{})}
		select {
		case v.wake <- struct{}{}:
		default:
		}
	}
	return v.next
}

// reached returns the snapshot if it has everything up to revision, otherwise a
// channel that is closed when it is worth asking again.
func (v *View) reached(revision uint64) (*Snapshot, <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.loaded && v.settled && v.applied >= revision {
		return v.snapshot.Load(), nil
	}
	return nil, v.progress
}

// syncBurst is how many questions may follow each other at once: an event on its
// own must not wait for the interval, which is there for a stream of them.
const syncBurst = 8

// ask sends one question at a time.
func (v *View) ask(ctx context.Context) {
	limit := rate.NewLimiter(rate.Every(v.cfg.SyncInterval), syncBurst)
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
		}
		v.mu.Lock()
		q, loaded, applied, created := v.next, v.loaded, v.applied, v.created
		v.next = nil
		v.mu.Unlock()

		head, err := v.headUntilAnswered(ctx)
		if err != nil {
			return // ctx has ended
		}
		if loaded && (head.Last < applied || !head.Created.Equal(created)) {
			v.startOver(head)
		}
		q.revision = head.Last
		close(q.answered)

		if limit.Wait(ctx) != nil {
			return
		}
	}
}

// startOver has everything read again because the bucket is behind what was read
// from it: it was made anew, or its server lost writes.
func (v *View) startOver(head stream.Head) {
	v.mu.Lock()
	v.log.Warn("the bucket of subscriptions was replaced or has lost changes, reading it again",
		zap.Uint64("seq", head.Last), zap.Uint64("applied", v.applied))
	v.epoch++
	v.loaded = false // so that nobody is given the old snapshot for the new revision
	v.mu.Unlock()
	v.openAgain()
}

// headUntilAnswered repeats the request until there is an answer or ctx ends.
func (v *View) headUntilAnswered(ctx context.Context) (stream.Head, error) {
	told := false
	h, err := backoff.Retry(ctx, func() (stream.Head, error) { return v.head(ctx) },
		backoff.WithBackOff(stream.Pauses(20*time.Millisecond, time.Second)), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, _ time.Duration) {
			if !told {
				v.log.Warn("cannot ask for the last revision of subscriptions, will keep trying", zap.Error(err))
			}
			told = true
		}))
	if err != nil {
		return stream.Head{}, ctx.Err()
	}
	return h, nil
}

// headTimeout bounds one request for a head.
const headTimeout = 2 * time.Second

// head asks the leader of the bucket's stream.
func (v *View) head(ctx context.Context) (stream.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	return stream.ReadHead(ctx, v.js, v.layout.SubscriptionsStream())
}
