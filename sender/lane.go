package sender

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/handshake"
	"github.com/jetpost/jetpost/sender/rate"
)

// A lane takes the deliveries of one subscription. How many are under way at a
// time is bounded by the server, over all senders together: the consumer hands
// out no more than the subscription's limit until one is settled. So nothing
// waits in a lane, and no lane waits for another.
type lane struct {
	*Sender
	id    string
	terms terms
	stop  context.CancelFunc

	recorder *delivery.Recorder
	made     *delivery.Made
	held     *stream.Held
	waiting  *rate.Queue // before the requests, where there is a rate
	breaker  *breakerCopy
	guard    guard
	backlog  backlog
	head     *head // where the subscription is ordered
	memory   stream.Memory

	mu       sync.Mutex
	endpoint *endpoint.Endpoint // of the latest revision seen
}

// terms are what a lane is made for. When a subscription gets others it gets
// another lane; everything else is read again for each batch.
type terms struct {
	queue stream.Queue
	batch int
	rate  float64 // requests per second; 0: as many as there are
	// asks: the receiver has to be asked for its consent.
	asks bool
	// blocked: nothing is delivered until it has consented.
	blocked bool
	breaker subscription.Breaker
	// ordered: one delivery at a time, and in place.
	ordered bool
}

func termsOf(sub *subscription.Subscription) terms {
	return terms{
		queue: sub.Queue, batch: sub.Delivery.MaxInFlight, rate: sub.RequestRate(),
		asks: handshake.Asks(&sub.Handshake), blocked: sub.Handshake.Blocks(), breaker: sub.Delivery.BreakerTerms(),
		ordered: sub.Delivery.Ordered,
	}
}

// serves reports whether l does what sub asks for now.
func (l *lane) serves(sub *subscription.Subscription) bool {
	return sub.State == subscription.Active && l.terms == termsOf(sub)
}

// mayServe reports whether deliveries that l has in hand may be sent for sub.
func (l *lane) mayServe(sub *subscription.Subscription) bool {
	return sub.State == subscription.Active && !sub.Handshake.Blocks() && l.terms.rate == sub.RequestRate() && l.terms.ordered == sub.Delivery.Ordered
}

// run pulls until ctx ends; requests under way go on until work ends.
func (l *lane) run(ctx, work context.Context) {
	var requests sync.WaitGroup
	defer requests.Wait()
	l.backlogs.add(ctx, l)
	if l.terms.asks {
		requests.Go(func() { l.asker.Run(ctx, work, l.id) })
	}
	if l.terms.blocked {
		return // the queue waits untouched
	}
	if l.terms.breaker.Mode != subscription.BreakerOn {
		l.flow(ctx, work, &requests)
		return
	}
	if !l.awaitBreakers(ctx) {
		return
	}
	for ctx.Err() == nil {
		if !l.admits() {
			l.tryOut(ctx, work)
			if l.head != nil {
				l.head.goOn() // the endpoint is up, or somebody has said so
			}
			continue
		}
		l.guard.enter()
		closed, cancel := context.WithCancel(ctx)
		requests.Go(func() { l.whileClosed(closed, cancel) })
		l.flow(closed, work, &requests)
		cancel()
	}
}

// flow pulls until ctx ends. It returns when nothing is left in hand but requests
// under way.
func (l *lane) flow(ctx, work context.Context, requests *sync.WaitGroup) {
	var pacing sync.WaitGroup
	defer pacing.Wait()
	handle := func(ctx context.Context, msgs []*stream.Message) { l.serve(ctx, work, requests, msgs) }
	if l.terms.rate > 0 {
		l.waiting = rate.NewQueue()
		handle = func(_ context.Context, msgs []*stream.Message) { l.queueUp(msgs) }
		pacing.Go(func() {
			left := l.waiting.Run(ctx, work, rate.NewLimiter(l.state, l.clock, l.id, l.terms.rate), rate.Outlet{
				Serve: func(msgs []*stream.Message) { l.serve(ctx, work, requests, msgs) },
				Lost:  l.leave,
				Log:   l.log.With(zap.String("subscription_id", l.id)),
			})
			// For another sender; with a delay, if only a token one: see Pull in package stream.
			l.handBack(left, time.Millisecond)
		})
	}
	if l.head != nil {
		handle = l.whenDue(handle)
	}
	handle = l.whenNotMade(handle)
	pull := stream.Pull{
		Stream: l.terms.queue.Stream, Consumer: l.terms.queue.Consumer, Batch: min(l.terms.batch, 256), Handle: handle,
		Held: l.held, Memory: l.memory, Alone: l.members.IsAlone, Pulse: l.pulse,
		OnError: func(err error) {
			l.log.Warn("cannot pull deliveries, will go on trying", zap.String("subscription_id", l.id), zap.Error(err))
		},
	}
	if err := pull.Run(ctx, l.nc); err != nil && ctx.Err() == nil {
		l.log.Error("stopped pulling deliveries", zap.String("subscription_id", l.id), zap.Error(err))
		<-ctx.Done() // the connection is closed for good
	}
}

// queueUp puts deliveries in line, where they wait for their turn.
func (l *lane) queueUp(msgs []*stream.Message) {
	if !l.waiting.Add(msgs) {
		l.handBack(msgs, time.Millisecond) // being stopped
	}
}

// serve starts a request for each delivery.
func (l *lane) serve(ctx, work context.Context, requests *sync.WaitGroup, msgs []*stream.Message) {
	generation := l.guard.current()
	e := l.ready(ctx, msgs)
	if e == nil {
		return
	}
	if !l.admits() { // it has opened meanwhile
		l.handBack(msgs, time.Millisecond)
		return
	}
	for _, m := range msgs {
		requests.Go(func() {
			f := l.deliver(work, e, m, func(f *evidence) { l.count(f, generation) })
			l.openFor(work, e, &f)
		})
	}
}

