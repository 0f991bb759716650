package sender

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/backlog"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/handshake"
	"github.com/jetpost/jetpost/sender/probe"
	"github.com/jetpost/jetpost/sender/rate"
)

// madeTimeout bounds reading the attempt log.
const madeTimeout = 4 * time.Second

// handler is what is done with deliveries that were pulled together.
type handler func(context.Context, []*consume.Message)

// A worker pulls the deliveries of one subscription. How many are under way at a time is
// bounded by the server, over all senders together: the consumer hands out no more than the
// subscription's limit until one is settled. So nothing waits in a worker, and no worker waits
// for another.
type worker struct {
	id    string
	terms terms
	stop  context.CancelFunc

	nc       *nats.Conn
	pull     consume.Pull // of one batch; its handler is set by from
	view     *subscription.View
	clock    *clock.Clock
	asker    *handshake.Asker
	breakers *probe.Breakers
	breaker  *probe.Breaker
	backlogs *backlog.Watcher
	backlog  *backlog.Queue
	limiter  func() *rate.Limiter // nil: there is no rate
	waiting  *rate.Queue          // before the requests, where there is a rate
	order    *order               // where the subscription is ordered
	made     *delivery.Made
	pipeline *pipeline
	settler  *settler
	disabler *disabler
	metrics  *metrics
	log      *zap.Logger

	userAgent string
	mu        sync.Mutex
	endpoint  *endpoint.Endpoint // of the latest known revision
}

