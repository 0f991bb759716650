package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Removed says what went with a subscription.
type Removed struct {
	Queued  uint64 // deliveries in its queue, in flight or not attempted yet or due again
	Retries uint64 // those that waited for the time of their next attempt
}

// Remove deletes a subscription that the API named manager keeps (empty:
// the native one), and the deliveries that wait. tag, if it is not empty, is the ETag that
// it must have. subscription.ErrNotFound, also for one of another manager.
//
// It stops the matching first, so that nothing is put on the queue any more,
// and takes the record away last: what fails in between can be repeated, and a
// queue without a subscription, which a later one of the same id would inherit
// with all that is in it, is never left over.
func (k *Keeper) Remove(ctx context.Context, manager, id, tag string) (Removed, error) {
	ctx = stream.MakesRoom(ctx)
	unlock, err := k.changing.lock(ctx, id)
	if err != nil {
		return Removed{}, err
	}
	defer unlock()
	retired, broken, err := k.removable(ctx, manager, id, tag)
	if err != nil {
		return Removed{}, err
	}
	var removed Removed
	err = k.trail.Around(ctx, removal(retired, broken), func() error {
		if !broken {
			err := k.cfg.Reserve.Do(ctx, func() error {
				var err error
				retired, err = k.retire(ctx, manager, id, tag)
				return err
			})
			if err != nil {
				return err
			}
		}
		if removed.Queued, removed.Retries, err = k.drop(ctx, id, retired.Queue); err != nil {
			return err
		}
		err := k.cfg.Reserve.Do(ctx, func() error { return k.store.Delete(ctx, id, 0) })
		if err != nil && !errors.Is(err, subscription.ErrNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return Removed{}, err
	}
	k.cfg.Events.Publish(operational.Deleted(retired, removed.Queued+removed.Retries, actorOf(ctx)))
	return removed, nil
}

func removal(sub *subscription.Subscription, broken bool) audit.Record {
	if broken {
		return audit.Record{
			Action: actionDelete, Target: audit.SubscriptionTarget(sub.ID),
			Before: audit.State(map[string]string{"id": sub.ID, "problem": "it could not be read"}),
		}
	}
	return audit.OfSubscription(actionDelete, sub, nil)
}

// removable returns a subscription that may be deleted. A record that cannot be read,
// because its keyring is lost, must still be deletable: then (broken) only its id and
// its queue are known.
func (k *Keeper) removable(ctx context.Context, manager, id, tag string) (sub *subscription.Subscription, broken bool, err error) {
	snapshot, err := k.view.Sync(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, b := range snapshot.Broken() {
		if b.ID == id && manager == "" {
			sub = &subscription.Subscription{ID: id, Revision: b.Revision, Queue: k.layout.QueueFor(id)}
			return sub, true, mayRemove(ctx, sub, manager, tag)
		}
	}
	if sub, err = k.store.Get(ctx, id); err != nil {
		return nil, false, err
	}
	return sub, false, mayRemove(ctx, sub, manager, tag)
}

// mayRemove says why the API named manager may not delete a subscription.
func mayRemove(ctx context.Context, sub *subscription.Subscription, manager, tag string) error {
	switch {
	case sub.Managed.By == manager && tag != "" && tag != etag(sub):
		return fmt.Errorf("subscription %s has revision %d: %w", sub.ID, sub.Revision, ErrPrecondition)
	case sub.Managed.By == manager:
		return httpapi.MayChange(ctx, "the subscription "+sub.ID, currentOf(sub))
	case manager == "":
		return httpapi.NewProblem(http.StatusConflict, "subscription "+sub.ID+" is kept through the "+sub.Managed.By+" API, under "+sub.Managed.Name+": delete it there")
	default:
		return fmt.Errorf("delete subscription %s: %w", sub.ID, subscription.ErrNotFound)
	}
}

// retire disables a subscription and returns it.
func (k *Keeper) retire(ctx context.Context, manager, id, tag string) (*subscription.Subscription, error) {
	return k.store.Change(ctx, id, func(sub *subscription.Subscription) error {
		if err := mayRemove(ctx, sub, manager, tag); err != nil {
			return err
		}
		sub.State, sub.StateReason = subscription.Disabled, "is being deleted"
		return nil
	})
}

// drop deletes a queue, and the retry timers of the subscription, which would
// otherwise fire into the queue of a later one with the same id. It returns how
// many of each that were.
func (k *Keeper) drop(ctx context.Context, id string, queue stream.Queue) (queued, timers uint64, err error) {
	s, err := k.js.Stream(ctx, queue.Stream)
	switch {
	case err == nil:
		queued = s.CachedInfo().State.Msgs
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return 0, 0, fmt.Errorf("look up stream %s: %w", queue.Stream, err)
	}
	// Off the list first: what fails in between leaves a queue that is not on it, and no
	// false alarm.
	if err := k.cfg.Reserve.Do(ctx, func() error { return k.cfg.Inventory.Forget(ctx, queue.Stream) }); err != nil {
		return 0, 0, err
	}
	if err := k.layout.DeleteQueue(ctx, k.js, queue); err != nil {
		return 0, 0, err
	}
	retries, err := k.js.Stream(ctx, k.layout.RetryStream(queue.RetryShard))
	if err != nil {
		return 0, 0, fmt.Errorf("look up retry timers of subscription %s: %w", id, err)
	}
	for _, subject := range [...]string{k.layout.RetryAt(queue.RetryShard, id, "*"), k.layout.RetryDue(queue.RetryShard, id)} {
		info, err := retries.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return 0, 0, fmt.Errorf("count retry timers of subscription %s: %w", id, err)
		}
		for _, n := range info.State.Subjects {
			timers += n
		}
		if len(info.State.Subjects) == 0 {
			continue
		}
		if err := retries.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return 0, 0, fmt.Errorf("purge retry timers of subscription %s: %w", id, err)
		}
	}
	if timers > 0 { // a purge does not overwrite
		if err := k.layout.ScrubRetries(ctx, k.js, queue.RetryShard); err != nil { // of no consequence for the deletion: the disk may be full
			k.log.Warn("failed to overwrite the retry timers of a deleted subscription, their bytes go later",
				zap.String("subscription_id", id), zap.String("stream", k.layout.RetryStream(queue.RetryShard)), zap.Error(err))
		}
	}
	return queued, timers, k.forgetState(ctx, id)
}

// forgetState deletes what senders have agreed on about a subscription: it would
// hold up a later one with the same id.
func (k *Keeper) forgetState(ctx context.Context, id string) error {
	state, err := k.js.Stream(ctx, k.layout.StateStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	for _, subject := range [...]string{
		k.layout.StateRateSubject(id), k.layout.StateBreakerSubject(id), k.layout.StateLaggingSubject(id), k.layout.StateOrderSubject(id),
		k.layout.StateMadeSubject(id),
	} {
		if err == nil {
			err = state.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
	}
	if err != nil {
		return fmt.Errorf("delete the state of subscription %s: %w", id, err)
	}
	return nil
}
