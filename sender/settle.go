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
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/manual"
	"github.com/jetpost/jetpost/sender/timers"
)

const (
	// stoppedDelay is the delay with which a delivery is handed back whose request was made,
	// when the sender stops before the consequences were stored: the receiver gets it again,
	// but not at once.
	stoppedDelay = 10 * time.Second
	// requeueTimeout bounds putting a delivery back on its queue: a timer is as good.
	requeueTimeout = 2 * time.Second
)

// A settler settles the deliveries of one subscription. Whatever has to outlive a delivery (a
// timer, a dead letter) is stored first.
type settler struct {
	id          string
	queue       stream.Queue
	js          jetstream.JetStream
	layout      stream.Layout
	deadLetters *delivery.DeadLetters
	timers      *timers.Timers
	manual      *manual.Successes
	order       *order // where the subscription is ordered
	disabler    *disabler
	events      *operational.Publisher
	reserve     *stream.Reserve
	health      *stream.Health
	metrics     *metrics
	log         *zap.Logger
}

// settle settles a delivery after its attempt was recorded.
func (s *settler) settle(ctx context.Context, u *underway) {
	m, d, a := u.m, u.d, u.a
	if a.Manual {
		s.settleManual(ctx, u)
		return
	}
	if a.Outcome != delivery.Delivered && m.Lost() { // the sender that has it now decides
		s.leave(1)
		return
	}
	if d.FirstAttempt.IsZero() {
		d.FirstAttempt = a.At
	}
	switch a.Outcome {
	case delivery.Delivered:
		if u.again { // a sender that was killed may have stored a timer
			s.timers.Cancel(ctx, s.queue.RetryShard, d, 0)
		}
		s.ack(m, d)
	case delivery.Retry:
		s.publishFailing(u)
		s.retryLater(ctx, u)
	case delivery.Gone:
		if err := s.disableGone(ctx, d); err != nil { // the sender stops
			s.nak(m, time.Second)
			return
		}
		s.giveUp(ctx, u, delivery.ReasonGone, a.Attempt, a)
	case delivery.Rejected:
		s.giveUp(ctx, u, delivery.ReasonRejected, a.Attempt, a)
	case delivery.Exhausted:
		s.giveUp(ctx, u, delivery.ReasonExhausted, a.Attempt, a)
	}
}

// settleManual settles a manual attempt. When it succeeds, nothing is left to be retried.
// Otherwise only its record is kept: timers and dead letters belong to the schedule.
func (s *settler) settleManual(ctx context.Context, u *underway) {
	switch u.a.Outcome {
	case delivery.Retry: // aborted: another sender makes it
		s.nak(u.m, 0)
		return
	case delivery.Gone:
		if err := s.disableGone(ctx, u.d); err != nil { // the sender stops
			s.nak(u.m, time.Second)
			return
		}
	case delivery.Delivered:
		s.endSchedule(ctx, u.d)
	case delivery.Rejected, delivery.Exhausted:
	}
	s.ack(u.m, u.d)
}

// endSchedule ends the schedule of a delivery that a manual attempt has made. Where there is
// no timer the retry may wait in the queue, or an attempt may be under way whose timer is not
// stored yet. So the success is recorded, and then the timer is cancelled again: what stores
// a timer afterwards finds the record, see retryLater.
func (s *settler) endSchedule(ctx context.Context, d *delivery.Delivery) {
	if s.timers.Cancel(ctx, s.queue.RetryShard, d, 0) {
		return
	}
	s.manual.Record(ctx, d)
	s.timers.Cancel(ctx, s.queue.RetryShard, d, 0)
}

