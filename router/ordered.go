package router

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

const (
	// shortestPoll and longestPoll are the times between two looks at how far the
	// events are settled, while one waits for its turn. Routers that take turns often
	// wait for one event of another; who sees that something is settled begins anew.
	shortestPoll = 250 * time.Microsecond
	longestPoll  = 50 * time.Millisecond
	// thoroughPoll is from when on it is also asked which events were erased.
	thoroughPoll = 16 * shortestPoll
	// floorTimeout bounds one of them.
	floorTimeout = 2 * time.Second
	// lateTurn is after how long a wait is worth a line in the log.
	lateTurn = 30 * time.Second
	// maxNoted bounds how much an order remembers of what it need not ask for.
	maxNoted = 8192
)

// An order has the events of one domain that go to ordered subscriptions wait for
// their turn. It is an event's turn when all events before it in the log are
// settled, so that their deliveries are on their queues, whichever router put them
// there:
//
//	handle ─► by sequence: 7 9 12 ─► are 1 to 6 settled? ─► publish, wait, ack ─► 9
//	              │                     │ yes: the consumer's ack floor is 6, or this
//	              └─ every 2.5 s: held   │ router has stored what is between the two
//	                                     └ no: look again a little later
//
// Other events, and other targets of the same event, do not wait. An order costs
// nothing before the first event has come for it.
//
// Nothing is said to be settled that is not: what cannot be found out waits. An
// event that waits stays pending at the server, so no later one can overtake it
// elsewhere, whatever happens to this router.
type order struct {
	*domainRoute
	running sync.WaitGroup
	changed chan struct{} // there is another first one, or more is settled
	busy    atomic.Bool   // somebody waits: what is settled here is worth noting

	mu      sync.Mutex
	waiting []*routed // by sequence
	stop    context.CancelFunc
	closed  bool

	// All events up to settled are settled, or their deliveries stored by this router;
	// so are those in noted. It is kept for as long as somebody waits, over one
	// connection: a server that has crashed may have forgotten.
	settled    uint64
	noted      map[uint64]struct{}
	reconnects uint64
}

func newOrder(d *domainRoute) *order {
	return &order{domainRoute: d, changed: make(chan struct{}, 1), noted: make(map[uint64]struct{})}
}

// isOrdered reports whether r has to wait for its turn.
func (r *routed) isOrdered() bool {
	return slices.ContainsFunc(r.targets, func(t target) bool { return t.isOrdered() })
}

func (t *target) isOrdered() bool { return t.subscription.Delivery.Ordered && !t.undecided }

// add has an event wait. One that the server has handed out again takes the place
// of its earlier self.
func (o *order) add(r *routed) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		o.nak(r.msg, time.Millisecond)
		return
	}
	if o.stop == nil {
		ctx, cancel := context.WithCancel(o.settleCtx)
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
		o.wake()
	}
	o.busy.Store(true)
	o.metrics.waiting.WithLabelValues(o.domain).Set(float64(len(o.waiting)))
}

func (o *order) find(sequence uint64) (at int, found bool) {
	return slices.BinarySearchFunc(o.waiting, sequence, func(r *routed, s uint64) int { return cmp.Compare(r.msg.Sequence, s) })
}

func (o *order) wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// close hands back who waits, and returns when the one whose turn it was is settled.
func (o *order) close() {
	o.mu.Lock()
	o.closed = true
	for _, r := range o.waiting {
		o.nak(r.msg, time.Millisecond) // with a delay, if only a token one: see Pull in package stream
	}
	o.waiting = nil
	if o.stop != nil {
		o.stop()
		o.metrics.waiting.DeleteLabelValues(o.domain)
	}
	o.mu.Unlock()
	o.running.Wait()
}

// hold tells the server that those who wait are still here.
func (o *order) hold(ctx context.Context) {
	tick := time.NewTicker(stream.HoldEvery)
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

// run routes one event after the other until ctx ends.
func (o *order) run(ctx context.Context) {
	var late lateness
	for poll, seen := shortestPoll, uint64(0); ; {
		r := o.first(ctx)
		if r == nil {
			return
		}
		turn, floor := o.turn(ctx, r.msg.Sequence, poll >= thoroughPoll)
		switch turn {
		case comes:
			if floor != seen {
				poll, seen = shortestPoll, floor
			}
			late.check(o, r.msg.Sequence, floor)
			if late.makesRoom() {
				o.shed()
			}
			o.rest(ctx, r, poll)
			poll = min(2*poll, longestPoll)
			continue
		case here:
			switch taken := o.take(r); {
			case taken && r.msg.Lost():
				r.msg.Leave()
				o.log.Warn("ordered event was out of hand for too long, another router may have it", zap.Uint64("seq", r.msg.Sequence))
			case taken:
				o.route(r)
			}
		case gone:
			if o.take(r) {
				o.log.Debug("event was settled elsewhere or erased, its ordered deliveries are not made here", zap.Uint64("seq", r.msg.Sequence))
				o.ack(r.msg) // in case the server still waits for it; otherwise this changes nothing
			}
		}
		poll = shortestPoll
	}
}

// first waits for the first of those who wait; nil when ctx has ended.
func (o *order) first(ctx context.Context) *routed {
	for ctx.Err() == nil {
		o.mu.Lock()
		if len(o.waiting) > 0 {
			r := o.waiting[0]
			o.mu.Unlock()
			return r
		}
		o.busy.Store(false)
		o.forget()
		o.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-o.changed:
		}
	}
	return nil
}

// take reports whether r still waits, and takes it out.
func (o *order) take(r *routed) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, found := o.find(r.msg.Sequence)
	if !found || o.waiting[at] != r {
		return false
	}
	o.waiting = slices.Delete(o.waiting, at, at+1)
	o.metrics.waiting.WithLabelValues(o.domain).Set(float64(len(o.waiting)))
	return true
}

