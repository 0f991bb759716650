package router

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
)

const (
	ackTimeout = 5 * time.Second
	// keepAlive is how often the server is told that an event is still in work: a
	// third of the consumer's AckWait.
	keepAlive = 10 * time.Second
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
	stop := d.keepInProgress(ctx, r.msg)
	defer stop()

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
// subscription is gone, or its queue is full and the delivery a dead letter.
func (d *domainRoute) settleTarget(ctx context.Context, r *routed, t *target) error {
	for delay := 100 * time.Millisecond; !t.await(ctx.Done()); delay = min(2*delay, 2*time.Second) {
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
		case <-time.After(delay):
		}
		*t = d.send(d.copies(r), r.msg, t.subscription)
	}
	d.cfg.Health.Stored(t.subscription.Queue.Stream)
	return nil
}

// overflow keeps a delivery that found its queue full. The event is not held
// back for it: one full queue must not stop the others.
func (d *domainRoute) overflow(ctx context.Context, r *routed, t *target) error {
	s := t.subscription
	letter := &delivery.Delivery{
		ID: delivery.ID(s.ID, r.event.Source, r.event.ID), SubscriptionID: s.ID, Event: r.event,
		Origin: delivery.Origin(r.msg.Stream, r.msg.Sequence, s.ID), Accepted: r.msg.Stored, Attempt: 1,
	}
	if err := d.letters.GiveUp(ctx, letter, delivery.ReasonOverflow, 0, nil); err != nil {
		return err
	}
	d.metrics.overflow()
	d.overflows.add(s, letter)
	d.log.Error("queue is full, delivery kept as dead letter", zap.String("subscription_id", s.ID),
		zap.String("delivery_id", letter.ID), zap.String("event_id", r.event.ID), zap.Uint64("seq", r.msg.Sequence))
	return nil
}

// keepInProgress asks for more time for m until stop is called.
func (d *domainRoute) keepInProgress(ctx context.Context, m *stream.Message) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ticker := time.NewTicker(keepAlive)
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = m.InProgress() // a connection that is gone is noticed by the ack
			}
		}
	}()
	return cancel
}
