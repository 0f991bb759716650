package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
)

// batchesInWork bounds how far matching may run ahead of acknowledging.
const batchesInWork = 64

// A route takes the events of one domain through their steps:
//
//	pull ─► match ─► publish to each queue ─► await the stores ─► acknowledge
//	          │         │                         └ what fails ──► settler
//	          │         └ ordered subscriptions ──────────────────► order
//	          └ filters that take long ───────────────────────────► slowMatcher
//
// Two pull slots match and publish, one goroutine awaits the stores and acknowledges. Events
// that fail get a goroutine of their own, so that one bad queue does not delay the others.
type route struct {
	view      *subscription.View
	publisher *publisher
	settler   *settler
	order     *order
	slow      *slowMatcher
	batches   chan batch
	troubled  sync.WaitGroup
}

func newRoute(view *subscription.View, settler *settler, order *order) *route {
	r := &route{view: view, publisher: settler.publisher, settler: settler, order: order, batches: make(chan batch, batchesInWork)}
	r.slow = newSlowMatcher(settler, order, r.batches)
	return r
}

// run routes until ctx ends, and returns when what was in work is settled. follow runs beside
// it.
func (r *route) run(ctx context.Context, nc *nats.Conn, pull consume.Pull, follow func(context.Context)) error {
	var work sync.WaitGroup
	work.Go(r.settleBatches)
	following, stopFollowing := context.WithCancel(ctx)
	work.Go(func() { follow(following) })
	pull.Handle = r.handle
	pull.OnError = func(err error) {
		r.settler.log.Warn("failed to pull events, will retry", zap.String("stream", pull.Stream), zap.Error(err))
	}
	err := pull.Run(ctx, nc)
	r.slow.close()
	stopFollowing()
	close(r.batches)
	r.order.close()
	work.Wait()
	r.troubled.Wait()
	return err
}

// routed is one event whose deliveries are on their way to their queues.
type routed struct {
	msg     *consume.Message
	event   *event.Event
	invalid error // why the message is not an event
	targets []target
}

// target is one delivery on its way.
type target struct {
	subscription *subscription.Subscription
	future       jetstream.PubAckFuture
	stored       bool
	err          error // why the publish failed
	// undecided: it is not known whether the subscription wants the event. The delivery is
	// not published, and kept as a dead letter.
	undecided bool
}

// batch is what was pulled together. It is held until it is settled.
type batch struct {
	events  []routed
	release func()
}

// errMatchBudget is why nothing is published to an undecided target.
var errMatchBudget = errors.New("the filters take more steps for this event than one event may take")

// handle matches a batch and publishes its deliveries. Only here the view is read, and only
// after the events have arrived: a subscription whose creation was answered before an event
// was published is in it (design, section 5, "Read your writes").
func (r *route) handle(ctx context.Context, msgs []*consume.Message) {
	release := consume.KeepHolding(msgs...)
	snapshot, err := r.view.Sync(ctx)
	if err != nil {
		release()
		// Fail closed: an older view could miss a subscription for good.
		delay := time.Duration(0) // the router stops: another one may have them at once
		if ctx.Err() == nil {
			delay = time.Second
			r.settler.log.Warn("failed to bring subscriptions up to date, events wait", zap.Int("events", len(msgs)), zap.Error(err))
		}
		for _, m := range msgs {
			r.settler.nak(m, delay)
		}
		return
	}
	events := make([]routed, 0, len(msgs))
	var matches subscription.Matches
	for _, m := range msgs {
		if m.Lost() { // another router has it, or will get it
			m.Leave()
			continue
		}
		event, err := event.FromEventLog(m.Header, m.Data)
		if err != nil {
			events = append(events, routed{msg: m, invalid: err})
			continue
		}
		e := routed{msg: m, event: event}
		snapshot.JudgeQuick(r.settler.domain, event, &matches)
		e.targets = r.publisher.publish(&e, &matches)
		switch {
		case len(matches.Slow) > 0:
			waits := e
			r.slow.add(&slowEvent{routed: &waits, snapshot: snapshot, subs: slices.Clone(matches.Slow)})
		case e.isOrdered():
			waits := e
			r.order.add(&waits)
		default:
			events = append(events, e)
		}
	}
	if len(events) == 0 {
		release()
		return
	}
	r.batches <- batch{events, release}
}

// patience is how long a batch waits for its stores before the events that are not done are
// settled apart from it.
const patience = time.Second

// settleBatches acknowledges events whose deliveries are all stored. The last ack of a batch
// is confirmed by the server, and with it the ones before: acks of one consumer are processed
// in the order in which they arrive.
func (r *route) settleBatches() {
	s := r.settler
	for b := range r.batches {
		timeUp, cancel := context.WithTimeout(s.ctx, patience)
		var last *consume.Message
		for i := range b.events {
			e := &b.events[i]
			if e.invalid != nil || !e.awaitAll(timeUp.Done()) {
				r.troubled.Go(func() { s.settleTroubled(e) })
				continue
			}
			s.metrics.routed(s.domain, len(e.targets))
			if s.progress.wanted.Load() {
				s.progress.record(e.msg.Sequence)
			}
			if last != nil {
				s.ack(last)
			}
			last = e.msg
		}
		cancel()
		if last != nil {
			s.ackSync(last)
		}
		b.release() // what is troubled is held on its own
	}
}

// A publisher publishes the deliveries of events to their queues.
type publisher struct {
	js      jetstream.JetStream
	session *consume.Session
}

// publish publishes the deliveries of an event, but for those of ordered subscriptions: see
// order.
func (p *publisher) publish(r *routed, matches *subscription.Matches) []target {
	if len(matches.Wanted)+len(matches.Undecided) == 0 {
		return nil
	}
	copies := p.copies(r)
	targets := make([]target, 0, len(matches.Wanted)+len(matches.Undecided))
	for _, s := range matches.Wanted {
		if s.Delivery.Ordered {
			targets = append(targets, target{subscription: s})
			continue
		}
		targets = append(targets, p.send(copies, r.msg, s))
	}
	for _, s := range matches.Undecided {
		targets = append(targets, target{subscription: s, undecided: true, err: errMatchBudget})
	}
	return targets
}

// copies makes the deliveries of r. An event that another router may have routed before a NATS
// server crashed is marked: the queues may have forgotten what had left them.
func (p *publisher) copies(r *routed) *delivery.Copies {
	copies := delivery.NewCopies(r.event, r.msg.Stored)
	if p.session.MayForget(r.msg) {
		return copies.Again()
	}
	return copies
}

// send publishes one delivery without waiting. The message id is the same whenever the same
// event is routed again, so the queue stores it once.
func (p *publisher) send(copies *delivery.Copies, m *consume.Message, s *subscription.Subscription) target {
	msg := copies.To(s.Queue.Subject, s.Queue.Stream, delivery.Origin(m.Stream, m.Sequence, m.Stored, s.ID))
	future, err := p.js.PublishMsgAsync(msg, publishOptions...) // it is encoded before this returns
	return target{subscription: s, future: future, err: err}
}

// The router itself tells a missing stream from a slow one, so the client library need not try
// again.
var publishOptions = []jetstream.PublishOpt{jetstream.WithStallWait(5 * time.Second), jetstream.WithRetryAttempts(0)}

// isOrdered reports whether r has deliveries to ordered subscriptions.
func (r *routed) isOrdered() bool {
	return slices.ContainsFunc(r.targets, func(t target) bool { return t.isOrdered() })
}

func (t *target) isOrdered() bool { return t.subscription.Delivery.Ordered && !t.undecided }

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
	default: // a delivery that is stored counts, also when time is up
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
