package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/subscription"
)

// domainRoute is one domain being routed.
type domainRoute struct {
	*Router
	domain    string
	log       *zap.Logger
	settleCtx context.Context //nolint:containedctx // lives as long as the route: settling outlasts the pull's context
	batches   chan batch
	troubled  sync.WaitGroup
	order     *order
	slow      *slowLane
	share     *budget.Share // of the memory for events in work
}

// routed is one event whose deliveries are on their way to their queues.
type routed struct {
	msg     *stream.Message
	event   *event.Event
	invalid error // why the message is not an event
	targets []target
}

// batch is what was pulled together. It is held until it is settled.
type batch struct {
	events  []routed
	release func()
}

// target is one delivery on its way.
type target struct {
	subscription *subscription.Subscription
	future       jetstream.PubAckFuture
	stored       bool
	err          error // why the publish failed
	// undecided: it is not known whether the subscription wants the event. It is not
	// published, and kept as a dead letter.
	undecided bool
}

// errMatchBudget is why nothing is published to an undecided target.
var errMatchBudget = errors.New("the filters take more steps for this event than one event may take")

// handle matches a batch and sends its deliveries. It is the only place where
// the view is read, and it reads it after the events have arrived: a subscription
// whose creation was answered before an event was published is in it (design,
// section 5, "Read your writes").
func (d *domainRoute) handle(ctx context.Context, msgs []*stream.Message) {
	release := stream.KeepHolding(msgs...)
	snapshot, err := d.view.Sync(ctx)
	if err != nil {
		release()
		// Fail closed: an older view could miss a subscription for good.
		delay := time.Duration(0) // being stopped: another router may have them at once
		if ctx.Err() == nil {
			delay = time.Second
			d.log.Warn("cannot bring subscriptions up to date, events wait", zap.Int("events", len(msgs)), zap.Error(err))
		}
		for _, m := range msgs {
			d.nak(m, delay)
		}
		return
	}
	events := make([]routed, 0, len(msgs))
	var matches subscription.Matches
	for _, m := range msgs {
		if m.Lost() { // another router has it, or will soon
			m.Leave()
			continue
		}
		event, err := event.FromEventLog(m.Header, m.Data)
		if err != nil {
			events = append(events, routed{msg: m, invalid: err})
			continue
		}
		r := routed{msg: m, event: event}
		snapshot.JudgeQuick(d.domain, event, &matches)
		r.targets = d.sendAll(&r, &matches)
		if len(matches.Slow) > 0 {
			waits := r
			d.slow.add(&slowEvent{routed: &waits, snapshot: snapshot, subs: slices.Clone(matches.Slow)})
			continue
		}
		if r.isOrdered() {
			waits := r
			d.order.add(&waits)
			continue
		}
		events = append(events, r)
	}
	if len(events) == 0 {
		release()
		return
	}
	d.batches <- batch{events, release}
}

// sendAll publishes the deliveries of an event, but for those that have to wait for
// their turn.
func (d *domainRoute) sendAll(r *routed, matches *subscription.Matches) []target {
	if len(matches.Wanted)+len(matches.Undecided) == 0 {
		return nil
	}
	copies := d.copies(r)
	targets := make([]target, 0, len(matches.Wanted)+len(matches.Undecided))
	for _, s := range matches.Wanted {
		if s.Delivery.Ordered {
			targets = append(targets, target{subscription: s}) // see order
			continue
		}
		targets = append(targets, d.send(copies, r.msg, s))
	}
	for _, s := range matches.Undecided {
		targets = append(targets, target{subscription: s, undecided: true, err: errMatchBudget})
	}
	return targets
}

// copies makes the deliveries of r. An event that another router may have routed before a
// NATS server crashed is marked: the queues do not know any more what had left them.
func (d *domainRoute) copies(r *routed) *delivery.Copies {
	copies := delivery.NewCopies(r.event, r.msg.Stored)
	if d.session.MayForget(r.msg) {
		return copies.Again()
	}
	return copies
}

// send publishes one delivery without waiting. The message id is the same
// whenever the same event is routed again, so the queue stores it once.
func (d *domainRoute) send(copies *delivery.Copies, m *stream.Message, s *subscription.Subscription) target {
	msg := copies.To(s.Queue.Subject, s.Queue.Stream, delivery.Origin(m.Stream, m.Sequence, m.Stored, s.ID))
	future, err := d.js.PublishMsgAsync(msg, publishOptions...) // it is encoded before this returns
	return target{subscription: s, future: future, err: err}
}

// A missing stream is told apart from a slow one by the router itself, so the
// client library need not try again.
var publishOptions = []jetstream.PublishOpt{jetstream.WithStallWait(5 * time.Second), jetstream.WithRetryAttempts(0)}

// patience is how long a batch waits for its stores before the events that are
// not done are settled apart from it.
const patience = time.Second

// settleBatches acknowledges events whose deliveries are all stored. The last
// ack of a batch is confirmed by the server, and with it the ones before: acks of
// one consumer are processed in the order in which they arrive.
func (d *domainRoute) settleBatches() {
	for b := range d.batches {
		timeUp, cancel := context.WithTimeout(d.settleCtx, patience)
		var last *stream.Message
		for i := range b.events {
			r := &b.events[i]
			if r.invalid != nil || !r.awaitAll(timeUp.Done()) {
				d.troubled.Go(func() { d.settleTroubled(r) })
				continue
			}
			d.metrics.routed(d.domain, len(r.targets))
			d.order.note(r.msg.Sequence)
			if last != nil {
				d.ack(last)
			}
			last = r.msg
		}
		cancel()
		if last != nil {
			d.ackSync(last)
		}
		b.release() // what is troubled is held on its own
	}
}

func (r *routed) awaitAll(timeUp <-chan struct{}) bool {
	all := true
	for n := range r.targets {
		all = r.targets[n].await(timeUp) && all
	}
	return all
}

// await waits until the delivery is stored, its publish failed, or time is up.
func (t *target) await(timeUp <-chan struct{}) bool {
	if t.stored || t.err != nil {
		return t.stored
	}
	select {
	case <-t.future.Ok():
		t.stored = true
		return true
	default: // what is stored must not lose against a time that is up
	}
	select {
	case <-t.future.Ok():
		t.stored = true
	case err := <-t.future.Err():
		t.err = err
	case <-timeUp:
	}
	return t.stored
}
