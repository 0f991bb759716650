package sender

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/audit"
	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/schemas/operational"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/subscription"
)

// shortDelay is the longest wait for which a delivery stays in its queue, handed
// back with a delay, unless Config.LongestNak says otherwise. It counts as in flight
// meanwhile, so longer waits become timers (jetstream.md, section 5).
const shortDelay = 10 * time.Second

// maxShort is how many retries in a row stay in the queue. A message there does not
// say how many attempts it has had; the attempt log knows, for stream.Dedupe. The
// next retry becomes a timer, and with it the number is written down: five attempts
// of 30 s and the waits between them are over before the log forgets.
const maxShort = 5

// settle ends what this sender has to do with a delivery, after its attempt was
// recorded. Whatever has to outlive it (a timer, a dead letter) is stored first.
func (l *lane) settle(ctx context.Context, u *underway, a *delivery.Attempt) {
	m, d := u.m, u.d
	if a.Manual {
		l.settleManual(ctx, u, a)
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
		l.expect(u.m, a.Attempt+1)
		l.nak(u.m, time.Until(u.due))
		return
	case delivery.Gone:
		if err := l.disableGone(ctx, u); err != nil { // being stopped
			l.nak(u.m, time.Second)
			return
		}
	case delivery.Delivered:
		if !l.cancelTimer(ctx, u) { // its retry may wait in the queue
			l.noteManual(ctx, u.d)
		}
	case delivery.Rejected, delivery.Exhausted:
	}
	l.ack(u.m, u.d)
}

func (l *lane) retryLater(ctx context.Context, u *underway, a *delivery.Attempt) {
	m, d := u.m, u.d
	if l.head != nil {
		l.retryInOrder(ctx, u, a)
		return
	}
	delay := time.Until(u.due)
	// One that has probed an endpoint goes behind those that wait, so that the next
	// probe is made with another: a timer puts it there.
	if !u.trial && delay <= l.cfg.LongestNak && a.Attempt-u.written < maxShort {
		l.forgetTimer(ctx, u)
		l.expect(m, a.Attempt+1)
		l.nak(m, delay)
		return
	}
	d.Attempt = a.Attempt + 1
	shard := l.terms.queue.RetryShard
	due, mark := l.planned(ctx, u.due)
	timer := d.Timer(l.layout.RetryAt(shard, d.SubscriptionID, d.TimerKey()), l.layout.RetryDue(shard, d.SubscriptionID), due)
	mark.SetTimer(timer.Header, due)
	err := l.insist(ctx, u, "retry timer", l.layout.RetryStream(shard), func(ctx context.Context) error {
		_, err := l.js.PublishMsg(ctx, timer)
		return err
	})
	if err != nil { // being stopped
		l.nak(m, shortDelay)
		return
	}
	l.ack(m, d)
}

// giveUp makes d a dead letter and settles it. last is its last attempt, if any.
func (l *lane) giveUp(ctx context.Context, u *underway, reason delivery.Reason, attempts int, last *delivery.Attempt) {
	m, d := u.m, u.d
	err := l.insist(ctx, u, "dead letter", l.layout.DeadLetters(), func(ctx context.Context) error {
		return l.letters.GiveUp(ctx, d, reason, attempts, last)
	})
	if err != nil { // being stopped
		l.nak(m, shortDelay) // the receiver will get it again: not too soon
		return
	}
	l.forgetTimer(ctx, u)
	l.metrics.deadLetter(reason)
	l.cfg.Events.Publish(operational.GivenUp(u.e.sub, d, reason, attempts, last))
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
		r := audit.OfSubscription(actionDisable, before, after)
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

// The actions that the audit trail has from senders.
const (
	actionDisable = "subscription.disable"
	actionConsent = "subscription.consent"
)

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
