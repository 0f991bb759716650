package admin

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// ErrNoAttempt is what TryDelivery returns when no sender has made the request in time.
var ErrNoAttempt = errors.New("no sender has made the request in time")

const (
	// trialAge is how old the subscription of a trial must be to be what a process that
	// was killed has left over: the clocks of admins differ, and a trial takes a minute at
	// most.
	trialAge = 10 * time.Minute
	// trialCleanup bounds the removal of what a trial has made.
	trialCleanup = 10 * time.Second
)

// TryDelivery has one request made to the endpoint of sub, which need not exist, with
// an example of the event type, the way every delivery goes: through a queue and a
// sender. It returns the record of the attempt, whatever its outcome is, and
// ErrNoAttempt when ctx ends before there is one. A *subscription.ValidationError has
// all that is wrong with sub, which is the caller's no more. old is the stored
// subscription whose secrets sub may have, or nil: the audit trail says so where they go
// where old does not send them.
//
// For that a subscription exists for a moment that no event matches. Nothing else is
// left of it than the record: no retry, no dead letter and no operational event.
func (a *Admin) TryDelivery(ctx context.Context, sub, old *subscription.Subscription, eventType string) (*delivery.Attempt, error) {
	id := "test-" + newID()
	sub.ID, sub.State, sub.Managed = id, subscription.Active, subscription.Managed{By: subscription.ManagedByTrial, Name: id}
	sub.Filters = []filter.Filter{filter.Exact(map[string]string{"id": newID()})} // which nothing has
	sub.Handshake = subscription.Handshake{}
	traits, _ := profile.Traits(sub.Profile)
	sub.SetDefaultsOf(traits, time.Now())
	sub.Queue = a.layout.QueueFor(id)
	if err := a.check(ctx, sub, nil); err != nil {
		return nil, err
	}
	t, err := a.exampleType(sub, eventType)
	if err != nil {
		return nil, err
	}
	next, err := a.attempts.Next(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), trialCleanup)
		defer cancel()
		if err := a.endTrial(ctx, sub); err != nil {
			a.log.Warn("cannot remove what a test has left, will try again", zap.String("subscription_id", id), zap.Error(err))
		}
	}()
	record := audit.OfSubscription(actionTest, nil, sub)
	if old != nil {
		oldTraits, _ := profile.Traits(old.Profile)
		exposed := sub.ExposureOf(old, nil, oldTraits, traits)
		record.Reason = exposed.Reason()
	}
	err = a.Record(ctx, record, func() error {
		if err := a.ensureQueue(ctx, sub); err != nil {
			return err
		}
		_, err := a.store.Create(ctx, sub)
		return err
	})
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	e := exampleEvent(t, now)
	d := &delivery.Delivery{
		ID: delivery.ID(id, e.Source, e.ID), SubscriptionID: id, Event: e, Attempt: 1, Accepted: now,
		Origin: delivery.Origin(testLog, uint64(now.UnixNano()), now, id), //nolint:gosec // the clock is after 1970
	}
	if err := a.enqueue(ctx, d.ManualRetry(sub.Queue.Subject, sub.Queue.Stream, newID())); err != nil {
		return nil, err
	}
	for attempt, err := range a.attempts.Follow(ctx, id, next) {
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if attempt.DeliveryID == d.ID && attempt.Outcome != delivery.Retry { // broken off: another sender makes it
			return &attempt, nil
		}
	}
	return nil, ErrNoAttempt
}

// endTrial removes a subscription that TryDelivery has made.
func (a *Admin) endTrial(ctx context.Context, sub *subscription.Subscription) error {
	_, err := a.store.Change(ctx, sub.ID, func(sub *subscription.Subscription) error { // so that its sender lets go of the queue
		sub.State, sub.StateReason = subscription.Disabled, "is being deleted"
		return nil
	})
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	if _, _, err := a.drop(ctx, sub.ID, sub.Queue); err != nil {
		return err
	}
	if err := a.store.Delete(ctx, sub.ID, 0); err != nil && !errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	return nil
}

// sweepTrial removes sub if it is what a trial has left over.
func (a *Admin) sweepTrial(ctx context.Context, sub *subscription.Subscription) (removed bool) {
	if sub.Managed.By != subscription.ManagedByTrial || time.Since(sub.CreatedAt) < trialAge {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := a.endTrial(ctx, sub); err != nil {
		a.log.Warn("cannot remove what a test has left, will try again", zap.String("subscription_id", sub.ID), zap.Error(err))
	}
	return true
}
