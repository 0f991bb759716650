package upkeep

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// maxStranded is how many messages are looked at in one go which a consumer does not
// hand out.
const maxStranded = 1000

// A workQueue is a stream from which messages go when they are acknowledged: the queue
// of a subscription, or a retry stream, of which only what has fired is handed out.
type workQueue struct {
	stream, consumer string
	subject          string // of what is handed out
	sub              *subscription.Subscription
	// owner is the subscription that a message is for.
	owner func(*stream.Record) string
}

func queueOf(sub *subscription.Subscription) workQueue {
	return workQueue{
		stream: sub.Queue.Stream, consumer: sub.Queue.Consumer, subject: sub.Queue.Subject, sub: sub,
		owner: func(*stream.Record) string { return sub.ID },
	}
}

// CheckQueue looks at the queue of a subscription and the senders' consumer on it, and
// reports whether one of them is missing.
func (p *Positions) CheckQueue(ctx context.Context, sub *subscription.Subscription) (missing bool, err error) {
	if err = p.checkWork(ctx, queueOf(sub)); isMissing(err) {
		return true, nil
	}
	return false, err
}

// checkRetries looks at a retry stream and the pump's consumer on it.
func (p *Positions) checkRetries(ctx context.Context, shard string) error {
	return p.checkWork(ctx, workQueue{
		stream: p.layout.RetryStream(shard), consumer: stream.SenderConsumer, subject: p.layout.RetryDue(shard, "*"),
		owner: func(r *stream.Record) string { return p.layout.RetrySubscription(r.Subject) },
	})
}

// checkWork finds messages that are never handed out, because the consumer takes them
// for settled:
//
//   - It is ahead of its stream. It is set back to the beginning: all that is stored is
//     owed, and what is in flight is recognised or a repeat.
//   - The stream went back and has caught up: messages have come to places that were
//     settled. The consumer is set back to the first of them.
//   - The server was killed, and has lost that a message was taken off, but not that it
//     was acknowledged. Of such a delivery there is an attempt, a dead letter or a
//     timer; what is left of it is dropped.
func (p *Positions) checkWork(ctx context.Context, w workQueue) error {
	at, err := stream.ReadPosition(ctx, p.js, w.stream, w.consumer)
	if err != nil {
		return err
	}
	first, err := p.stranded(ctx, &w, &at)
	if err != nil || !at.Ahead() && first == 0 {
		return err
	}
	if err := pauseFor(ctx, confirmPause(at.Replicas)); err != nil {
		return err
	}
	if at, err = stream.ReadPosition(ctx, p.js, w.stream, w.consumer); err != nil {
		return err
	}
	if at.Ahead() {
		return p.setBack(ctx, &w, &at, 1)
	}
	if again, err := p.stranded(ctx, &w, &at); err != nil || again != first {
		return err // it was on its way
	}
	return p.repairWork(ctx, &w, &at)
}