// terms are those for which a worker is made. When the subscription changes them it gets
// another worker; everything else is read again for each batch.
type terms struct {
	queue stream.Queue
	batch int
	rate  float64 // requests per second; 0: not limited
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

// fits reports whether w is the worker that sub needs.
func (w *worker) fits(sub *subscription.Subscription) bool {
	return sub.State == subscription.Active && w.terms == termsOf(sub)
}

// maySend reports whether deliveries that w has in hand may be sent for sub.
func (w *worker) maySend(sub *subscription.Subscription) bool {
	return sub.State == subscription.Active && !sub.Handshake.Blocks() && w.terms.rate == sub.RequestRate() && w.terms.ordered == sub.Delivery.Ordered
}

// serves reports whether the subscription is still as it is in e, and sends.
func (w *worker) serves(e *endpoint.Endpoint) bool {
	sub, ok := w.view.Snapshot().Get(w.id)
	return ok && sub.Revision == e.Subscription.Revision && w.maySend(sub) && w.breaker.Admits()
}

// current reports whether the subscription is still as it is in an endpoint, in a view that
// holds every change answered by now.
func (w *worker) current(ctx context.Context, e *endpoint.Endpoint) bool {
	snapshot, err := w.view.Sync(ctx)
	if err != nil {
		return false
	}
	sub, ok := snapshot.Get(w.id)
	return ok && sub.Revision == e.Subscription.Revision && w.maySend(sub)
}

// run pulls until ctx ends; requests under way continue until work ends.
func (w *worker) run(ctx, work context.Context) {
	var requests sync.WaitGroup
	defer requests.Wait()
	// The backlog is watched for longer than deliveries are pulled, which they are not while
	// there is no consent.
	w.backlog = w.backlogs.Add(ctx, w.id, backlog.Source{
		Queue: w.terms.queue, Held: func() bool { return w.terms.blocked || !w.breaker.Admits() }, BreakerState: w.breaker.State,
	})
	if w.terms.asks {
		requests.Go(func() { w.asker.Run(ctx, work, w.id) })
	}
	if w.terms.blocked {
		return // the queue waits untouched
	}
	if !w.breaker.IsOn() {
		w.send(ctx, work, &requests)
		return
	}
	if !w.breakers.Await(ctx) {
		return
	}
	for ctx.Err() == nil {
		if w.breaker.Admits() {
			closed, stop := w.breaker.WhileClosed(ctx)
			w.send(closed, work, &requests)
			stop()
			continue
		}
		probe.NewProber(w.breaker, w.probeQueue(), w.limiter).Run(ctx, work)
		if w.order != nil {
			w.order.head.Hurry() // the endpoint is up, or an operator has closed the breaker
		}
	}
}

// send pulls and sends until ctx ends. It returns when only requests under way are left.
//
//	pull ─► dropMade ─► (whenDue, where ordered) ─► (rate.Queue, with a rate) ─► serve
func (w *worker) send(ctx, work context.Context, requests *sync.WaitGroup) {
	var limiting sync.WaitGroup
	defer limiting.Wait()
	handle := func(ctx context.Context, msgs []*consume.Message) { w.serve(ctx, work, requests, msgs) }
	if w.limiter != nil {
		w.waiting = rate.NewQueue()
		handle = func(_ context.Context, msgs []*consume.Message) {
			if !w.waiting.Add(msgs) {
				w.settler.handBack(msgs, time.Millisecond) // the worker stops
			}
		}
		limiting.Go(func() {
			left := w.waiting.Run(ctx, work, w.limiter(), rate.Outlet{
				Serve: func(msgs []*consume.Message) { w.serve(ctx, work, requests, msgs) },
				Lost:  w.settler.leave,
				Log:   w.log.With(zap.String("subscription_id", w.id)),
			})
			// For another sender; with a delay, if only a token one: see Pull in package stream.
			w.settler.handBack(left, time.Millisecond)
		})
	}
	if w.order != nil {
		handle = w.order.whenDue(handle)
	}
	pull := w.pull
	pull.Handle = w.dropMade(handle)
	if err := pull.Run(ctx, w.nc); err != nil && ctx.Err() == nil {
		w.log.Error("stopped pulling deliveries", zap.String("subscription_id", w.id), zap.Error(err))
		<-ctx.Done() // the connection is closed
	}
}

// dropMade calls next with the deliveries that are still to be made. Those that may have been
// queued twice, because a NATS server has crashed, are acknowledged when the attempt log says
// that they were delivered: see delivery.Made. It is the first step, as it may take a while:
// later steps must not use a subscription that has changed meanwhile.
func (w *worker) dropMade(next handler) handler {
	return func(ctx context.Context, msgs []*consume.Message) {
		if !slices.ContainsFunc(msgs, func(m *consume.Message) bool { return delivery.MayBeMade(m.Header) }) {
			next(ctx, msgs)
			return
		}
		defer consume.KeepHolding(msgs...)()
		limited, cancel := context.WithTimeout(ctx, madeTimeout)
		defer cancel()
		toMake := msgs[:0]
		for _, m := range msgs {
			if !delivery.MayBeMade(m.Header) || !w.settleMade(limited, m) {
				toMake = append(toMake, m)
			}
		}
		if len(toMake) > 0 {
			next(ctx, toMake)
		}
	}
}

// settleMade settles a delivery that was made, and reports whether it has. When the attempt
// log cannot be read the delivery waits: its attempt could not be recorded either.
func (w *worker) settleMade(ctx context.Context, m *consume.Message) bool {
	d, err := delivery.FromMessage(w.id, m.Header, m.Data)
	if err != nil || d.Manual != "" {
		return false // the pipeline settles it; a manual attempt is made once more
	}
	made, err := w.made.Has(ctx, d, m.Stored, w.clock.Now(ctx))
	switch {
	case err != nil:
		w.log.Warn("failed to read whether a delivery was made before, it waits",
			zap.String("subscription_id", w.id), zap.String("delivery_id", d.ID), zap.Error(err))
		w.settler.nak(m, time.Second)
	case made:
		w.metrics.repeatsAvoided.Inc()
		w.log.Info("delivery was made before NATS crashed, it is not repeated", zap.String("subscription_id", w.id),
			zap.String("delivery_id", d.ID), zap.String("event_id", d.Event.ID), zap.Uint64("seq", m.Sequence))
		w.settler.ack(m, d)
	}
	return err != nil || made
}

// serve starts a request for each delivery.
func (w *worker) serve(ctx, work context.Context, requests *sync.WaitGroup, msgs []*consume.Message) {
	generation := w.breaker.Generation()
	e := w.ready(ctx, msgs)
	if e == nil {
		return
	}
	if !w.breaker.Admits() { // it has opened meanwhile
		w.settler.handBack(msgs, time.Millisecond)
		return
	}
	for _, m := range msgs {
		requests.Go(func() {
			f := w.pipeline.deliver(work, e, m, func(f *probe.Evidence) { w.breaker.Count(f, generation) })
			w.breaker.Open(work, e, &f)
		})
	}
}

// ready returns the endpoint of the requests for msgs, or hands them back and returns nil. The
// subscription is looked up after the deliveries have arrived, and passed the rate limiter, in
// a view that holds every change answered by then: a rotated secret or a new URL is used from
// the next attempt on.
func (w *worker) ready(ctx context.Context, msgs []*consume.Message) *endpoint.Endpoint {
	w.backlog.Used.Store(true)
	defer consume.KeepHolding(msgs...)()
	snapshot, err := w.view.Sync(ctx)
	if err != nil {
		delay := time.Duration(0) // the worker stops: another sender may have them at once
		if ctx.Err() == nil {
			delay = time.Second
			w.log.Warn("failed to bring subscription up to date, deliveries wait", zap.String("subscription_id", w.id), zap.Error(err))
		}
		w.settler.handBack(msgs, delay)
		return nil
	}
	sub, ok := snapshot.Get(w.id)
	if !ok || !w.maySend(sub) {
		w.settler.handBack(msgs, time.Second) // the worker is about to be stopped
		return nil
	}
	e, err := w.endpointFor(sub)
	if err != nil {
		w.log.Error("subscription cannot be served, its deliveries wait", zap.String("subscription_id", w.id), zap.Error(err))
		w.settler.handBack(msgs, time.Second)
		return nil
	}
	return e
}

func (w *worker) endpointFor(sub *subscription.Subscription) (*endpoint.Endpoint, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.endpoint != nil && w.endpoint.Subscription == sub {
		return w.endpoint, nil
	}
	e, err := endpoint.New(sub, w.userAgent)
	if err != nil {
		return nil, err
	}
	w.endpoint = e
	return e, nil
}

// probeQueue is what a prober does with the deliveries of the subscription.
func (w *worker) probeQueue() probe.Queue {
	return probe.Queue{
		Pull: func(ctx context.Context, batch int, handle func([]*consume.Message)) error {
			pull := w.pull
			pull.Batch, pull.Once = batch, true
			pull.Handle = w.dropMade(func(_ context.Context, msgs []*consume.Message) { handle(msgs) })
			return pull.Run(ctx, w.nc)
		},
		IsEmpty: func(ctx context.Context) bool { return w.backlogs.IsEmpty(ctx, w.terms.queue) },
		Ready:   w.ready,
		Expired: func(ctx context.Context, e *endpoint.Endpoint, m *consume.Message) bool {
			d, err := delivery.FromMessage(w.id, m.Header, m.Data)
			return err != nil || d.Manual == "" && expired(ctx, w.clock, e.Subscription, d)
		},
		Deliver: func(ctx context.Context, e *endpoint.Endpoint, m *consume.Message) probe.Evidence {
			return w.pipeline.deliver(ctx, e, m, nil)
		},
		HandBack: w.settler.handBack,
		Disable:  func(ctx context.Context, reason string) error { return w.disabler.disable(ctx, w.id, reason) },
	}
}
