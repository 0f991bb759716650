package follow

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

// Sync returns when every change that was acknowledged before the call has been
// applied: it asks the bucket's leader for the last revision, and waits until the
// watch has brought it. Calls share requests, so any number of them costs no more
// than one request in SyncInterval. While the server does not answer it waits,
// until ctx ends or Run does (ErrStopped).
func (f *Follower) Sync(ctx context.Context) error {
	if f.cfg.Keys != "" {
		return errNoSync
	}
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
			f.openAgain() // a watch may stand still without noticing
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
	return f.loaded && f.settled && f.applied >= revision, f.progress
}

// ask sends one question at a time.
func (f *Follower) ask(ctx context.Context) {
	limit := rate.NewLimiter(rate.Every(f.cfg.SyncInterval), f.cfg.SyncBurst)
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
func (f *Follower) startOver(head stream.Head) {
	f.mu.Lock()
	f.log.Warn("the bucket was replaced or has lost changes, reading it again", zap.Uint64("seq", head.Last), zap.Uint64("applied", f.applied))
	f.epoch++
	f.loaded = false // so that no reader takes the old state for the new revision
	f.mu.Unlock()
	f.openAgain()
}

// headUntilAnswered repeats the request until there is an answer or ctx ends.
func (f *Follower) headUntilAnswered(ctx context.Context) (stream.Head, error) {
	logged := false
	h, err := backoff.Retry(ctx, func() (stream.Head, error) { return f.head(ctx) },
		backoff.WithBackOff(stream.Pauses(20*time.Millisecond, time.Second)), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, _ time.Duration) {
			if !logged {
				f.log.Warn("cannot ask for the last revision of a bucket, will keep trying", zap.Error(err))
			}
			logged = true
		}))
	if err != nil {
		return stream.Head{}, ctx.Err()
	}
	return h, nil
}

// headTimeout bounds one request for a head.
const headTimeout = 2 * time.Second

// head asks the leader of the bucket's stream.
func (f *Follower) head(ctx context.Context) (stream.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, headTimeout)
	defer cancel()
	return stream.ReadHead(ctx, f.js, stream.BucketStream(f.cfg.Bucket))
}

// openAgain asks for a new watch, if that was not asked for already.
func (f *Follower) openAgain() {
	select {
	case f.rewatch <- struct{}{}:
	default:
	}
}
