package sender

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/ordered"
)

const (
	// dueSlack is how much too early a head may be handed out and still be attempted: the
	// server keeps delays by the second.
	dueSlack = time.Second
	// lostRecordDelay is how long a head waits at most when its record cannot be written.
	lostRecordDelay = 10 * time.Second
)

// An order keeps the deliveries of an ordered subscription in their order: see package
// ordered.
type order struct {
	id       string
	head     *ordered.Head
	recheck  time.Duration // how often a head that waits is looked at
	view     *subscription.View
	clock    *clock.Clock
	endpoint func(*subscription.Subscription) (*endpoint.Endpoint, error)
	settler  *settler
	log      *zap.Logger
}

// whenDue calls next with the messages whose attempts are due, and hands the others back.
// It is called before the rate limiter: an attempt that is not due takes no slot.
func (o *order) whenDue(next handler) handler {
	return func(ctx context.Context, msgs []*consume.Message) {
		defer consume.KeepHolding(msgs...)()
		due := make([]*consume.Message, 0, len(msgs))
		for _, m := range msgs {
			if !o.waits(ctx, m) {
				due = append(due, m)
			}
		}
		if len(due) > 0 {
			next(ctx, due)
		}
	}
}

// waits hands m back when its attempt is not due, and reports whether it has.
func (o *order) waits(ctx context.Context, m *consume.Message) bool {
	if o.head.IsFirst(m) {
		return false
	}
	d, err := delivery.FromMessage(o.id, m.Header, m.Data)
	if err != nil {
		return false // the pipeline settles it
	}
	record, err := o.head.Recall(ctx, m, d)
	if err != nil {
		o.handBackUnknown(ctx, m, d, err)
		return true
	}
	sub, ok := o.view.Snapshot().Get(o.id)
	if record.Due.IsZero() || record.Now || !ok || sub.Revision > record.Revision || o.head.Hurries() {
		return false
	}
	wait := record.Due.Sub(o.clock.Now(ctx))
	_, err = o.endpoint(sub)
	if wait <= dueSlack || err != nil || expired(ctx, o.clock, sub, d) {
		return false
	}
	if err := o.head.Write(ctx, m, record); err != nil { // the record before has the number of the attempt
		o.log.Debug("failed to record that a delivery was handed back", zap.String("subscription_id", o.id), zap.Error(err))
	}
	o.settler.nak(m, min(wait, o.recheck))
	return true
}

func (o *order) handBackUnknown(ctx context.Context, m *consume.Message, d *delivery.Delivery, err error) {
	if ctx.Err() == nil {
		o.log.Warn("failed to read how often an ordered delivery was attempted, it waits",
			zap.String("subscription_id", o.id), zap.String("delivery_id", d.ID), zap.Error(err))
	}
	o.settler.nak(m, time.Second)
}

// resume adds the recorded attempts to u. It reports whether to go on; otherwise the delivery
// was handed back.
func (o *order) resume(ctx context.Context, u *underway) bool {
	record, err := o.head.Recall(ctx, u.m, u.d)
	if err != nil {
		o.handBackUnknown(ctx, u.m, u.d, err)
		return false
	}
	u.counted = u.m.Delivered // without a record it was handed back before its request
	if record.Attempt == 0 {
		return true
	}
	u.d.Attempt, u.d.FirstAttempt = record.Attempt, record.First
	u.early, u.planned = record.Early, time.Now().Add(record.Due.Sub(o.clock.Now(ctx)))
	// Otherwise the attempt log makes sure: a sender may have crashed after it recorded an
	// attempt and before it wrote the record.
	u.certain = o.head.Use(u.m)
	u.again = record.Delivered != u.m.Delivered-1
	return true
}

// retry hands the head back, to be attempted again before any other delivery.
func (o *order) retry(ctx context.Context, u *underway) {
	m, d, a := u.m, u.d, u.a
	due, mark := o.clock.Server(ctx, u.due)
	record := ordered.Record{
		Chain: d.Chain(), Attempt: a.Attempt + 1, First: d.FirstAttempt, Due: due.UTC(), Clock: mark, Early: u.early,
		Now: u.isProbe() || u.aborted, Revision: u.e.Subscription.Revision,
	}
	if u.isEarly(a) {
		record.Early++
	}
	delay := min(time.Until(u.due), o.recheck)
	if record.Now { // the breaker says when
		delay = time.Millisecond
	}
	if err := o.head.Write(ctx, m, record); err != nil {
		// The attempt log knows the number for as long as it remembers ids: an attempt too
		// early is better than beginning again.
		o.log.Warn("failed to record the attempt of an ordered delivery, the next one is made soon",
			zap.String("subscription_id", o.id), zap.String("delivery_id", d.ID), zap.Error(err))
		delay = min(delay, lostRecordDelay)
	}
	o.settler.nak(m, max(delay, time.Millisecond))
}
