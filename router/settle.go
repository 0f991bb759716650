package router

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	ackTimeout = 5 * time.Second
	// troubleFor is how long one event may try to reach its queues before it is handed
	// back. The queues that have it by then recognise it when it comes again.
	troubleFor = 2 * time.Minute
)

func (d *domainRoute) ack(m *stream.Message) {
	if err := m.Ack(); err != nil {
		d.log.Warn("cannot ack event, it will be routed again under the same ids", zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

func (d *domainRoute) ackSync(m *stream.Message) {
	ctx, cancel := context.WithTimeout(d.settleCtx, ackTimeout)
	defer cancel()
	if err := m.AckSync(ctx); err != nil {
		d.log.Warn("ack of events is not confirmed, they may be routed again under the same ids", zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

func (d *domainRoute) nak(m *stream.Message, delay time.Duration) {
	if err := m.Nak(delay); err != nil {
		d.log.Warn("cannot hand event back, it returns after the ack wait", zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

// settleTroubled takes an event through what went wrong with it: a message that
// is no event, a queue that is full, gone or does not answer.
func (d *domainRoute) settleTroubled(r *routed) {
	ctx, cancel := context.WithTimeout(d.settleCtx, troubleFor)
	defer cancel()
	release := stream.KeepHolding(r.msg)
	defer release()

	if r.invalid != nil {
		if err := d.keepInvalid(ctx, r); err != nil {
			d.nak(r.msg, time.Second+rand.N(4*time.Second)) //nolint:gosec // jitter
			return
		}
		d.order.note(r.msg.Sequence)
		d.ackSync(r.msg)
		return
	}
	for n := range r.targets {
		if err := d.settleTarget(ctx, r, &r.targets[n]); err != nil {
			d.log.Warn("cannot store delivery, event will be routed again",
				zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence),
				zap.String("subscription_id", r.targets[n].subscription.ID), zap.Error(err))
			d.nak(r.msg, time.Second+rand.N(4*time.Second)) //nolint:gosec // jitter
			return
		}
	}
	d.metrics.routed(d.domain, len(r.targets))
	d.order.note(r.msg.Sequence)
	d.ackSync(r.msg)
}

func (d *domainRoute) keepInvalid(ctx context.Context, r *routed) error {
	if err := d.letters.KeepUnreadable(ctx, r.msg, r.invalid); err != nil {
		d.log.Warn("cannot keep unreadable event, will try again", zap.Uint64("seq", r.msg.Sequence), zap.Error(err))
		return err
	}
	d.metrics.unreadable(d.domain)
	d.log.Error("event cannot be read, kept as dead letter", zap.String("stream", r.msg.Stream), zap.Uint64("seq", r.msg.Sequence), zap.Error(r.invalid))
	return nil
}

// settleTarget tries until the delivery is stored, or need not be: the
// subscription is gone, its queue is full and the delivery a dead letter, or it is one
// because it is not known whether it is wanted.
func (d *domainRoute) settleTarget(ctx context.Context, r *routed, t *target) error {
	if t.undecided {
		return d.keepUndecided(ctx, r, t)
	}
	pauses := backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 2, MaxInterval: 2 * time.Second}
	for !t.await(ctx.Done()) {
		if t.err == nil { // ctx ended first
			return ctx.Err()
		}
		switch stream.ClassifyPublish(t.err) {
		case stream.Full:
			return d.overflow(ctx, r, t)
		case stream.Missing:
			snapshot, err := d.view.Sync(ctx)
			if err != nil {
				return err
			}
			current, exists := snapshot.Get(t.subscription.ID)
			if !exists {
				return nil // deleted meanwhile: its deliveries go with it
			}
			t.subscription = current // its queue may have moved
		case stream.Unknown: // stored or not: the same id makes a repeat harmless
			d.cfg.Health.Failed(t.subscription.Queue.Stream, t.err)
		}
		if d.share.Short() { // those of other queues need the memory
			return t.err
		}
		select {
		case <-ctx.Done():
			return t.err
		case <-time.After(pauses.NextBackOff()):
		}
		if r.msg.Lost() {
			return errLost
		}
		*t = d.send(d.copies(r), r.msg, t.subscription)
	}
	d.cfg.Health.Stored(t.subscription.Queue.Stream)
	return nil
}

// errLost is why an event is left to another router: the queues may have forgotten by now
// what was published to them before.
var errLost = errors.New("the event was out of hand for too long, another router may have it")

// overflow keeps a delivery that found its queue full. The event is not held
// back for it: one full queue must not stop the others.
func (d *domainRoute) overflow(ctx context.Context, r *routed, t *target) error {
	s := t.subscription
	letter := letterOf(r, s)
	if err := d.letters.GiveUp(ctx, letter, delivery.ReasonOverflow, 0, nil); err != nil {
		return err
	}
	d.metrics.overflow()
	d.overflows.add(s, letter)
	d.log.Error("queue is full, delivery kept as dead letter", zap.String("subscription_id", s.ID),
		zap.String("delivery_id", letter.ID), zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence))
	return nil
}

// keepUndecided keeps an event for a subscription whose filters take too many steps for
// it. They are not evaluated again: they would take as many.
func (d *domainRoute) keepUndecided(ctx context.Context, r *routed, t *target) error {
	s := t.subscription
	letter := letterOf(r, s)
	if err := d.letters.GiveUp(ctx, letter, delivery.ReasonMatchBudget, 0, nil); err != nil {
		return err
	}
	d.metrics.undecided(d.domain)
	d.undecided.add(s, letter)
	d.log.Error("filters take too many steps, event kept as dead letter", zap.String("subscription_id", s.ID),
		zap.String("delivery_id", letter.ID), zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence))
	return nil
}

// letterOf is the delivery of an event that is not queued.
func letterOf(r *routed, s *subscription.Subscription) *delivery.Delivery {
	return &delivery.Delivery{
		ID: delivery.ID(s.ID, r.event.Source, r.event.ID), SubscriptionID: s.ID, Event: r.event,
		Origin: delivery.Origin(r.msg.Stream, r.msg.Sequence, r.msg.Stored, s.ID), Accepted: r.msg.Stored, Attempt: 1,
	}
}
