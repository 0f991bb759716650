// Package sender turns deliveries into HTTP requests.
//
// It reads the queues of all active subscriptions and the retry timers that have
// fired. It writes a record of every request to the attempt log, a timer for every
// delivery that has to wait for its next attempt, and a dead letter for every delivery
// it gives up. A delivery leaves its queue only after these are stored: after a crash a
// request may be made again, under the same delivery id, but none is missing.
//
//	DELIVERIES_<id> ─► pull ─► wait for a turn ─► sync view ─► render, sign ─► request ─► judge
//	      ▲                    (with a rate only)                                           │
//	      │                                                                                 ▼
//	      │                                                         settle ◄─── record in ATTEMPTS
//	      │                                                           ├─► DEADLETTERS
//	      └── pump ◄── RETRIES_<nn> (timers) ◄────────────────────────┘
//
// Senders share the subscriptions: each pulls for those that it owns, see membership,
// ownership, and package members.
//
// The first delivery of an ordered subscription is handed back whatever the delay: see
// head.
//
// While a subscription's breaker is open nobody pulls from its queue, but for one
// probe at a time: see trial, and package breaker.
//
// Before the first delivery the receiver is asked for its consent, where the
// subscription says so. Turns are agreed on with the other senders in the bucket
// state.
package sender

import (
	"context"
	"errors"
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
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/internal/subscription/members"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/handshake"
	"github.com/jetpost/jetpost/sender/manual"
	"github.com/jetpost/jetpost/sender/membership"
	"github.com/jetpost/jetpost/sender/transport"
)

// Config of a sender.
type Config struct {
	// Egress decides which addresses may be called. Required.
	Egress *egress.Guard
	// Proxies are those that endpoints may name. What goes through one that is not
	// there is tried again later, and never sent without it. Default: none.
	Proxies *subscription.Proxies
	// UserAgent of every request. Default: "jetpost".
	UserAgent string
	// Origin is the name under which receivers are asked for their consent, a host
	// name for all senders of an installation together. Default: the name of this
	// machine.
	Origin string
	// PublicURL is where the API is reached from outside, https://host without a
	// slash at its end: receivers are told to call back below it. Default: they are
	// not.
	PublicURL string
	// Grace is how long requests under way may take to end, and to be recorded,
	// after Run's context has ended. Requests that take longer are broken off and
	// made again by another sender. Default: 45 s, the longest request and 15 s.
	Grace time.Duration
	// Version of jetpost, shown to those who ask which senders there are.
	Version string
	// PID is the id of this process. A sender that starts on the same machine finds out by
	// it that this one is dead, and need not wait until its record goes by itself.
	// Default: 0, it waits.
	PID int
	// Heartbeat is how often this sender tells the others that it is alive, at least twice
	// within stream.MembersTTL. Default: 1.5 s.
	Heartbeat time.Duration
	// Debounce is for how long this sender goes on with a subscription that another one
	// has taken over. Default: 2 s.
	Debounce time.Duration
	// OrderedRecheck is how often the first delivery of an ordered subscription, while
	// it waits for its next attempt, is looked at: so long may it take until a change
	// of the subscription has it attempted at once. Default: 30 s.
	OrderedRecheck time.Duration
	// Probes is when an endpoint whose breaker is open is tried. Default: after 5 s,
	// doubling up to 1 h, with full jitter.
	Probes breaker.Timing
	// Health is told which streams store nothing. Default: nobody is.
	Health *stream.Health
	// Events is where operational events go. The caller keeps it running. Default:
	// nowhere.
	Events *operational.Publisher
	// LaggingAfter is how long the first delivery of a queue may wait before there is an
	// event about it. Default: 15 min; negative: there is none.
	LaggingAfter time.Duration
	// LookEvery is how often queues in which deliveries wait are looked at, give or take
	// a third. Default: 45 s.
	LookEvery time.Duration
	// Connections is how many connections to receivers may be open at a time. Requests
	// beyond that wait. Default: 0, as many as there are.
	Connections int
	// FreeFiles is how many more files this process may open, beside those that it keeps
	// for what it stores. It is asked for each connection. Default: not known, and not asked.
	FreeFiles func() int
	// Memory bounds what the deliveries in hand take, over all subscriptions together;
	// each has a share. Default: their number is the only bound.
	Memory *budget.Budget
	// Publishing bounds what is on its way to NATS and not stored yet. Default: nothing
	// does.
	Publishing *budget.Budget
}

