// Package sender turns deliveries into HTTP requests.
//
// It reads the queues of all active subscriptions and the retry timers that have fired. It
// writes a record of every request to the attempt log, a timer for every delivery that has to
// wait for its next attempt, and a dead letter for every delivery it gives up. A delivery
// leaves its queue only after these are stored: after a crash a request may be made again,
// under the same delivery id, but none is missing.
//
//	DELIVERIES_<id> ─► worker ─► rate limiter ─► take ─► render ─► attempt ─► judge ─► record ─► settle
//	      ▲                      (with a rate)                                           │        │
//	      │                                                                     ATTEMPTS ┘        ├─► DEADLETTERS
//	      └── pump ◄── RETRIES_<nn> (timers) ◄────────────────────────────────────────────────────┘
//
// A Sender has one worker for each subscription that it owns (package membership); pipeline
// has the steps of one delivery. What a worker needs is in packages of their own: probe while
// the breaker is not closed, ordered for the head of an ordered subscription, handshake for
// the receiver's consent, timers and manual for what follows an attempt. Senders agree with
// each other in the bucket state.
package sender

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
	"github.com/jetpost/jetpost/sender/backlog"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/handshake"
	"github.com/jetpost/jetpost/sender/manual"
	"github.com/jetpost/jetpost/sender/membership"
	"github.com/jetpost/jetpost/sender/ordered"
	"github.com/jetpost/jetpost/sender/probe"
	"github.com/jetpost/jetpost/sender/rate"
	"github.com/jetpost/jetpost/sender/timers"
	"github.com/jetpost/jetpost/sender/transport"
)

// A Sender makes the requests of all active subscriptions.
type Sender struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	layout  stream.Layout
	session *consume.Session
	pulse   *consume.Pulse
	state   *stream.Bucket // on which senders agree
	view    *subscription.View
	log     *zap.Logger
	metrics *metrics

	client      *transport.Client
	attempts    *delivery.Log
	deadLetters *delivery.DeadLetters
	reserve     *stream.Reserve
	disabler    *disabler

	members  *membership.Membership
	keeper   *clock.Keeper
	clock    *clock.Clock
	breakers *probe.Breakers
	asker    *handshake.Asker
	manual   *manual.Successes
	timers   *timers.Timers
	backlogs *backlog.Watcher

	warned int // see warnOfConnections
}

// New returns a sender. view must be kept running by the caller and open its secrets; store is
// where a subscription is disabled.
func New(cfg Config, nc *nats.Conn, layout stream.Layout, view *subscription.View, store *subscription.Store, log *zap.Logger, reg prometheus.Registerer) (*Sender, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	js, err := stream.JetStreamWithin(nc, cfg.Publishing)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	trail := audit.New(js, layout, "sender", log).Report(cfg.Health)
	reserve := stream.NewReserve(js, layout, log)
	log = log.Named("sender")
	state := stream.NewBucket(js, layout.StateBucket())
	client := transport.New(transport.Config{
		Egress: cfg.Egress, Proxies: cfg.Proxies, Connections: cfg.Connections, FreeFiles: cfg.FreeFiles, Held: metrics.held,
	}, log)
	keeper := clock.NewKeeper(js, layout, state, view, log, metrics.clockSet)
	host, _ := os.Hostname() // for people only
	self := members.Member{ID: membership.NewID(), Host: host, PID: cfg.PID, Version: cfg.Version, Started: time.Now().UTC().Truncate(time.Millisecond)}
	s := &Sender{
		cfg: cfg, nc: nc, js: js, layout: layout, session: consume.NewSession(nc), state: state, view: view, log: log, metrics: metrics,
		pulse: &consume.Pulse{OnStall: func(d time.Duration) {
			log.Warn("this process has stood still, deliveries handed to it meanwhile are left to other senders", zap.Duration("duration", d))
		}},
		client: client, attempts: delivery.NewLog(js, layout).Report(cfg.Health), deadLetters: delivery.NewDeadLetters(js, layout), reserve: reserve,
		disabler: &disabler{store: store, trail: trail, events: cfg.Events, log: log},
		members:  membership.New(membership.Config{Self: self, Heartbeat: cfg.Heartbeat, Members: metrics.members}, nc, js, layout, log),
		keeper:   keeper, clock: keeper.Clock(),
		breakers: probe.NewBreakers(probe.Config{
			Member: self.ID, Timing: cfg.Probes, Events: cfg.Events, Open: metrics.breakers, Transitions: metrics.transitions,
		}, state, view, keeper.Clock(), log),
		asker: handshake.New(handshake.Config{
			Origin: cfg.Origin, PublicURL: cfg.PublicURL, UserAgent: cfg.UserAgent, Results: metrics.handshakes,
		}, client, view, store, trail, log),
		manual: manual.New(state, log),
		timers: timers.New(nc, js, layout, keeper.Clock(), log),
		backlogs: backlog.New(backlog.Config{
			LookEvery: cfg.LookEvery, LaggingAfter: cfg.LaggingAfter, Events: cfg.Events, Oldest: metrics.oldest,
		}, js, layout, state, view, log),
	}
	s.attempts.Reserve(reserve)
	return s, nil
}

