package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// What follows is how an API keeps subscriptions, the native one and the compatible
// ones alike: checked against catalogue and egress rules, with a queue before the
// first delivery, and so that all that is published after the answer is matched with
// the change. Errors are for RefusalOf.

// Subscriptions returns all subscriptions with every change that was answered before,
// by whatever process. They are shared and must not be changed.
func (a *Admin) Subscriptions(ctx context.Context) (*subscription.Snapshot, error) {
	return a.view.Sync(ctx)
}

// FindSubscription returns one with every change that was answered before. It is
// shared and must not be changed. subscription.ErrNotFound; an error that says why
// when its record cannot be read.
func (a *Admin) FindSubscription(ctx context.Context, id string) (*subscription.Subscription, error) {
	snapshot, err := a.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	if sub, ok := snapshot.Get(id); ok {
		return sub, nil
	}
	// Not there, or there and unreadable: the store says which.
	return a.store.Get(ctx, id)
}

// CreateSubscription fills the defaults into sub, which is the caller's no more,
// and stores it. subscription.ErrExists; a *subscription.ValidationError with all
// that is wrong. It makes the queue before the subscription is known, so that its
// first delivery has a home (jetstream.md, section 2).
func (a *Admin) CreateSubscription(ctx context.Context, sub *subscription.Subscription) (*subscription.Subscription, error) {
	if err := a.prepare(ctx, sub); err != nil {
		return nil, err
	}
	unlock, err := a.changing.lock(ctx, sub.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Of a subscription that exists not even the queue may be touched.
	if _, err := a.store.Get(ctx, sub.ID); err == nil {
		return nil, fmt.Errorf("create subscription %s: %w", sub.ID, subscription.ErrExists)
	} else if !errors.Is(err, subscription.ErrNotFound) {
		return nil, err
	}
	if err := a.ensureQueue(ctx, sub); err != nil {
		return nil, err
	}
	var created *subscription.Subscription
	err = a.Record(ctx, audit.OfSubscription(actionCreate, nil, sub), func() error {
		var err error
		created, err = a.store.Create(ctx, sub)
		return err
	})
	if errors.Is(err, subscription.ErrExists) { // another process was faster, and the queue is its own
		if winner, getErr := a.store.Get(ctx, sub.ID); getErr == nil {
			err = errors.Join(err, a.ensureQueue(ctx, winner))
		}
	}
	if err != nil {
		return nil, err
	}
	a.cfg.Events.Publish(operational.Created(created, actorOf(ctx)))
	// Another process may have been deleting a subscription of this id, and its
	// queue, in between.
	return created, a.ensureQueue(ctx, created)
}

// prepare makes of what a user has sent a subscription that can be stored.
func (a *Admin) prepare(ctx context.Context, sub *subscription.Subscription) error {
	traits, _ := profile.Traits(sub.Profile)
	sub.SetDefaultsOf(traits, time.Now())
	sub.Queue, sub.StateReason = a.layout.QueueFor(sub.ID), ""
	sub.Handshake.Ask() // the answer is not the user's to give
	return a.check(ctx, sub, nil)
}

// A Change makes of a subscription what it shall be. It gets one that is the
// caller's to change and may return another one; it is called again when somebody
// else was faster. Its errors are returned as they are.
type Change func(*subscription.Subscription) (*subscription.Subscription, error)

// ChangeSubscription stores what change makes of a subscription that the API named
// manager keeps; empty: the native one, which may change those of others in a few
// things only. What change returns inherits what cannot be changed, and the secrets
// that it leaves out or has as placeholders (subscription.Inherit); a manager removes
// all signing secrets by an empty list that is not nil. Where it is the same as before,
// nothing is stored, and it keeps its revision.
// The native API's stored secrets do not go where they did not go before; a manager's
// may, as its clients know it, and the audit trail says so.
// subscription.ErrNotFound, also for one of another manager;
// a *subscription.ValidationError with all that is wrong.
func (a *Admin) ChangeSubscription(ctx context.Context, manager, id string, change Change) (*subscription.Subscription, error) {
	return a.changeSubscription(ctx, manager, id, manager != "", change)
}

// changeSubscription is ChangeSubscription. keepSecrets lets stored secrets go where they
// did not go before.
func (a *Admin) changeSubscription(ctx context.Context, manager, id string, keepSecrets bool, change Change) (*subscription.Subscription, error) {
	unlock, err := a.changing.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var reason string
	updated, err := a.changeRecorded(ctx, actionChange, id, &reason, func(sub *subscription.Subscription) error {
		_, exposed, err := a.apply(ctx, manager, id, sub, keepSecrets, change)
		reason = exposed.Reason()
		return err
	})
	if err != nil {
		return nil, err
	}
	// Always, and not only for another max_in_flight: when this step fails, the
	// client's next try has to do it.
	if err := a.ensureQueue(ctx, updated); err != nil {
		return nil, fmt.Errorf("subscription %s is changed, but not its queue: %w", id, err)
	}
	return updated, nil
}

// apply makes of sub, as it is stored, what change says, and returns what it was and
// which secrets go where they did not go before.
func (a *Admin) apply(ctx context.Context, manager, id string, sub *subscription.Subscription, keepSecrets bool, change Change) (*subscription.Subscription, subscription.Exposure, error) {
	none := subscription.Exposure{}
	if manager != "" && sub.Managed.By != manager {
		return nil, none, fmt.Errorf("change subscription %s: %w", id, subscription.ErrNotFound)
	}
	old := sub.Clone()
	changed, err := change(sub)
	if err != nil {
		return nil, none, err
	}
	if changed.ID != "" && changed.ID != id {
		return nil, none, httpapi.Invalid("id", "is "+strconv.Quote(changed.ID)+", but the path names "+id+": an id cannot be changed")
	}
	var given map[string]bool // of a manager: it fills in what is stored by itself
	if manager == "" {
		given = changed.Given()
	}
	bare := manager != "" && changed.Secrets != nil && len(changed.Secrets) == 0
	changed.Inherit(old)
	if bare {
		changed.Secrets = nil
	}
	if manager == "" {
		changed.Managed = old.Managed
	}
	traits, _ := profile.Traits(changed.Profile)
	oldTraits, _ := profile.Traits(old.Profile)
	changed.SetDefaultsOf(traits, time.Now())
	if manager == "" {
		if err := subscription.ManagedProblem(old, changed); err != nil {
			return nil, none, err
		}
	}
	exposed := changed.ExposureOf(old, given, oldTraits, traits)
	refused := exposed.Problems()
	if keepSecrets {
		refused = nil
	}
	if err := join(a.check(ctx, changed, old), refused); err != nil {
		return nil, none, err
	}
	*sub = *changed
	return old, exposed, nil
}

// join adds problems to those of an error.
func join(err error, more []subscription.Problem) error {
	if len(more) == 0 {
		return err
	}
	invalid, ok := errors.AsType[*subscription.ValidationError](err)
	if err != nil && !ok {
		return err
	}
	if ok {
		more = append(more, invalid.Problems...)
	}
	return &subscription.ValidationError{Problems: more}
}

// Removed says what went with a subscription.
type Removed struct {
	Queued  uint64 // deliveries in its queue, in flight or not attempted yet or due again
	Retries uint64 // those that waited for the time of their next attempt
}

// RemoveSubscription deletes a subscription that the API named manager keeps (empty:
// the native one), and the deliveries that wait. tag, if it is not empty, is the ETag that
// it must have. subscription.ErrNotFound, also for one of another manager.
//
// It stops the matching first, so that nothing is put on the queue any more,
// and takes the record away last: what fails in between can be repeated, and a
// queue without a subscription, which a later one of the same id would inherit
// with all that is in it, is never left over.
func (a *Admin) RemoveSubscription(ctx context.Context, manager, id, tag string) (Removed, error) {
	ctx = stream.MakesRoom(ctx)
	unlock, err := a.changing.lock(ctx, id)
	if err != nil {
		return Removed{}, err
	}
	defer unlock()
	retired, broken, err := a.removable(ctx, manager, id, tag)
	if err != nil {
		return Removed{}, err
	}
	var gone Removed
	err = a.Record(ctx, removal(retired, broken), func() error {
		if !broken {
			err := a.cfg.Reserve.Do(ctx, func() error {
				var err error
				retired, err = a.retire(ctx, manager, id, tag)
				return err
			})
			if err != nil {
				return err
			}
		}
		if gone.Queued, gone.Retries, err = a.drop(ctx, id, retired.Queue); err != nil {
			return err
		}
		err := a.cfg.Reserve.Do(ctx, func() error { return a.store.Delete(ctx, id, 0) })
		if err != nil && !errors.Is(err, subscription.ErrNotFound) {
			return err
		}
		return nil
	})
	if err != nil {
		return Removed{}, err
	}
	a.cfg.Events.Publish(operational.Deleted(retired, gone.Queued+gone.Retries, actorOf(ctx)))
	return gone, nil
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
func (a *Admin) removable(ctx context.Context, manager, id, tag string) (sub *subscription.Subscription, broken bool, err error) {
	snapshot, err := a.view.Sync(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, b := range snapshot.Broken() {
		if b.ID == id && manager == "" {
			sub = &subscription.Subscription{ID: id, Revision: b.Revision, Queue: a.layout.QueueFor(id)}
			return sub, true, mayRemove(ctx, sub, manager, tag)
		}
	}
	if sub, err = a.store.Get(ctx, id); err != nil {
		return nil, false, err
	}
	return sub, false, mayRemove(ctx, sub, manager, tag)
}

// mayRemove says why the API named manager may not delete a subscription.
func mayRemove(ctx context.Context, sub *subscription.Subscription, manager, tag string) error {
	switch {
	case sub.Managed.By == manager && tag != "" && tag != etag(sub):
		return fmt.Errorf("subscription %s has revision %d: %w", sub.ID, sub.Revision, errPrecondition)
	case sub.Managed.By == manager:
		return httpapi.MayChange(ctx, "the subscription "+sub.ID, currentOf(sub))
	case manager == "":
		return httpapi.NewProblem(http.StatusConflict, "subscription "+sub.ID+" is kept through the "+sub.Managed.By+" API, under "+sub.Managed.Name+": delete it there")
	default:
		return fmt.Errorf("delete subscription %s: %w", sub.ID, subscription.ErrNotFound)
	}
}

// retire disables a subscription and returns it.
func (a *Admin) retire(ctx context.Context, manager, id, tag string) (*subscription.Subscription, error) {
	return a.store.Change(ctx, id, func(sub *subscription.Subscription) error {
		if err := mayRemove(ctx, sub, manager, tag); err != nil {
			return err
		}
		sub.State, sub.StateReason = subscription.Disabled, "is being deleted"
		return nil
	})
}