// forget drops what is known about what is settled.
func (o *order) forget() {
	o.settled = 0
	clear(o.noted)
}

// note takes down that all deliveries of an event are stored.
func (o *order) note(sequence uint64) {
	if !o.busy.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if sequence <= o.settled {
		return
	}
	if len(o.noted) >= maxNoted {
		clear(o.noted) // the server is asked instead
	}
	o.noted[sequence] = struct{}{}
	o.raise(o.settled)
}

// raise takes down that all events up to a sequence are settled.
func (o *order) raise(to uint64) {
	before := o.settled
	if to > o.settled {
		o.settled = to
		for sequence := range o.noted {
			if sequence <= to {
				delete(o.noted, sequence)
			}
		}
	}
	for {
		if _, ok := o.noted[o.settled+1]; !ok {
			break
		}
		o.settled++
		delete(o.noted, o.settled)
	}
	if o.settled != before {
		o.wake()
	}
}

// A turn is whether an event may be routed.
type turn int

const (
	comes turn = iota // not yet
	here              // now
	gone              // never: another router has settled it, or it was erased
)

// turn finds out whether it is the turn of the event at a sequence. floor is up to
// where the server says that events are settled. thorough also looks for events that are
// there no more: they hold the ack floor back.
func (o *order) turn(ctx context.Context, sequence uint64, thorough bool) (t turn, floor uint64) {
	if o.isHereByNotes(sequence) {
		return here, 0
	}
	ctx, cancel := context.WithTimeout(ctx, floorTimeout)
	defer cancel()
	log := o.layout.EventLog(o.domain)
	floor, err := stream.AckFloor(ctx, o.js, log, stream.RouterConsumer)
	if err != nil {
		o.cannotTell(sequence, err)
		return comes, 0
	}
	if floor >= sequence {
		return gone, floor
	}
	o.mu.Lock()
	o.raise(floor)
	settled := o.settled
	o.mu.Unlock()
	if settled >= sequence-1 {
		return here, floor
	}
	if thorough {
		erased, err := stream.Erased(ctx, o.js, log, settled+1, sequence-1)
		if err != nil {
			o.cannotTell(sequence, err)
		}
		if erased {
			return here, floor
		}
	}
	return comes, floor
}

// isHereByNotes reports whether it is known without asking that it is the turn of an
// event. One that should be settled, and has come again, says that what is known is
// not true any more.
func (o *order) isHereByNotes(sequence uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if reconnects := o.nc.Stats().Reconnects; reconnects != o.reconnects || o.settled >= sequence {
		o.reconnects = reconnects
		o.forget()
	}
	return o.settled == sequence-1
}

// cannotTell is quiet: who has to wait for long is reported, see lateness.
func (o *order) cannotTell(sequence uint64, err error) {
	o.log.Debug("cannot ask how far events are settled, what is ordered waits", zap.Uint64("seq", sequence), zap.Error(err))
}

// route publishes what r has for ordered subscriptions, and acknowledges it when all
// of its deliveries are stored. Only then comes the next.
func (o *order) route(r *routed) {
	defer stream.KeepHolding(r.msg)() // publishing may wait for room
	copies := o.copies(r)
	for n := range r.targets {
		if t := &r.targets[n]; t.isOrdered() {
			*t = o.send(copies, r.msg, t.subscription)
		}
	}
	timeUp, cancel := context.WithTimeout(o.settleCtx, patience)
	stored := r.awaitAll(timeUp.Done())
	cancel()
	if !stored {
		for n := range r.targets {
			// An answer that was lost, with the leader of a stream, takes long to be missed.
			// Others wait here: publish again at once, under the same id.
			if t := &r.targets[n]; !t.stored && t.err == nil {
				t.err = errNoAnswer
			}
		}
		o.settleTroubled(r) // or hands it back, and those behind it wait
		return
	}
	o.metrics.routed(o.domain, len(r.targets))
	o.note(r.msg.Sequence)
	if o.goesOn() {
		o.ack(r.msg)
	} else {
		o.ackSync(r.msg) // and with it those before
	}
}

var errNoAnswer = errors.New("the stream of the queue does not answer")

// goesOn reports whether it is known that the next one may go.
func (o *order) goesOn() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) > 0 && o.waiting[0].msg.Sequence == o.settled+1
}

// lateness is how long the first one has been waiting.
type lateness struct {
	sequence uint64
	since    time.Time
	told     bool
	shed     time.Time // when those behind it have made room last
}

// makesRoom reports, now and then, that it is time for those behind to do so.
func (l *lateness) makesRoom() bool {
	if time.Since(l.since) < shedAfter || time.Since(l.shed) < shedAfter {
		return false
	}
	l.shed = time.Now()
	return true
}

func (l *lateness) check(o *order, sequence, floor uint64) {
	if l.sequence != sequence {
		*l = lateness{sequence: sequence, since: time.Now()}
	}
	if !l.told && time.Since(l.since) > lateTurn {
		l.told = true
		o.log.Warn("ordered deliveries wait for an earlier event to be settled", zap.Uint64("seq", sequence), zap.Uint64("settled", floor))
	}
}

// rest waits until it is time to ask again whether it is the turn of r, the first of
// those who wait, or until that is known.
func (o *order) rest(ctx context.Context, r *routed, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-o.changed:
		}
		o.mu.Lock()
		known := len(o.waiting) == 0 || o.waiting[0] != r || o.settled >= r.msg.Sequence-1
		o.mu.Unlock()
		if known {
			return
		}
	}
}
