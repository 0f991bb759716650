package router

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
)

const (
	// shortestPoll and longestPoll are the times between two checks how far the events are
	// settled, while one waits. Routers that alternate often wait for one event of another; when
	// more is settled, polling begins again at the shortest.
	shortestPoll = 250 * time.Microsecond
	longestPoll  = 50 * time.Millisecond
	// thoroughPoll is from when on it is also checked which events were erased.
	thoroughPoll = 16 * shortestPoll
	// checkTimeout bounds one check.
	checkTimeout = 2 * time.Second
	// logAfter is after how long a wait is logged.
	logAfter = 30 * time.Second
	// shedAfter is how long an event waits before those behind it are handed back to free
	// memory.
	shedAfter = 2 * time.Second
)

// An order routes the events of one domain that go to ordered subscriptions, one after the
// other. An event is ready when all events before it in the log are settled, so that their
// deliveries are on their queues, whichever router put them there:
//
//	add ─► by sequence: 7 9 12 ─► are 1 to 6 settled? ─► publish, await, ack ─► 9
//	           │                     │ yes: the consumer's ack floor is 6, or this router
//	           └─ every 2.5 s: held   │ has stored the deliveries of those between the two
//	                                  └ no: check again a little later
//
// Other events, and other targets of the same event, do not wait. An order costs nothing
// before the first event is added.
//
// Nothing counts as settled that may not be: what cannot be checked waits. An event that waits
// stays pending at the server, so no later one can overtake it elsewhere, whatever happens to
// this router.
type order struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	eventLog string
	settler  *settler
	progress *progress
	running  sync.WaitGroup

	mu      sync.Mutex
	waiting []*routed // by sequence
	stop    context.CancelFunc
	closed  bool
}

func newOrder(nc *nats.Conn, js jetstream.JetStream, eventLog string, settler *settler) *order {
	return &order{nc: nc, js: js, eventLog: eventLog, settler: settler, progress: settler.progress}
}

// add adds an event. One that the server has handed out again replaces its earlier copy.
func (o *order) add(r *routed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		o.settler.nak(r.msg, time.Millisecond)
		return
	}
	if o.stop == nil {
		ctx, cancel := context.WithCancel(o.settler.ctx)
		o.stop = cancel
		o.running.Go(func() { o.run(ctx) })
		o.running.Go(func() { o.hold(ctx) })
	}
	at, found := o.find(r.msg.Sequence)
	if found {
		o.waiting[at].msg.Drop()
		o.waiting[at] = r
	} else {
		o.waiting = slices.Insert(o.waiting, at, r)
	}
	if at == 0 {
		o.progress.wake()
	}
	o.progress.wanted.Store(true)
	o.showWaiting()
}

func (o *order) find(sequence uint64) (at int, found bool) {
	return slices.BinarySearchFunc(o.waiting, sequence, func(r *routed, s uint64) int { return cmp.Compare(r.msg.Sequence, s) })
}

func (o *order) showWaiting() {
	o.settler.metrics.waiting.WithLabelValues(o.settler.domain).Set(float64(len(o.waiting)))
}

// close hands back the events that wait, and returns when the one that is being routed is
// settled.
func (o *order) close() {
	o.mu.Lock()
	o.closed = true
	for _, r := range o.waiting {
		o.settler.nak(r.msg, time.Millisecond) // with a delay, if only a token one: see Pull in package stream
	}
	o.waiting = nil
	if o.stop != nil {
		o.stop()
		o.settler.metrics.waiting.DeleteLabelValues(o.settler.domain)
	}
	o.mu.Unlock()
	o.running.Wait()
}

// hold keeps the server from handing out again the events that wait.
func (o *order) hold(ctx context.Context) {
	tick := time.NewTicker(consume.HoldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		o.mu.Lock()
		for _, r := range o.waiting {
			_ = r.msg.HoldWaiting() // failing that it is handed out again, and waits there
		}
		o.mu.Unlock()
	}
}

// run takes one event after the other through these steps until ctx ends: the first one that
// waits, is it ready, take it, publish, await, acknowledge.
func (o *order) run(ctx context.Context) {
	var wait waiting
	for poll := shortestPoll; ; {
		r := o.first(ctx)
		if r == nil {
			return
		}
		state, floor := o.check(ctx, r.msg.Sequence, poll >= thoroughPoll)
		if state == notReady {
			if wait.moved(r.msg.Sequence, floor) {
				poll = shortestPoll
			}
			wait.log(o.settler.log)
			if wait.isTimeToShed() {
				o.shed()
			}
			o.rest(ctx, r, poll)
			poll = min(2*poll, longestPoll)
			continue
		}
		poll = shortestPoll
		if !o.take(r) { // replaced or handed back meanwhile
			continue
		}
		switch {
		case state == settled:
			o.settler.log.Debug("event was settled elsewhere or erased, its ordered deliveries are not made here", zap.Uint64("seq", r.msg.Sequence))
			o.settler.ack(r.msg) // in case the server still waits for it; otherwise this changes nothing
		case r.msg.Lost():
			r.msg.Leave()
			o.settler.log.Warn("ordered event was held for too long, another router may have it", zap.Uint64("seq", r.msg.Sequence))
		default:
			o.publish(r)
		}
	}
}

