// Package sender turns deliveries into HTTP requests.
//
// It reads the queues of all active subscriptions and the retry timers that have
// fired. It writes a record of every request to the attempt log, a timer for every
// delivery that has to wait long, and a dead letter for every delivery it gives
// up. A delivery leaves its queue only after these are stored: after a crash a
// request may be made again, under the same delivery id, but none is missing.
//
//	DELIVERIES_<id> ─► pull ─► wait for a turn ─► sync view ─► render, sign ─► request ─► judge
//	      ▲                    (with a rate only)                                           │
//	      │ nak (up to 10 s)                                                                ▼
//	      ├──────────────────────────────────────────────────────── settle ◄─── record in ATTEMPTS
//	      │                                                           ├─► DEADLETTERS
//	      └── pump ◄── RETRIES_<nn> (timers) ◄────────────────────────┘
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
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/subscription"
	"github.com/jetpost/jetpost/subscription/breaker"
)

// Config of a sender.
type Config struct {
	// Egress decides which addresses may be called. Required.
	Egress *subscription.Egress
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
	// HoldInterval is how often the server is told that deliveries which wait for
	// their turn are still held. Default: 20 s, a third of its patience.
	HoldInterval time.Duration
	// Grace is how long requests under way may take to end, and to be recorded,
	// after Run's context has ended. Requests that take longer are broken off and
	// made again by another sender. Default: 45 s, the longest request and 15 s.
	Grace time.Duration
	// Probes is when an endpoint whose breaker is open is tried. Default: after 5 s,
	// doubling up to 1 h, with full jitter.
	Probes breaker.Timing
}

func (c Config) withDefaults() Config {
	if c.UserAgent == "" {
		c.UserAgent = "jetpost"
	}
	if c.Origin == "" {
		c.Origin, _ = os.Hostname() // missing: see validate
	}
	if c.HoldInterval == 0 {
		c.HoldInterval = stream.SenderAckWait / 3
	}
	if c.Grace == 0 {
		c.Grace = 45 * time.Second
	}
	return c
}

func (c Config) validate() error {
	if c.Egress == nil {
		return errors.New("sender: no egress rules: which addresses may be called must be decided")
	}
	if c.Origin == "" || c.HoldInterval < 0 {
		return errors.New("sender: the origin must be a host name, and the hold interval positive")
	}
	return nil
}

// A Sender makes the requests of all active subscriptions.
type Sender struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	layout  stream.Layout
	view    *subscription.View
	store   *subscription.Store
	log     *zap.Logger
	metrics *metrics

	client   *retryablehttp.Client
	attempts *delivery.Log
	letters  *delivery.DeadLetters

	// connected is when the connection was made, or made again (Unix time in
	// nanoseconds): the server may have crashed before it. See lane.remembers.
	connected atomic.Int64

	token    string // names this sender in leases
	breakers *breakers

	clock   clock
	stateMu sync.Mutex
	state   jetstream.KeyValue // once it was found
}

// New returns a sender. view must be kept running by the caller and open its
// secrets; store is where a subscription is disabled whose receiver is gone.
func New(cfg Config, nc *nats.Conn, layout stream.Layout, view *subscription.View, store *subscription.Store, log *zap.Logger, reg prometheus.Registerer) (*Sender, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	js, err := stream.JetStream(nc)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	s := &Sender{
		cfg: cfg, nc: nc, js: js, layout: layout, view: view, store: store, log: log.Named("sender"), metrics: metrics,
		client: newClient(cfg.Egress.Control), attempts: delivery.NewLog(js, layout), letters: delivery.NewDeadLetters(js, layout),
	}
	s.token, s.breakers = rand.Text(), newBreakers()
	s.clock.read = s.serverTime
	s.connected.Store(time.Now().UnixNano())
	return s, nil
}

// Run sends until ctx ends. It returns nil when the requests under way have
// ended and are settled, or the grace period is over.
func (s *Sender) Run(ctx context.Context) error {
	// Requests and their settling outlive ctx by the grace period.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer s.client.HTTPClient.CloseIdleConnections()

	reconnected := s.nc.StatusChanged(nats.CONNECTED)
	defer s.nc.RemoveStatusListener(reconnected)

	var running sync.WaitGroup
	for _, shard := range s.layout.RetryShards() {
		running.Go(func() { s.pump(ctx, work, shard) })
	}
	running.Go(func() { s.followBreakers(ctx) })
	running.Go(func() { s.runLanes(ctx, work) })

	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-reconnected:
			s.connected.Store(time.Now().UnixNano())
		}
	}
	grace := time.AfterFunc(s.cfg.Grace, cancel)
	defer grace.Stop()
	running.Wait()
	return nil
}

// runLanes keeps one lane running for each active subscription.
func (s *Sender) runLanes(ctx, work context.Context) {
	lanes := make(map[string]*lane)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		changed := s.view.Changed()
		snapshot := s.view.Snapshot()
		for id, l := range lanes {
			if sub, ok := snapshot.Get(id); !ok || !l.serves(sub) {
				l.stop()
				delete(lanes, id)
				if !ok {
					s.breakers.forget(id)
				}
			}
		}
		for _, sub := range snapshot.All() {
			if lanes[sub.ID] != nil || sub.State != subscription.Active {
				continue
			}
			laneCtx, stop := context.WithCancel(ctx)
			l := &lane{
				Sender: s, id: sub.ID, terms: termsOf(sub), stop: stop,
				recorder: s.attempts.Recorder(sub.ID), next: make(map[uint64]expectation), breaker: s.breakers.of(sub.ID),
			}
			lanes[sub.ID] = l
			running.Go(func() { l.run(laneCtx, work) })
		}
		s.metrics.lanes.Set(float64(len(lanes)))
		s.countBreakers()
		select {
		case <-ctx.Done():
			for _, l := range lanes {
				l.stop()
			}
			return
		case <-changed:
		}
	}
}