func (c Config) withDefaults() Config {
	if c.UserAgent == "" {
		c.UserAgent = "jetpost"
	}
	if c.Origin == "" {
		c.Origin, _ = os.Hostname() // missing: see validate
	}
	if c.OrderedRecheck == 0 {
		c.OrderedRecheck = 30 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 45 * time.Second
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 1500 * time.Millisecond
	}
	if c.Debounce == 0 {
		c.Debounce = 2 * time.Second
	}
	if c.LaggingAfter == 0 {
		c.LaggingAfter = 15 * time.Minute
	}
	if c.LookEvery == 0 {
		c.LookEvery = 45 * time.Second
	}
	return c
}

func (c Config) validate() error {
	if c.Egress == nil {
		return errors.New("sender: no egress rules: which addresses may be called must be decided")
	}
	if c.Origin == "" || c.LookEvery < 0 || c.OrderedRecheck < 0 {
		return errors.New("sender: the origin must be a host name, and the intervals positive")
	}
	if c.Heartbeat < 0 || c.Heartbeat > stream.MembersTTL/2 || c.Debounce < 0 {
		return fmt.Errorf("sender: the heartbeat must be positive and at most %s, and the debounce positive", stream.MembersTTL/2)
	}
	return nil
}

// A Sender makes the requests of all active subscriptions.
type Sender struct {
	cfg     Config
	nc      *nats.Conn
	session *stream.Session
	js      jetstream.JetStream
	layout  stream.Layout
	view    *subscription.View
	store   *subscription.Store
	log     *zap.Logger
	metrics *metrics

	clients  *transport.Client
	trail    *audit.Trail
	attempts *delivery.Log
	letters  *delivery.DeadLetters
	reserve  *stream.Reserve

	token    string // names this sender in leases, and among the members
	members  *membership.Membership
	breakers *breakers
	manual   *manual.Successes
	backlogs *backlogs

	warned int // see warnOfConnections
	clock  *clock.Clock
	keeper *clock.Keeper
	asker  *handshake.Asker
	state  *stream.Bucket // what senders agree on
	pulse  *stream.Pulse
}

// New returns a sender. view must be kept running by the caller and open its
// secrets; store is where a subscription is disabled whose receiver is gone.
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
	s := &Sender{
		cfg: cfg, nc: nc, session: stream.NewSession(nc), js: js, layout: layout, state: stream.NewBucket(js, layout.StateBucket()), view: view, store: store, log: log.Named("sender"), metrics: metrics,
		clients: transport.New(transport.Config{Egress: cfg.Egress, Proxies: cfg.Proxies, Connections: cfg.Connections, FreeFiles: cfg.FreeFiles, Held: metrics.held}, log.Named("sender")), trail: audit.New(js, layout, "sender", log).Report(cfg.Health),
		attempts: delivery.NewLog(js, layout).Report(cfg.Health), letters: delivery.NewDeadLetters(js, layout),
	}
	s.reserve = stream.NewReserve(js, layout, log)
	s.attempts.Reserve(s.reserve)
	s.token, s.breakers, s.backlogs, s.pulse = membership.NewID(), newBreakers(), newBacklogs(), &stream.Pulse{OnStall: func(d time.Duration) {
		s.log.Warn("this process has stood still, the deliveries that it was handed meanwhile are left to others", zap.Duration("duration", d))
	}}
	host, _ := os.Hostname() // it is for people only
	s.members = membership.New(membership.Config{Self: members.Member{ID: s.token, Host: host, PID: cfg.PID, Version: cfg.Version, Started: time.Now().UTC().Truncate(time.Millisecond)}, Heartbeat: cfg.Heartbeat, Members: metrics.members}, nc, js, layout, s.log)
	s.asker = handshake.New(handshake.Config{Origin: cfg.Origin, PublicURL: cfg.PublicURL, UserAgent: cfg.UserAgent, Results: metrics.handshakes}, s.clients, view, store, s.trail, s.log)
	s.manual = manual.New(s.state, s.log)
	s.keeper = clock.NewKeeper(js, layout, s.state, view, s.log, metrics.clockSet)
	s.clock = s.keeper.Clock()
	return s, nil
}