// first waits for the first of the events that wait; nil when ctx has ended.
func (o *order) first(ctx context.Context) *routed {
	for ctx.Err() == nil {
		o.mu.Lock()
		if len(o.waiting) > 0 {
			r := o.waiting[0]
			o.mu.Unlock()
			return r
		}
		o.progress.wanted.Store(false)
		o.progress.forget()
		o.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-o.progress.changed:
		}
	}
	return nil
}

// readiness is whether an event may be routed.
type readiness int

const (
	notReady readiness = iota // events before it are not settled
	ready
	settled // by another router, or it was erased
)

// check finds out whether the event at a sequence is ready. floor is up to where the server
// says that events are settled. thorough also looks for erased events: they hold the ack floor
// back.
func (o *order) check(ctx context.Context, sequence uint64, thorough bool) (state readiness, floor uint64) {
	if o.progress.isNext(sequence, o.nc.Stats().Reconnects) {
		return ready, 0
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	floor, err := stream.AckFloor(ctx, o.js, o.eventLog, stream.RouterConsumer)
	if err != nil {
		o.logUnknown(sequence, err)
		return notReady, 0
	}
	if floor >= sequence {
		return settled, floor
	}
	reached := o.progress.raise(floor)
	if reached >= sequence-1 {
		return ready, floor
	}
	if thorough {
		erased, err := stream.Erased(ctx, o.js, o.eventLog, reached+1, sequence-1)
		if err != nil {
			o.logUnknown(sequence, err)
		}
		if erased {
			return ready, floor
		}
	}
	return notReady, floor
}

// logUnknown logs at a low level: a long wait is logged by waiting.
func (o *order) logUnknown(sequence uint64, err error) {
	o.settler.log.Debug("failed to read how far events are settled, ordered events wait", zap.Uint64("seq", sequence), zap.Error(err))
}

// rest waits until it is time to check again whether r, the first that waits, is ready, or
// until that is known.
func (o *order) rest(ctx context.Context, r *routed, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-o.progress.changed:
		}
		o.mu.Lock()
		known := len(o.waiting) == 0 || o.waiting[0] != r
		o.mu.Unlock()
		if known || o.progress.reached(r.msg.Sequence-1) {
			return
		}
	}
}

// take reports whether r still waits, and removes it.
func (o *order) take(r *routed) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, found := o.find(r.msg.Sequence)
	if !found || o.waiting[at] != r {
		return false
	}
	o.waiting = slices.Delete(o.waiting, at, at+1)
	o.showWaiting()
	return true
}

// publish publishes the ordered deliveries of r, and acknowledges it when all of its
// deliveries are stored. Only then the next event is routed.
func (o *order) publish(r *routed) {
	defer consume.KeepHolding(r.msg)() // publishing may wait for room
	copies := o.settler.publisher.copies(r)
	for n := range r.targets {
		if t := &r.targets[n]; t.isOrdered() {
			*t = o.settler.publisher.send(copies, r.msg, t.subscription)
		}
	}
	timeUp, cancel := context.WithTimeout(o.settler.ctx, patience)
	stored := r.awaitAll(timeUp.Done())
	cancel()
	if !stored {
		for n := range r.targets {
			// A response that was lost, with the leader of a stream, is noticed late. Other
			// events wait here: publish again at once, under the same id.
			if t := &r.targets[n]; !t.stored && t.err == nil {
				t.err = errNoAnswer
			}
		}
		o.settler.settleTroubled(r) // or hands it back, and those behind it wait
		return
	}
	o.settler.metrics.routed(o.settler.domain, len(r.targets))
	o.progress.record(r.msg.Sequence)
	if o.nextIsReady() {
		o.settler.ack(r.msg)
	} else {
		o.settler.ackSync(r.msg) // and with it those before
	}
}

var errNoAnswer = errors.New("the stream of the queue does not answer")

// nextIsReady reports whether the next event is known to be ready.
func (o *order) nextIsReady() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) > 0 && o.progress.precedes(o.waiting[0].msg.Sequence)
}

// shed hands back the later half of the events that wait, or the only one, if there is no
// memory for any other event: the one that they wait for may have to be routed here.
func (o *order) shed() {
	if !o.settler.share.Short() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return
	}
	keep := len(o.waiting) / 2
	o.settler.log.Warn("events wait for an earlier one to be settled, handing back the last of them to free memory for it",
		zap.Int("events", len(o.waiting)-keep))
	for _, r := range o.waiting[keep:] {
		o.settler.nak(r.msg, 0) // at once: events that are due by then are handed out before them, new ones after
	}
	clear(o.waiting[keep:])
	o.waiting = o.waiting[:keep]
	o.showWaiting()
}