// retryLater has the next attempt made when it is due. A delivery that waits for a retry must
// not hold a place in flight, so it does not wait in its queue, whatever the delay: a timer
// brings it back, behind what waits there by then (ADR 29).
func (s *settler) retryLater(ctx context.Context, u *underway) {
	m, d := u.m, u.d
	switch {
	case s.order != nil:
		s.order.retry(ctx, u)
		return
	case u.aborted: // another sender makes it at once
		s.nak(m, 0)
		return
	}
	d.Attempt = u.a.Attempt + 1
	// Not where another sender may have stored a timer before: the next one replaces it.
	// Cancelling it separately could meet the timer of the attempt after the next, which may
	// be over as soon as the delivery is on its queue.
	if !u.again && time.Until(u.due) <= 0 && s.requeue(ctx, d) {
		s.ack(m, d)
		return
	}
	shard := s.queue.RetryShard
	err := s.insist(ctx, d, "retry timer", s.timers.Stream(shard), func(ctx context.Context) error {
		// Each try computes the time again: the clock may be set, and all timers moved,
		// while none is stored.
		return s.timers.Store(ctx, shard, d, u.due)
	})
	if err != nil { // the sender stops
		s.nak(m, stoppedDelay)
		return
	}
	if s.manual.Has(ctx, d) { // it has succeeded while this attempt was under way
		s.timers.Cancel(ctx, shard, d, 0)
	}
	s.ack(m, d)
}

// requeue puts a delivery back on its queue at once, without the delay of a timer, and reports
// whether it has. A full queue does not take it.
func (s *settler) requeue(ctx context.Context, d *delivery.Delivery) bool {
	ctx, cancel := context.WithTimeout(ctx, requeueTimeout)
	defer cancel()
	_, err := s.js.PublishMsg(ctx, d.Requeued(s.queue.Subject, s.queue.Stream), jetstream.WithRetryAttempts(0))
	return err == nil
}

// giveUp makes a delivery a dead letter and settles it. last is its last attempt, if any.
func (s *settler) giveUp(ctx context.Context, u *underway, reason delivery.Reason, attempts int, last *delivery.Attempt) {
	m, d := u.m, u.d
	var timersBelow uint64
	if u.again {
		timersBelow = s.timers.Next(ctx, s.queue.RetryShard)
	}
	err := s.insist(ctx, d, "dead letter", s.layout.DeadLetters(), func(ctx context.Context) error {
		return s.deadLetters.GiveUp(ctx, d, reason, attempts, last)
	})
	if err != nil { // the sender stops
		s.nak(m, stoppedDelay)
		return
	}
	if u.again { // a sender that was killed may have stored a timer
		s.timers.Cancel(ctx, s.queue.RetryShard, d, timersBelow)
	}
	s.metrics.deadLetters.WithLabelValues(string(reason)).Inc()
	s.events.Publish(operational.GivenUp(u.e.Subscription, d, reason, attempts, last))
	s.log.Warn("delivery given up", zap.String("subscription_id", s.id), zap.String("delivery_id", d.ID),
		zap.String("event_id", d.Event.ID), zap.String("event_type", d.Event.Type), zap.Int("attempt", attempts), zap.String("reason", string(reason)))
	s.ack(m, d)
}

// drop settles a retry of a delivery that a manual attempt has made.
func (s *settler) drop(ctx context.Context, u *underway) {
	s.log.Info("retry dropped: a manual attempt has made the delivery", zap.String("subscription_id", s.id),
		zap.String("delivery_id", u.d.ID), zap.String("event_id", u.d.Event.ID), zap.String("event_type", u.d.Event.Type))
	if u.again { // a sender that was killed may have stored a timer
		s.timers.Cancel(ctx, s.queue.RetryShard, u.d, 0)
	}
	s.ack(u.m, u.d)
}

