package sender

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// stoppedDelay is for how long a delivery is handed back whose request was made, when
// the sender is stopped before what follows from it was stored: the receiver will get
// it again, and need not at once.
const stoppedDelay = 10 * time.Second

// settle ends what this sender has to do with a delivery, after its attempt was
// recorded. Whatever has to outlive it (a timer, a dead letter) is stored first.
func (l *lane) settle(ctx context.Context, u *underway, a *delivery.Attempt) {
	m, d := u.m, u.d
	if a.Manual {
		l.settleManual(ctx, u, a)
		return
	}
	if a.Outcome != delivery.Delivered && m.Lost() { // what follows is up to whoever has it now
		l.leave(1)
		return
	}
	if d.FirstAttempt.IsZero() {
		d.FirstAttempt = a.At
	}
	switch a.Outcome {
	case delivery.Delivered:
		l.forgetTimer(ctx, u)
		l.ack(m, d)
	case delivery.Retry:
		l.noteFailing(u, a)
		l.retryLater(ctx, u, a)
	case delivery.Gone:
		if err := l.disableGone(ctx, u); err != nil { // being stopped
			l.nak(m, time.Second)
			return
		}
		l.giveUp(ctx, u, delivery.ReasonGone, a.Attempt, a)
	case delivery.Rejected:
		l.giveUp(ctx, u, delivery.ReasonRejected, a.Attempt, a)
	case delivery.Exhausted:
		l.giveUp(ctx, u, delivery.ReasonExhausted, a.Attempt, a)
	}
}

// forgetTimer cancels a timer that should not be: a sender has stored it for this
// message, and was killed before it could settle it.
func (l *lane) forgetTimer(ctx context.Context, u *underway) {
	if u.again {
		l.cancelTimer(ctx, u)
	}
}

// settleManual ends an attempt that somebody has asked for. When it succeeds, nothing
// is left to be retried. Otherwise the record is all that is left of it: timers and
// dead letters are the schedule's.
func (l *lane) settleManual(ctx context.Context, u *underway, a *delivery.Attempt) {
	switch a.Outcome {
	case delivery.Retry: // broken off: another sender makes it
		l.nak(u.m, 0)
		return
	case delivery.Gone:
		if err := l.disableGone(ctx, u); err != nil { // being stopped
			l.nak(u.m, time.Second)
			return
		}
	case delivery.Delivered:
		if !l.cancelTimer(ctx, u) { // its retry may wait in the queue
			l.manual.Record(ctx, u.d)
		}
	case delivery.Rejected, delivery.Exhausted:
	}
	l.ack(u.m, u.d)
}

// retryLater has the next attempt made when it is due. What waits for a retry must not
// hold a place in flight, so it does not wait in its queue, whatever the delay: a timer
// brings it back, behind what waits there by then (ADR 29).
func (l *lane) retryLater(ctx context.Context, u *underway, a *delivery.Attempt) {
	m, d := u.m, u.d
	switch {
	case l.head != nil:
		l.retryInOrder(ctx, u, a)
		return
	case u.brokenOff: // another sender makes it at once
		l.nak(m, 0)
		return
	}
	d.Attempt = a.Attempt + 1
	// Not where another sender may have stored a timer before: the next one replaces it.
	// To cancel it apart could meet that of the attempt after the next, which may be over
	// as soon as the delivery is on its queue.
	if !u.again && time.Until(u.due) <= 0 && l.requeue(ctx, d) {
		l.ack(m, d)
		return
	}
	shard := l.terms.queue.RetryShard
	err := l.insist(ctx, u, "retry timer", l.layout.RetryStream(shard), func(ctx context.Context) error {
		// Each time anew: the clock may be set, and all timers moved, while none is stored.
		due, mark := l.clock.Server(ctx, u.due)
		timer := d.Timer(l.layout.RetryAt(shard, d.SubscriptionID, d.TimerKey()), l.layout.RetryDue(shard, d.SubscriptionID), due)
		mark.SetTimer(timer.Header, due)
		_, err := l.js.PublishMsg(ctx, timer)
		return err
	})
	if err != nil { // being stopped
		l.nak(m, stoppedDelay)
		return
	}
	l.ack(m, d)
}