// CheckMachine returns nil, or why this machine cannot make requests.
func (s *Sender) CheckMachine(context.Context) error { return s.client.CheckMachine() }

// Run sends until ctx ends. It returns nil when the requests under way have ended and are
// settled, or the grace period is over. The other senders are notified first, so that they
// have begun by the time this one stops pulling.
func (s *Sender) Run(ctx context.Context) error {
	// Requests and their settling outlive ctx by the grace period.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	pulling, stopPulling := context.WithCancel(work)
	defer stopPulling()
	defer s.client.CloseIdle()

	var running, alive sync.WaitGroup
	member, leave := context.WithCancel(work)
	defer leave()
	alive.Go(func() { s.members.Run(member) })
	alive.Go(func() { s.pulse.Run(member) })
	for _, shard := range s.layout.RetryShards() {
		pump := timers.NewPump(s.timers, shard, s.view, s.session, s.reserve, s.deadLetters, s.cfg.Health)
		running.Go(func() { pump.Run(pulling, work, s.pulse, s.memoryOfPump()) })
	}
	running.Go(func() { s.keeper.Run(pulling) })
	running.Go(func() { s.timers.WatchOverdue(pulling, s.members.Leads, s.metrics.rearmed) })
	running.Go(func() { s.breakers.Follow(pulling, s.js) })
	running.Go(func() { s.manual.Follow(pulling, s.js) })
	running.Go(func() { s.backlogs.Run(pulling) })
	running.Go(func() { s.runWorkers(pulling, work) })

	<-ctx.Done()
	s.members.Drain(ctx)
	stopPulling()
	grace := time.AfterFunc(s.cfg.Grace, cancel)
	defer grace.Stop()
	running.Wait()
	leave()
	alive.Wait()
	s.members.Leave(ctx)
	return nil
}

// runWorkers keeps one worker running for each active subscription that this sender owns.
func (s *Sender) runWorkers(ctx, work context.Context) {
	workers := make(map[string]*worker)
	var running sync.WaitGroup
	defer running.Wait()
	owned := membership.NewOwnership(s.members, s.cfg.Debounce, s.metrics.gained, s.metrics.lost)
	if !owned.Await(ctx) {
		return
	}
	for {
		changed, now := s.view.Changed(), time.Now()
		snapshot := s.view.Snapshot()
		moved, deleted := owned.Refresh(snapshot)
		for id, w := range workers {
			sub, ok := snapshot.Get(id)
			if ok && w.fits(sub) && !owned.Stops(sub, now) {
				continue
			}
			w.stop()
			delete(workers, id)
			owned.Forget(id)
			if !ok {
				deleted = append(deleted, id)
			}
		}
		for _, id := range deleted {
			s.breakers.Forget(id)
			s.manual.Forget(id)
		}
		for _, sub := range snapshot.All() {
			if workers[sub.ID] != nil || sub.State != subscription.Active || !owned.Starts(sub) {
				continue
			}
			workerCtx, stop := context.WithCancel(ctx)
			w := s.newWorker(sub, stop)
			workers[sub.ID] = w
			running.Go(func() { w.run(workerCtx, work) })
		}
		s.metrics.workers.Set(float64(len(workers)))
		s.warnOfConnections(workers)
		s.breakers.Count()
		expired, stopTimer := owned.Next()
		select {
		case <-ctx.Done():
			for _, w := range workers {
				w.stop()
			}
		case <-changed:
		case <-moved:
		case <-expired:
		}
		stopTimer()
		if ctx.Err() != nil {
			return
		}
	}
}

