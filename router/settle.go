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
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	ackTimeout = 5 * time.Second
	// troubleFor is how long one event may try to reach its queues before it is handed back.
	// The queues that have it by then recognize it when it is routed again.
	troubleFor = 2 * time.Minute
)

// A settler settles the events of one domain, also those that fail.
type settler struct {
	domain      string
	ctx         context.Context //nolint:containedctx // lives as long as the route: settling outlasts the pull's context
	view        *subscription.View
	deadLetters *delivery.DeadLetters
	publisher   *publisher
	progress    *progress
	share       *budget.Share // of the memory for events in work
	overflows   *overflows
	undecided   *overflows
	health      *stream.Health
	metrics     *metrics
	log         *zap.Logger
}

func (s *settler) ack(m *consume.Message) {
	if err := m.Ack(); err != nil {
		s.log.Warn("failed to ack event, it will be routed again under the same ids", zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

func (s *settler) ackSync(m *consume.Message) {
	ctx, cancel := context.WithTimeout(s.ctx, ackTimeout)
	defer cancel()
	if err := m.AckSync(ctx); err != nil {
		s.log.Warn("ack of events was not confirmed, they may be routed again under the same ids", zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

func (s *settler) nak(m *consume.Message, delay time.Duration) {
	if err := m.Nak(delay); err != nil {
		s.log.Warn("failed to hand event back, it returns after the ack wait", zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

// settleTroubled settles an event that failed: a message that is no event, a queue that is
// full, missing or does not answer.
func (s *settler) settleTroubled(r *routed) {
	ctx, cancel := context.WithTimeout(s.ctx, troubleFor)
	defer cancel()
	release := consume.KeepHolding(r.msg)
	defer release()

	if r.invalid != nil {
		if err := s.keepInvalid(ctx, r); err != nil {
			s.nak(r.msg, time.Second+rand.N(4*time.Second)) //nolint:gosec // jitter
			return
		}
		s.progress.record(r.msg.Sequence)
		s.ackSync(r.msg)
		return
	}
	for n := range r.targets {
		if err := s.settleTarget(ctx, r, &r.targets[n]); err != nil {
			s.log.Warn("failed to store delivery, event will be routed again",
				zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence),
				zap.String("subscription_id", r.targets[n].subscription.ID), zap.Error(err))
			s.nak(r.msg, time.Second+rand.N(4*time.Second)) //nolint:gosec // jitter
			return
		}
	}
	s.metrics.routed(s.domain, len(r.targets))
	s.progress.record(r.msg.Sequence)
	s.ackSync(r.msg)
}

func (s *settler) keepInvalid(ctx context.Context, r *routed) error {
	if err := s.deadLetters.KeepUnreadable(ctx, r.msg, r.invalid); err != nil {
		s.log.Warn("failed to keep unreadable event, will retry", zap.Uint64("seq", r.msg.Sequence), zap.Error(err))
		return err
	}
	s.metrics.unreadable(s.domain)
	s.log.Error("event cannot be read, kept as dead letter", zap.String("stream", r.msg.Stream), zap.Uint64("seq", r.msg.Sequence), zap.Error(r.invalid))
	return nil
}

// settleTarget tries until the delivery is stored, or need not be: the subscription is
// deleted, or the delivery is a dead letter, because its queue is full or because it is not
// known whether it is wanted.
func (s *settler) settleTarget(ctx context.Context, r *routed, t *target) error {
	if t.undecided {
		return s.keepUndecided(ctx, r, t)
	}
	pauses := backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, Multiplier: 2, MaxInterval: 2 * time.Second}
	for !t.await(ctx.Done()) {
		if t.err == nil { // ctx ended first
			return ctx.Err()
		}
		switch stream.ClassifyPublish(t.err) {
		case stream.Full:
			return s.overflow(ctx, r, t)
		case stream.Missing:
			snapshot, err := s.view.Sync(ctx)
			if err != nil {
				return err
			}
			current, exists := snapshot.Get(t.subscription.ID)
			if !exists {
				return nil // deleted meanwhile, with its deliveries
			}
			t.subscription = current // its queue may have moved
		case stream.Unknown: // stored or not: the same id makes a repeat harmless
			s.health.Failed(t.subscription.Queue.Stream, t.err)
		}
		if s.share.Short() { // the events of other queues need the memory
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
		*t = s.publisher.send(s.publisher.copies(r), r.msg, t.subscription)
	}
	s.health.Stored(t.subscription.Queue.Stream)
	return nil
}

// errLost is why an event is left to another router: the queues may have forgotten by now
// what was published to them before.
var errLost = errors.New("the event was held for too long, another router may have it")

// overflow keeps a delivery whose queue is full. The event does not wait for it: one full
// queue must not stop the others.
func (s *settler) overflow(ctx context.Context, r *routed, t *target) error {
	sub := t.subscription
	d := deliveryOf(r, sub)
	if err := s.deadLetters.GiveUp(ctx, d, delivery.ReasonOverflow, 0, nil); err != nil {
		return err
	}
	s.metrics.overflow()
	s.overflows.add(sub, d)
	s.log.Error("queue is full, delivery kept as dead letter", zap.String("subscription_id", sub.ID),
		zap.String("delivery_id", d.ID), zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence))
	return nil
}

// keepUndecided keeps an event for a subscription whose filters take too many steps for
// it. They are not evaluated again: they would take as many.
func (s *settler) keepUndecided(ctx context.Context, r *routed, t *target) error {
	sub := t.subscription
	d := deliveryOf(r, sub)
	if err := s.deadLetters.GiveUp(ctx, d, delivery.ReasonMatchBudget, 0, nil); err != nil {
		return err
	}
	s.metrics.undecided(s.domain)
	s.undecided.add(sub, d)
	s.log.Error("filters take too many steps, event kept as dead letter", zap.String("subscription_id", sub.ID),
		zap.String("delivery_id", d.ID), zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence))
	return nil
}

// deliveryOf is the delivery of an event that is not queued.
func deliveryOf(r *routed, s *subscription.Subscription) *delivery.Delivery {
	return &delivery.Delivery{
		ID: delivery.ID(s.ID, r.event.Source, r.event.ID), SubscriptionID: s.ID, Event: r.event,
		Origin: delivery.Origin(r.msg.Stream, r.msg.Sequence, r.msg.Stored, s.ID), Accepted: r.msg.Stored, Attempt: 1,
	}
}