// stranded is the place of the first message that is stored where the consumer takes
// all for settled; 0 when there is none.
func (p *Positions) stranded(ctx context.Context, w *workQueue, at *stream.Position) (uint64, error) {
	if at.Messages == 0 || at.First > at.Settled {
		return 0, nil
	}
	r, err := stream.NextOf(ctx, p.js, w.stream, w.subject, 1)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && r.Sequence > at.Settled {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return r.Sequence, nil
}

// repairWork drops the stranded messages whose deliveries were settled, up to the first
// one whose was not: from there on the consumer hands them out again.
func (p *Positions) repairWork(ctx context.Context, w *workQueue, at *stream.Position) error {
	owed, behind, err := p.firstOwed(ctx, w, at)
	if err != nil {
		return err
	}
	queue, err := p.js.Stream(ctx, w.stream)
	if err != nil {
		return err
	}
	if owed != 1 { // otherwise there is nothing before it
		before := behind
		if owed > 0 {
			before = owed
		}
		// A message that cannot be read was not settled: it is a loss, which is made good
		// by reconciling.
		if err := p.cfg.Inventory.FindDamage(ctx, w.stream); err != nil {
			return err
		}
		if err := queue.Purge(ctx, jetstream.WithPurgeSubject(w.subject), jetstream.WithPurgeSequence(before)); err != nil {
			return fmt.Errorf("drop what is left of settled deliveries in stream %s: %w", w.stream, err)
		}
		p.log.Warn("dropped what was left of deliveries that had been made", w.fields(zap.String("stream", w.stream), zap.Uint64("seq", before-1))...)
	}
	if owed == 0 {
		return nil
	}
	return p.setBack(ctx, w, at, owed)
}

func (w *workQueue) fields(fields ...zap.Field) []zap.Field {
	if w.sub != nil {
		fields = append(fields, zap.String("subscription_id", w.sub.ID))
	}
	return fields
}

func (p *Positions) setBack(ctx context.Context, w *workQueue, at *stream.Position, from uint64) error {
	p.lost(ctx, w.stream, at)
	if err := stream.SetBack(ctx, p.js, w.stream, w.consumer, from); err != nil {
		return err
	}
	p.tellReset(operational.ConsumerReset{
		Stream: w.stream, Consumer: w.consumer, Stood: at.Stood(), Last: at.Last, From: from, Created: at.Created,
	}, w.sub)
	return nil
}

// A strandedDelivery is one that a consumer does not hand out.
type strandedDelivery struct {
	*delivery.Delivery

	sequence uint64
	settled  bool
}

// firstOwed is the place of the first stranded message whose delivery was not settled,
// 0 when there is none before behind. Of so many at a time only some are looked at.
func (p *Positions) firstOwed(ctx context.Context, w *workQueue, at *stream.Position) (owed, behind uint64, err error) {
	found, from := map[string][]*strandedDelivery{}, time.Time{} // by delivery
	of := make(map[string]string)
	var all []*strandedDelivery
	for next := uint64(1); len(all) < maxStranded; {
		r, err := stream.NextOf(ctx, p.js, w.stream, w.subject, next)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return 0, 0, err
		}
		if err != nil || r.Sequence > at.Settled {
			break
		}
		next = r.Sequence + 1
		one := &strandedDelivery{sequence: r.Sequence}
		all = append(all, one)
		if one.Delivery, err = delivery.FromMessage(w.owner(r), r.Header, r.Data); err != nil {
			continue // a sender makes a dead letter of it
		}
		one.Event.Data = nil // there may be many
		found[one.ID] = append(found[one.ID], one)
		of[one.ID] = one.SubscriptionID
		if from.IsZero() || r.Time.Before(from) {
			from = r.Time
		}
	}
	if err := p.findSettled(ctx, found, of, from); err != nil {
		return 0, 0, err
	}
	for _, one := range all {
		if !one.settled {
			return one.sequence, one.sequence, nil
		}
		behind = one.sequence + 1
	}
	return 0, behind, nil
}

// errUnread: what is on record could not be read to its end in time.
var errUnread = errors.New("the records of deliveries were not read to their end in time")

// findSettled looks for what settled deliveries leave on record: an attempt at least as
// late as the one that was queued, or a dead letter.
func (p *Positions) findSettled(ctx context.Context, found map[string][]*strandedDelivery, of map[string]string, from time.Time) error {
	if len(found) == 0 {
		return nil
	}
	from = from.Add(-time.Second)
	complete, err := p.attempts.Trace(ctx, of, from, func(r delivery.Attempt) {
		for _, one := range found[r.DeliveryID] {
			if ref := delivery.RefOf(one.Delivery); ref.Is(r.Event.Stream, r.Event.Sequence, r.Event.Stored) && r.Manual == (one.Manual != "") && r.Attempt >= one.Attempt {
				one.settled = true
			}
		}
	})
	if err == nil && complete {
		complete, err = p.deadLetters.Trace(ctx, of, from, func(l delivery.DeadLetter) {
			for _, one := range found[l.DeliveryID] {
				if ref := delivery.RefOf(one.Delivery); ref.Is(l.Event.Stream, l.Event.Sequence, l.Event.Stored) && one.Manual == "" && l.Attempts >= one.Attempt-1 {
					one.settled = true
				}
			}
		})
	}
	if err == nil && !complete {
		err = errUnread
	}
	return err
}