// newWorker returns a worker for a subscription; stop ends its context.
func (s *Sender) newWorker(sub *subscription.Subscription, stop context.CancelFunc) *worker {
	id, terms := sub.ID, termsOf(sub)
	settler := &settler{
		id: id, queue: terms.queue, js: s.js, layout: s.layout, deadLetters: s.deadLetters, timers: s.timers, manual: s.manual, disabler: s.disabler,
		events: s.cfg.Events, reserve: s.reserve, health: s.cfg.Health, metrics: s.metrics, log: s.log,
	}
	w := &worker{
		id: id, terms: terms, stop: stop,
		nc: s.nc, view: s.view, clock: s.clock, asker: s.asker, breakers: s.breakers, breaker: s.breakers.Of(id, terms.breaker),
		backlogs: s.backlogs, made: s.attempts.Made(id), settler: settler, disabler: s.disabler, metrics: s.metrics, log: s.log,
		userAgent: s.cfg.UserAgent,
		pull: consume.Pull{
			Stream: terms.queue.Stream, Consumer: terms.queue.Consumer, Batch: min(terms.batch, 256),
			Held: consume.NewHeld(stream.AckWait, max(2*sub.Delivery.MaxInFlight, 64)), Memory: s.memoryOf(sub), Alone: s.members.IsAlone, Pulse: s.pulse,
			OnError: func(err error) {
				s.log.Warn("failed to pull deliveries, will retry", zap.String("subscription_id", id), zap.Error(err))
			},
		},
	}
	if terms.rate > 0 {
		w.limiter = func() *rate.Limiter { return rate.NewLimiter(s.state, s.clock, id, terms.rate) }
	}
	if terms.ordered {
		w.order = &order{
			id: id, head: ordered.New(id, s.state, s.session, s.clock), recheck: s.cfg.OrderedRecheck,
			view: s.view, clock: s.clock, endpoint: w.endpointFor, settler: settler, log: s.log,
		}
		settler.order = w.order
	}
	w.pipeline = &pipeline{
		id: id, shard: terms.queue.RetryShard, session: s.session, clock: s.clock, client: s.client, manual: s.manual, timers: s.timers,
		attempts: s.attempts, recorder: s.attempts.Recorder(id), order: w.order, settler: settler, serves: w.serves, current: w.current, metrics: s.metrics, log: s.log,
	}
	return w
}

// warnOfConnections logs that more requests may be under way than connections may be open,
// once for each doubling.
func (s *Sender) warnOfConnections(workers map[string]*worker) {
	inFlight := 0
	for _, w := range workers {
		inFlight += w.terms.batch
	}
	if s.cfg.Connections <= 0 || inFlight <= max(s.cfg.Connections, 2*s.warned) {
		return
	}
	s.warned = inFlight
	s.log.Info("more requests may be under way than connections may be open, the others are held: raise the limit of open files (ulimit -n, LimitNOFILE) or lower max_in_flight",
		zap.Int("in_flight", inFlight), zap.Int("subscriptions", len(workers)), zap.Int("connections", s.cfg.Connections))
}

const (
	// eventCopies is how often the bytes of an event are in memory while its delivery is in
	// hand: as received, as sent, and as a timer, a dead letter, or within an embedded server.
	eventCopies = 3
	// requestCost is what a request under way takes beside the event: the response up to
	// transport.MaxReadBody, or the buffers and stacks of a connection before that.
	requestCost = transport.MaxReadBody
	// requeueCost is what a retry takes beside the event that is put back on its queue.
	requeueCost = 2 << 10
)

// memoryOf is what the deliveries of a subscription may take. Each has at least one in hand,
// whatever the receivers of the others hold: see package budget.
func (s *Sender) memoryOf(sub *subscription.Subscription) consume.Memory {
	if s.cfg.Memory == nil {
		return consume.Memory{}
	}
	return consume.Memory{Share: s.cfg.Memory.Share(sub.Delivery.MaxInFlight), Times: eventCopies, Each: requestCost}
}

// memoryOfPump is what the retries of a shard may take on the way back to their queues.
func (s *Sender) memoryOfPump() consume.Memory {
	if s.cfg.Memory == nil {
		return consume.Memory{}
	}
	return consume.Memory{Share: s.cfg.Memory.Share(0), Times: eventCopies, Each: requeueCost}
}
