package deadletters

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Redrive puts the delivery of a dead letter on its queue and, when the queue has it,
// deletes the dead letter. In between it may be done again: the queue recognises it for
// stream.Dedupe, and the receiver by its delivery id.
func (d *DeadLetters) Redrive(ctx context.Context, deadLetter *delivery.StoredDeadLetter, sub *subscription.Subscription) error {
	if deadLetter.Delivery == nil {
		return ErrUnreadable
	}
	if sub.State == subscription.Disabled {
		return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
	}
	if err := subscriptions.Enqueue(ctx, d.js, deadLetter.Redriven(sub.Queue.Subject, sub.Queue.Stream, time.Now())); err != nil {
		return fmt.Errorf("subscription %s: %w", sub.ID, err)
	}
	return d.deadLetters.Remove(ctx, deadLetter.Sequence)
}

// queuedAgain is the answer to what puts a delivery on its queue.
type queuedAgain struct{ Body v1.QueuedAgain }

func answerQueued(id string, sub *subscription.Subscription) *queuedAgain {
	out := &queuedAgain{}
	out.Body.DeliveryID, out.Body.SubscriptionID, out.Body.State = id, sub.ID, string(sub.State)
	return out
}

func (d *DeadLetters) redriveOne(ctx context.Context, in *PlacedLetter) (*queuedAgain, error) {
	deadLetter, err := d.deadLetters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	if deadLetter.Delivery == nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", deadLetter.Sequence, ErrUnreadable)
	}
	sub, err := d.keep.Find(ctx, deadLetter.SubscriptionID)
	if err == nil && sub.State == subscription.Disabled {
		err = fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
	}
	if err == nil {
		err = d.trail.Around(ctx, audit.Record{
			Action: actionRedrive, Target: deadLetterTarget(deadLetter.Sequence), Before: audit.State(stateOf(&deadLetter.DeadLetter)),
		}, func() error { return d.Redrive(ctx, deadLetter, sub) })
	}
	if err != nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", deadLetter.Sequence, err)
	}
	d.log.Info("dead letter redriven", zap.Uint64("seq", deadLetter.Sequence), zap.String("subscription_id", sub.ID),
		zap.String("delivery_id", deadLetter.DeliveryID), zap.String("request_id", httpapi.RequestID(ctx)))
	return answerQueued(deadLetter.DeliveryID, sub), nil
}

// RedeliverRequest names a delivery.
type RedeliverRequest struct {
	subscriptions.Named
	DeliveryID string `path:"delivery_id" maxLength:"64" doc:"The webhook-id, which attempts and dead letters show." example:"dlv_0k3v9u5c8s1qkbmv2t0q7l4m8a"`
}

func (d *DeadLetters) redeliver(ctx context.Context, in *RedeliverRequest) (*queuedAgain, error) {
	sub, err := d.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if sub.State == subscription.Disabled {
		return nil, fmt.Errorf("redeliver %s: subscription %s: %w", in.DeliveryID, sub.ID, subscriptions.ErrDisabled)
	}
	again, err := d.deliveryOf(ctx, sub.ID, in.DeliveryID)
	if err == nil {
		err = d.trail.Around(ctx, audit.Record{Action: actionRedeliver, Target: audit.SubscriptionTarget(sub.ID) + "/deliveries/" + again.ID}, func() error {
			return subscriptions.Enqueue(ctx, d.js, again.ManualRetry(sub.Queue.Subject, sub.Queue.Stream, subscriptions.NewID()))
		})
	}
	if err != nil {
		return nil, fmt.Errorf("redeliver %s: %w", in.DeliveryID, err)
	}
	d.log.Info("one more attempt was asked for", zap.String("subscription_id", sub.ID), zap.String("delivery_id", again.ID), zap.String("request_id", httpapi.RequestID(ctx)))
	return answerQueued(again.ID, sub), nil
}

// deliveryOf makes a delivery again from the event log, by the record of its
// latest attempt, or else from its dead letter.
func (d *DeadLetters) deliveryOf(ctx context.Context, subscriptionID, id string) (*delivery.Delivery, error) {
	last, err := d.attempts.OfDelivery(ctx, subscriptionID, id)
	if err != nil {
		return nil, err
	}
	missing := ErrNotAttempted
	if last != nil {
		again, err := delivery.FromEventLog(ctx, d.js, last)
		if !errors.Is(err, delivery.ErrEventGone) {
			return again, err
		}
		missing = err
	}
	deadLetter, err := d.deadLetters.OfDelivery(ctx, subscriptionID, id)
	if errors.Is(err, delivery.ErrNoDeadLetter) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	if deadLetter.Delivery == nil {
		return nil, ErrUnreadable
	}
	return deadLetter.Delivery, nil
}
