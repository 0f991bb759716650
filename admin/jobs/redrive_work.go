package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/time/rate"

	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// redriveTimeout bounds one redrive.
	redriveTimeout = 10 * time.Second
	// redrivePatience is how long a job waits for room on a queue.
	redrivePatience = time.Minute
	// redriveTries is how often a redrive that fails for another reason is tried,
	// some seconds in all.
	redriveTries = 8
)

// A redriveWork redrives the dead letters of one job.
type redriveWork struct {
	job         *Claim
	js          jetstream.JetStream
	dead        *deadletters.DeadLetters
	deadLetters *delivery.DeadLetters
	keep        *subscriptions.Keeper
	selected    *delivery.Selection

	subs   *subscription.Snapshot
	synced time.Time
	rooms  map[string]*room
}

// A room is what is known of a queue.
type room struct {
	looked time.Time
	full   bool
	// expired: the time to wait for room has passed.
	expired bool
}

// work redrives what is left of a job.
//
//	dead letters ─► batch ─► each: rate ─► queue ─► delete      progress ─► job
//	                         └──────── one goroutine ──────┘    └─ every second ─┘
func (r *Redrives) work(ctx context.Context, job *Claim) error {
	w := &redriveWork{
		job: job, js: r.js, dead: r.dead, deadLetters: r.deadLetters, keep: r.keep, selected: deadletters.Selected(&job.record.Selection), rooms: make(map[string]*room),
	}
	err := w.run(ctx)
	if err == nil {
		job.progress(func(r *Record) {
			if r.State == Running { // not cancelled meanwhile
				r.Gone = max(r.Gone, r.Total-r.Done-r.Failed)
			}
		})
	}
	return err
}

// run returns nil when the job is done, errHopeless, or the end of ctx.
func (w *redriveWork) run(ctx context.Context) error {
	limiter := rate.NewLimiter(rate.Limit(w.job.record.Rate), max(1, int(w.job.record.Rate/100)))
	for counted := w.job.record.Claims == 1; ; {
		if !counted && w.recount(ctx) == nil {
			counted = true
		}
		batch, err := w.dead.Batch(ctx, w.selected, w.job.record.Next, w.job.record.Last)
		if err != nil || !counted {
			if !wait(ctx, time.Second) {
				return ctx.Err()
			}
			continue
		}
		for i := range batch {
			if err := limiter.Wait(ctx); err != nil {
				return err
			}
			err := w.redriveOne(ctx, &batch[i])
			if errors.Is(err, context.Canceled) { // while it was waited for
				return err
			}
			w.count(&batch[i], err)
			if w.selected.Subscription != "" && (errors.Is(err, subscription.ErrNotFound) || errors.Is(err, subscriptions.ErrDisabled) || errors.Is(err, subscriptions.ErrNoQueue)) {
				return fmt.Errorf("%w: %w", errHopeless, err)
			}
		}
		if len(batch) < deadletters.BatchSize {
			return nil
		}
	}
}

// recount finds out what was done after the job was written last, by one that was
// killed: those dead letters are deleted.
func (w *redriveWork) recount(ctx context.Context) error {
	left := 0
	for _, err := range w.deadLetters.Select(ctx, w.selected, w.job.record.Next, w.job.record.Last) {
		if err != nil {
			return err
		}
		left++
	}
	w.job.progress(func(r *Record) { r.Done = max(r.Done, r.Total-r.Failed-r.Gone-left) })
	return nil
}

func (w *redriveWork) count(deadLetter *delivery.DeadLetter, err error) {
	w.job.progress(func(r *Record) {
		r.Next = deadLetter.Sequence + 1
		switch {
		case err == nil:
			r.Done++
		case errors.Is(err, delivery.ErrNoDeadLetter):
			r.Gone++
		default:
			r.Failed++
			if len(r.Failures) < maxFailures {
				r.Failures = append(r.Failures, v1.RedriveFailure{Sequence: deadLetter.Sequence, Error: shorten(err.Error(), maxFailure)})
			}
		}
	})
}

// redriveOne redrives a dead letter, and waits while its queue has no room or NATS does
// not answer. A queue that had no room within the patience is not waited for again before it
// has room.
func (w *redriveWork) redriveOne(ctx context.Context, deadLetter *delivery.DeadLetter) error {
	patience := time.Now().Add(redrivePatience)
	for try := 1; ; {
		err := w.tryRedrive(ctx, deadLetter.Sequence)
		switch {
		case err == nil, errors.Is(err, delivery.ErrNoDeadLetter), errors.Is(err, subscription.ErrNotFound),
			errors.Is(err, subscriptions.ErrDisabled), errors.Is(err, deadletters.ErrUnreadable), errors.Is(err, subscriptions.ErrNoQueue):
			return err
		case errors.Is(err, subscriptions.ErrQueueFull):
			if r := w.room(deadLetter.SubscriptionID); r.expired || time.Now().After(patience) {
				r.expired = true
				return err
			}
		default:
			if try++; try > redriveTries {
				return err
			}
		}
		if !wait(ctx, min(time.Duration(try)*250*time.Millisecond, time.Second)) {
			return ctx.Err()
		}
	}
}

// tryRedrive is not broken off: a dead letter that is on its queue should be deleted.
func (w *redriveWork) tryRedrive(ctx context.Context, sequence uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redriveTimeout)
	defer cancel()
	deadLetter, err := w.deadLetters.Get(ctx, sequence)
	if err != nil {
		return err
	}
	if w.subs == nil || time.Since(w.synced) > time.Second {
		if w.subs, err = w.keep.Snapshot(ctx); err != nil {
			return err
		}
		w.synced = time.Now()
	}
	if deadLetter.Delivery == nil {
		return deadletters.ErrUnreadable
	}
	sub, ok := w.subs.Get(deadLetter.SubscriptionID)
	if !ok {
		return fmt.Errorf("subscription %s: %w", deadLetter.SubscriptionID, subscription.ErrNotFound)
	}
	if err := w.checkRoom(ctx, sub); err != nil {
		return err
	}
	return w.dead.Redrive(ctx, deadLetter, sub)
}

// checkRoom looks, once per second, whether a queue is half full: new events need
// the rest, or would become dead letters themselves.
func (w *redriveWork) checkRoom(ctx context.Context, sub *subscription.Subscription) error {
	r := w.room(sub.ID)
	if time.Since(r.looked) > time.Second {
		s, err := w.js.Stream(ctx, sub.Queue.Stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrNoQueue)
		}
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", sub.Queue.Stream, err)
		}
		info := s.CachedInfo()
		most := info.Config.MaxMsgsPerSubject
		if all := info.Config.MaxMsgs; all > 0 && (most <= 0 || all < most) { // made by an earlier version, or by an operator
			most = all
		}
		if most <= 0 {
			most = stream.MaxQueued
		}
		r.looked, r.full = time.Now(), info.State.Msgs > uint64(most)/2
		r.expired = r.expired && r.full
	}
	if r.full {
		return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrQueueFull)
	}
	return nil
}

func (w *redriveWork) room(id string) *room {
	r := w.rooms[id]
	if r == nil {
		r = &room{}
		w.rooms[id] = r
	}
	return r
}