// requeue puts a delivery back on its queue at once, without the moment that a timer
// takes, and reports whether it has. A queue that is full does not take it.
func (l *lane) requeue(ctx context.Context, d *delivery.Delivery) bool {
	ctx, cancel := context.WithTimeout(ctx, requeueTimeout)
	defer cancel()
	_, err := l.js.PublishMsg(ctx, d.Requeued(l.terms.queue.Subject, l.terms.queue.Stream), jetstream.WithRetryAttempts(0))
	return err == nil
}

// requeueTimeout bounds that: a timer is as good.
const requeueTimeout = 2 * time.Second

// giveUp makes d a dead letter and settles it. last is its last attempt, if any.
func (l *lane) giveUp(ctx context.Context, u *underway, reason delivery.Reason, attempts int, last *delivery.Attempt) {
	m, d := u.m, u.d
	if u.again {
		u.timersBelow = l.nextTimer(ctx)
	}
	err := l.insist(ctx, u, "dead letter", l.layout.DeadLetters(), func(ctx context.Context) error {
		return l.letters.GiveUp(ctx, d, reason, attempts, last)
	})
	if err != nil { // being stopped
		l.nak(m, stoppedDelay)
		return
	}
	l.forgetTimer(ctx, u)
	l.metrics.deadLetter(reason)
	l.cfg.Events.Publish(operational.GivenUp(u.e.Subscription, d, reason, attempts, last))
	l.log.Warn("delivery given up", zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID),
		zap.String("event_id", d.Event.ID), zap.String("event_type", d.Event.Type), zap.Int("attempt", attempts), zap.String("reason", string(reason)))
	l.ack(m, d)
}

func (l *lane) settleUnreadable(ctx context.Context, m *stream.Message, cause error) {
	if err := l.letters.KeepUnreadable(ctx, m, cause); err != nil {
		l.log.Warn("cannot keep unreadable delivery, it stays queued", zap.String("subscription_id", l.id), zap.Uint64("seq", m.Sequence), zap.Error(err))
		l.nak(m, time.Second)
		return
	}
	l.metrics.deadLetter(delivery.ReasonUnreadable)
	l.log.Error("delivery cannot be read, kept as dead letter", zap.String("subscription_id", l.id), zap.Uint64("seq", m.Sequence), zap.Error(cause))
	if err := m.Ack(); err != nil {
		l.log.Warn("cannot ack", zap.String("subscription_id", l.id), zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

// disableGone disables the subscription whose receiver has answered 410. Until that is
// stored, and on the audit trail, the receiver gets nothing more of this delivery.
func (l *lane) disableGone(ctx context.Context, u *underway) error {
	return l.insist(ctx, u, "state of the subscription", l.layout.SubscriptionsStream(), func(ctx context.Context) error {
		return l.disable(ctx, "receiver answered 410 Gone")
	})
}

// disable sets the subscription's state, unless somebody has by now.
func (l *lane) disable(ctx context.Context, reason string) error {
	var was *subscription.Subscription
	updated, err := l.store.ChangeWithin(ctx, l.id, func(sub *subscription.Subscription) error {
		if sub.State != subscription.Disabled {
			sub.State, sub.StateReason = subscription.Disabled, reason
		}
		return nil
	}, func(before, after *subscription.Subscription, write func() error) error {
		was = before
		r := audit.OfSubscription("subscription.disable", before, after)
		r.Reason = reason
		return l.trail.Around(ctx, r, write)
	})
	if errors.Is(err, subscription.ErrNotFound) {
		return nil
	}
	if err == nil && was != nil {
		l.cfg.Events.Publish(operational.Disabled(was.State, updated))
		l.log.Warn("subscription disabled", zap.String("subscription_id", l.id), zap.String("reason", reason))
	}
	return err
}

func (l *lane) ack(m *stream.Message, d *delivery.Delivery) {
	if err := m.Ack(); err != nil {
		l.log.Warn("cannot ack delivery, it will be attempted again",
			zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
	}
}

func (l *lane) nak(m *stream.Message, delay time.Duration) {
	if err := m.Nak(delay); err != nil {
		l.log.Warn("cannot hand delivery back, it returns after the ack wait", zap.String("subscription_id", l.id), zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

// drop settles a retry of a delivery that was made.
func (l *lane) drop(ctx context.Context, u *underway) {
	l.log.Info("retry dropped: a manual attempt has made the delivery", zap.String("subscription_id", l.id),
		zap.String("delivery_id", u.d.ID), zap.String("event_id", u.d.Event.ID), zap.String("event_type", u.d.Event.Type))
	l.forgetTimer(ctx, u)
	l.ack(u.m, u.d)
}