// Run sends until ctx ends. It returns nil when the requests under way have
// ended and are settled, or the grace period is over. The other senders are told first,
// so that they have begun by the time this one stops pulling.
func (s *Sender) Run(ctx context.Context) error {
	// Requests and their settling outlive ctx by the grace period.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	pulling, stopPulling := context.WithCancel(work)
	defer stopPulling()
	defer s.clients.CloseIdle()

	var running, partaking sync.WaitGroup
	alive, leave := context.WithCancel(work)
	defer leave()
	partaking.Go(func() { s.members.Run(alive) })
	partaking.Go(func() { s.pulse.Run(alive) })
	for _, shard := range s.layout.RetryShards() {
		running.Go(func() { s.pump(pulling, work, shard) })
	}
	running.Go(func() { s.keeper.Run(pulling) })
	running.Go(func() { s.followBreakers(pulling) })
	running.Go(func() { s.manual.Follow(pulling, s.nc) })
	running.Go(func() { s.watchBacklogs(pulling) })
	running.Go(func() { s.watchPending(pulling) })
	running.Go(func() { s.runLanes(pulling, work) })

	<-ctx.Done()
	s.members.Drain(ctx)
	stopPulling()
	grace := time.AfterFunc(s.cfg.Grace, cancel)
	defer grace.Stop()
	running.Wait()
	leave()
	partaking.Wait()
	s.members.Leave(ctx)
	return nil
}

// runLanes keeps one lane running for each active subscription that this sender owns.
func (s *Sender) runLanes(ctx, work context.Context) {
	lanes := make(map[string]*lane)
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
		for _, id := range deleted { // where there is a lane, its end does so
			s.breakers.forget(id)
			s.manual.Forget(id)
		}
		for id, l := range lanes {
			sub, ok := snapshot.Get(id)
			if ok && l.serves(sub) && !owned.Stops(sub, now) {
				continue
			}
			l.stop()
			delete(lanes, id)
			owned.Forget(id)
			if !ok {
				s.breakers.forget(id)
				s.manual.Forget(id)
			}
		}
		for _, sub := range snapshot.All() {
			if lanes[sub.ID] != nil || sub.State != subscription.Active || !owned.Starts(sub) {
				continue
			}
			laneCtx, stop := context.WithCancel(ctx)
			l := &lane{
				Sender: s, id: sub.ID, terms: termsOf(sub), stop: stop,
				recorder: s.attempts.Recorder(sub.ID), made: s.attempts.Made(sub.ID), breaker: s.breakers.of(sub.ID),
				memory: s.memoryOf(sub), held: stream.NewHeld(stream.AckWait, max(2*sub.Delivery.MaxInFlight, 64)),
			}
			if l.terms.ordered {
				l.head = new(head)
			}
			lanes[sub.ID] = l
			running.Go(func() { l.run(laneCtx, work) })
		}
		s.metrics.lanes.Set(float64(len(lanes)))
		s.warnOfConnections(lanes)
		s.countBreakers()
		expired, stopTimer := owned.Next()
		select {
		case <-ctx.Done():
			for _, l := range lanes {
				l.stop()
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
