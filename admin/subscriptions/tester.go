package subscriptions

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

// ErrNoAttempt is what Try returns when no sender has made the request in time.
var ErrNoAttempt = errors.New("no sender has made the request in time")

const (
	// leftoverAge is the age at which the subscription of a test is taken for one that an
	// interrupted process has left: the clocks of admins differ, and a test takes a minute at
	// most.
	leftoverAge = 10 * time.Minute
	// cleanupTimeout bounds the removal of what a test has made.
	cleanupTimeout = 10 * time.Second
)

// A Tester sends examples of events: on the queue of a subscription, or through one that
// exists for a moment.
type Tester struct {
	keep     *Keeper
	attempts *delivery.Log
}

// NewTester returns a Tester for the subscriptions of keep.
func NewTester(keep *Keeper, attempts *delivery.Log) *Tester { return &Tester{keep, attempts} }

// Try has one request made to the endpoint of sub, which need not be stored, with an
// example of the event type, as every delivery is made: through a queue and a sender. It returns the record of the attempt, whatever its outcome is, and
// ErrNoAttempt when ctx ends before there is one. A *subscription.ValidationError has
// all that is wrong with sub, which the caller must not use afterwards. old is the stored
// subscription whose secrets sub may have, or nil: the audit trail says so where they go
// where old does not send them.
//
// For that a subscription which matches no event exists for a moment. It leaves only the
// record of the attempt: no retry, no dead letter and no operational event.
func (te *Tester) Try(ctx context.Context, sub, old *subscription.Subscription, eventType string) (*delivery.Attempt, error) {
	id := "test-" + NewID()
	sub.ID, sub.State, sub.Managed = id, subscription.Active, subscription.Managed{By: subscription.ManagedByTest, Name: id}
	sub.Filters = []filter.Filter{filter.Exact(map[string]string{"id": NewID()})} // which no event has
	sub.Handshake = subscription.Handshake{}
	traits, _ := profile.Traits(sub.Profile)
	sub.SetDefaultsOf(traits, time.Now())
	sub.Queue = te.keep.layout.QueueFor(id)
	if err := te.keep.check(ctx, sub, nil); err != nil {
		return nil, err
	}
	t, err := te.exampleType(sub, eventType)
	if err != nil {
		return nil, err
	}
	next, err := te.attempts.Next(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		if err := te.remove(ctx, sub); err != nil {
			te.keep.log.Warn("cannot remove what a test has left, will try again", zap.String("subscription_id", id), zap.Error(err))
		}
	}()
	record := audit.OfSubscription(actionTest, nil, sub)
	if old != nil {
		oldTraits, _ := profile.Traits(old.Profile)
		exposed := sub.ExposureOf(old, nil, oldTraits, traits)
		record.Reason = exposed.Reason()
	}
	err = te.keep.trail.Around(ctx, record, func() error {
		if err := te.keep.EnsureQueue(ctx, sub); err != nil {
			return err
		}
		_, err := te.keep.store.Create(ctx, sub)
		return err
	})
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	e := exampleEvent(t, now)
	d := &delivery.Delivery{
		ID: delivery.ID(id, e.Source, e.ID), SubscriptionID: id, Event: e, Attempt: 1, Accepted: now,
		Origin: delivery.Origin(delivery.TestLog, uint64(now.UnixNano()), now, id), //nolint:gosec // the clock is after 1970
	}
	if err := Enqueue(ctx, te.keep.js, d.ManualRetry(sub.Queue.Subject, sub.Queue.Stream, NewID())); err != nil {
		return nil, err
	}
	for attempt, err := range te.attempts.Follow(ctx, id, next) {
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if attempt.DeliveryID == d.ID && attempt.Outcome != delivery.Retry { // broken off: another sender makes it
			return &attempt, nil
		}
	}
	return nil, ErrNoAttempt
}

// remove removes a subscription that Try has made.
func (te *Tester) remove(ctx context.Context, sub *subscription.Subscription) error {
	_, err := te.keep.store.Change(ctx, sub.ID, func(sub *subscription.Subscription) error { // so that its sender stops to pull from the queue
		sub.State, sub.StateReason = subscription.Disabled, "is being deleted"
		return nil
	})
	if err != nil && !errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	if _, _, err := te.keep.drop(ctx, sub.ID, sub.Queue); err != nil {
		return err
	}
	if err := te.keep.store.Delete(ctx, sub.ID, 0); err != nil && !errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	return nil
}

// sweep removes sub if an interrupted test has left it.
func (te *Tester) sweep(ctx context.Context, sub *subscription.Subscription) (removed bool) {
	if sub.Managed.By != subscription.ManagedByTest || time.Since(sub.CreatedAt) < leftoverAge {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	if err := te.remove(ctx, sub); err != nil {
		te.keep.log.Warn("cannot remove what a test has left, will try again", zap.String("subscription_id", sub.ID), zap.Error(err))
	}
	return true
}