// keepUnreadable keeps a message that is no delivery as a dead letter.
func (s *settler) keepUnreadable(ctx context.Context, m *consume.Message, cause error) {
	if err := s.deadLetters.KeepUnreadable(ctx, m, cause); err != nil {
		s.log.Warn("failed to keep unreadable delivery, it stays queued", zap.String("subscription_id", s.id), zap.Uint64("seq", m.Sequence), zap.Error(err))
		s.nak(m, time.Second)
		return
	}
	s.metrics.deadLetters.WithLabelValues(string(delivery.ReasonUnreadable)).Inc()
	s.log.Error("delivery cannot be read, kept as dead letter", zap.String("subscription_id", s.id), zap.Uint64("seq", m.Sequence), zap.Error(cause))
	if err := m.Ack(); err != nil {
		s.log.Warn("failed to ack", zap.String("subscription_id", s.id), zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

// publishFailing publishes that a delivery is failing, after the attempt at which that is
// due. The number of an attempt may turn out to be higher than expected, after a crash:
// the sender that passes that attempt publishes it, and the event log keeps it once.
func (s *settler) publishFailing(u *underway) {
	at := operational.FailingAt(u.e.Subscription)
	if !u.aborted && u.d.Scheduled(u.d.Attempt) <= at && at <= u.d.Scheduled(u.a.Attempt) {
		s.events.Publish(operational.Failing(u.e.Subscription, u.d, u.a))
	}
}

// disableGone disables the subscription whose receiver has answered 410. The delivery is held
// until that is stored, and on the audit trail.
func (s *settler) disableGone(ctx context.Context, d *delivery.Delivery) error {
	return s.insist(ctx, d, "state of the subscription", s.layout.SubscriptionsStream(), func(ctx context.Context) error {
		return s.disabler.disable(ctx, s.id, "receiver answered 410 Gone")
	})
}

// insist stores what has to outlive a delivery, and tries until it is stored or ctx ends. A
// delivery whose request was made, and which cannot be settled, waits here: handed back, it
// would be requested again and again. It counts as in flight, so a subscription makes no more
// requests than that until something can be stored again. what and streamName are for the log.
func (s *settler) insist(ctx context.Context, d *delivery.Delivery, what, streamName string, store func(context.Context) error) error {
	for pause, failed := firstPause, false; ; pause = min(2*pause, longPause) {
		err := s.reserve.Settle(ctx, func() error { return store(ctx) })
		if err == nil {
			s.health.Stored(streamName)
			return nil
		}
		s.health.Failed(streamName, err)
		if !failed {
			s.log.Warn("failed to store "+what+", its delivery is held and not settled", zap.String("stream", streamName),
				zap.String("subscription_id", s.id), zap.String("delivery_id", d.ID), zap.Error(err))
		}
		failed = true
		if !clock.Pause(ctx, pause) {
			return err
		}
	}
}

func (s *settler) ack(m *consume.Message, d *delivery.Delivery) {
	if err := m.Ack(); err != nil {
		s.log.Warn("failed to ack delivery, it will be attempted again",
			zap.String("subscription_id", s.id), zap.String("delivery_id", d.ID), zap.Error(err))
	}
}

func (s *settler) nak(m *consume.Message, delay time.Duration) {
	if err := m.Nak(delay); err != nil {
		s.log.Warn("failed to hand delivery back, it returns after the ack wait", zap.String("subscription_id", s.id), zap.Uint64("seq", m.Sequence), zap.Error(err))
	}
}

func (s *settler) handBack(msgs []*consume.Message, delay time.Duration) {
	for _, m := range msgs {
		s.nak(m, delay)
	}
}

// leave logs that deliveries are left to other senders.
func (s *settler) leave(deliveries int) {
	s.log.Warn("deliveries were held for too long, they are left to other senders", zap.String("subscription_id", s.id), zap.Int("deliveries", deliveries))
}

// A disabler disables subscriptions whose receivers answered 410 or are down.
type disabler struct {
	store  *subscription.Store
	trail  *audit.Trail
	events *operational.Publisher
	log    *zap.Logger
}

// disable disables a subscription, unless it is already.
func (s *disabler) disable(ctx context.Context, id, reason string) error {
	var was *subscription.Subscription
	updated, err := s.store.ChangeWithin(ctx, id, func(sub *subscription.Subscription) error {
		if sub.State != subscription.Disabled {
			sub.State, sub.StateReason = subscription.Disabled, reason
		}
		return nil
	}, func(before, after *subscription.Subscription, write func() error) error {
		was = before
		r := audit.OfSubscription("subscription.disable", before, after)
		r.Reason = reason
		return s.trail.Around(ctx, r, write)
	})
	if errors.Is(err, subscription.ErrNotFound) {
		return nil
	}
	if err == nil && was != nil {
		s.events.Publish(operational.Disabled(was.State, updated))
		s.log.Warn("subscription disabled", zap.String("subscription_id", id), zap.String("reason", reason))
	}
	return err
}
