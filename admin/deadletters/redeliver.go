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

// Redrive puts the delivery of a letter on its queue and, when the queue has it,
// deletes the letter. In between it may be done again: the queue recognises it for
// stream.Dedupe, and the receiver by its delivery id.
func (d *DeadLetters) Redrive(ctx context.Context, letter *delivery.Letter, sub *subscription.Subscription) error {
	if letter.Delivery == nil {
		return ErrUnreadable
	}
	if sub.State == subscription.Disabled {
		return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
	}
	if err := subscriptions.Enqueue(ctx, d.js, letter.Redriven(sub.Queue.Subject, sub.Queue.Stream, time.Now())); err != nil {
		return fmt.Errorf("subscription %s: %w", sub.ID, err)
	}
	return d.letters.Remove(ctx, letter.Sequence)
}

// queuedAgain is the answer to what puts a delivery on its queue.
type queuedAgain struct{ Body v1.QueuedAgain }

func answerQueued(id string, sub *subscription.Subscription) *queuedAgain {
	out := &queuedAgain{}
	out.Body.DeliveryID, out.Body.SubscriptionID, out.Body.State = id, sub.ID, string(sub.State)
	return out
}

func (d *DeadLetters) redriveOne(ctx context.Context, in *PlacedLetter) (*queuedAgain, error) {
	letter, err := d.letters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	if letter.Delivery == nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", letter.Sequence, ErrUnreadable)
	}
	sub, err := d.keep.Find(ctx, letter.SubscriptionID)
	if err == nil && sub.State == subscription.Disabled {
		err = fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
	}
	if err == nil {
		err = d.trail.Around(ctx, audit.Record{
			Action: actionRedrive, Target: letterTarget(letter.Sequence), Before: audit.State(stateOf(&letter.DeadLetter)),
		}, func() error { return d.Redrive(ctx, letter, sub) })
	}
	if err != nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", letter.Sequence, err)
	}
	d.log.Info("dead letter redriven", zap.Uint64("seq", letter.Sequence), zap.String("subscription_id", sub.ID),
		zap.String("delivery_id", letter.DeliveryID), zap.String("request_id", httpapi.RequestID(ctx)))
	return answerQueued(letter.DeliveryID, sub), nil
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
	gone := ErrNotAttempted
	if last != nil {
		again, err := delivery.FromEventLog(ctx, d.js, last)
		if !errors.Is(err, delivery.ErrEventGone) {
			return again, err
		}
		gone = err
	}
	letter, err := d.letters.OfDelivery(ctx, subscriptionID, id)
	if errors.Is(err, delivery.ErrNoLetter) {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	if letter.Delivery == nil {
		return nil, ErrUnreadable
	}
	return letter.Delivery, nil
}