// ready returns what the requests for msgs need, or hands them back and returns nil.
// The subscription is looked up after the deliveries have arrived, and waited for
// their turn, in a view that holds every change answered by then: a rotated secret
// or a new URL is used from the next attempt on.
func (l *lane) ready(ctx context.Context, msgs []*stream.Message) *endpoint.Endpoint {
	l.backlog.used.Store(true)
	defer stream.KeepHolding(msgs...)()
	snapshot, err := l.view.Sync(ctx)
	if err != nil {
		delay := time.Duration(0) // being stopped: another sender may have them at once
		if ctx.Err() == nil {
			delay = time.Second
			l.log.Warn("cannot bring subscription up to date, deliveries wait", zap.String("subscription_id", l.id), zap.Error(err))
		}
		l.handBack(msgs, delay)
		return nil
	}
	sub, ok := snapshot.Get(l.id)
	if !ok || !l.mayServe(sub) {
		l.handBack(msgs, time.Second) // the lane is about to be stopped
		return nil
	}
	e, err := l.endpointFor(sub)
	if err != nil {
		l.log.Error("subscription cannot be served, its deliveries wait", zap.String("subscription_id", l.id), zap.Error(err))
		l.handBack(msgs, time.Second)
		return nil
	}
	return e
}

// leave says that deliveries are left to other senders.
func (l *lane) leave(deliveries int) {
	l.log.Warn("deliveries were out of hand for too long, they are left to other senders", zap.String("subscription_id", l.id), zap.Int("deliveries", deliveries))
}

func (l *lane) handBack(msgs []*stream.Message, delay time.Duration) {
	for _, m := range msgs {
		l.nak(m, delay)
	}
}

// underway is one delivery that a lane has in hand.
type underway struct {
	m *stream.Message
	d *delivery.Delivery
	e *endpoint.Endpoint
	// trial: the breaker is not closed.
	trial bool
	// found is what the request said about the endpoint.
	found evidence
	// ended is when the request was over, due when the next attempt is. Both have a
	// monotonic reading: steps of the clock do not matter to them.
	ended, due time.Time
	// brokenOff: the request did not end within the grace period of a stop.
	brokenOff bool
	// held: this machine could not make the request.
	held bool
	// certain: d.Attempt is right. It may be too low after a crash, see
	// delivery.Log.
	certain bool
	// again: the queue has handed it out before.
	again bool
	// timersBelow is the sequence from which on timers are not of before; 0: not known.
	timersBelow uint64

	// Of the head of an ordered subscription that was attempted before: when this
	// attempt is due, and how many were made before they were. See headRecord.
	planned time.Time
	early   int
	// counted is for how many times that it was handed out the number of the attempt
	// is right.
	counted int
}

// number is that of the attempt, or a guess: a message that was handed out before,
// to another sender perhaps, has in general had an attempt each time.
func (u *underway) number() int {
	if u.certain {
		return u.d.Attempt
	}
	return u.d.Attempt + max(u.m.Delivered-1-u.counted, 0)
}

// deliver takes one delivery through its attempt, and returns what that says about
// the endpoint. Each step is a method; what cannot be settled now is handed back.
// judged is told of an ordinary delivery's answer as soon as it is there; it is nil for
// a trial.
func (l *lane) deliver(ctx context.Context, e *endpoint.Endpoint, m *stream.Message, judged func(*evidence)) evidence {
	defer m.Leave()
	defer stream.KeepHolding(m)()
	d, err := delivery.FromMessage(l.id, m.Header, m.Data)
	if err != nil {
		l.settleUnreadable(ctx, m, err)
		return evidence{}
	}
	u := &underway{
		m: m, d: d, e: e, certain: !l.session.MayForget(m), again: m.Delivered > 1,
		trial: judged == nil, found: evidence{id: d.ID},
	}
	// The first attempt of the first delivery cannot be a retry.
	if d.Manual == "" && (m.Delivered != 1 || d.Attempt != 1) && l.manual.Has(ctx, d) {
		l.drop(ctx, u)
		return u.found
	}
	if l.head != nil && !l.resume(ctx, u) {
		return u.found
	}
	if u.again && l.head == nil && d.Manual == "" && l.isPlanned(ctx, u) {
		l.ack(m, d)
		return u.found
	}
	if d.Manual == "" && expired(ctx, l.clock, e.Subscription, d) {
		l.giveUp(ctx, u, delivery.ReasonExpired, d.Attempt-1, nil)
		return u.found
	}
	a, wait, err := l.attemptWhenPossible(ctx, u)
	switch {
	case err != nil && d.Manual != "":
		l.recordUnsent(ctx, u, err)
		return u.found
	case err != nil:
		l.giveUp(ctx, u, delivery.ReasonRejected, d.Attempt-1, &delivery.Attempt{Error: e.StrikeError(err)})
		return u.found
	case a == nil: // handed back
		return u.found
	}
	if judged != nil {
		judged(&u.found)
	}
	if l.record(ctx, u, a, wait) {
		l.settle(ctx, u, a)
	}
	return u.found
}

// remembers reports whether the server knows for certain how often it has handed
// out m: see Session in package stream.
func (l *lane) remembers(m *stream.Message) bool { return m.Stored.UnixNano() > l.session.Since() }

func (l *lane) endpointFor(sub *subscription.Subscription) (*endpoint.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.endpoint != nil && l.endpoint.Subscription == sub {
		return l.endpoint, nil
	}
	e, err := endpoint.New(sub, l.cfg.UserAgent)
	if err != nil {
		return nil, err
	}
	l.endpoint = e
	return e, nil
}
