// Package router turns events into deliveries.
//
// It reads the event logs and the subscriptions bucket and writes one delivery
// for each subscription that matches. It acknowledges an event only when all of
// its deliveries are stored: after a crash a delivery may be written twice, under
// the same delivery id, but none is missing.
//
//	EVENTS_<domain> ─► pull ─► sync view ─► match ─► publish to each queue ─┐
//	        ▲                                                               ▼
//	        └──────────────────── ack, when every publish is acknowledged ◄─┘
//
// route has the steps of one domain. Any number of routers share the work. Deliveries to
// ordered subscriptions are published event by event, in the order of the log: see order.
// Filters that take long are decided apart: see slowMatcher.
package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// Config of a router.
type Config struct {
	// Domains whose event logs are routed. The logs and the routers' consumers on
	// them must exist; until they do, the router waits. Default: those of Catalogue.
	Domains []string
	// Catalogue lists the domains, where Domains does not. They are routed from when they
	// are registered until they are deleted, without a restart. A schemas.Live must be kept
	// running by the caller.
	Catalogue schemas.Source
	// Grace is how long events in work may take to be settled after Run's context has
	// ended. Events that are not settled by then are routed again by another router.
	// Default: 10 s.
	Grace time.Duration
	// Health is notified of queues that store nothing. Default: none.
	Health *stream.Health
	// Events is where operational events are published. The caller keeps it running.
	// Default: nowhere.
	Events *operational.Publisher
	// Memory bounds what the events in work take, over all domains together. Default:
	// their number is the only bound.
	Memory *budget.Budget
	// Publishing bounds the deliveries that are on their way to their queues, in bytes.
	// Default: their number is the only bound.
	Publishing *budget.Budget
}

func (c Config) withDefaults() Config {
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	return c
}

func (c Config) validate() error {
	if len(c.Domains) == 0 && c.Catalogue == nil {
		return errors.New("router: no domains to route")
	}
	return nil
}

// A Router copies events to the queues of the subscriptions that want them.
type Router struct {
	cfg         Config
	nc          *nats.Conn
	session     *consume.Session
	js          jetstream.JetStream
	layout      stream.Layout
	view        *subscription.View
	deadLetters *delivery.DeadLetters
	log         *zap.Logger
	metrics     *metrics

	overflows, undecided *overflows
	pulse                *consume.Pulse
}

// New returns a router. view must be kept running by the caller; its secrets may
// stay sealed.
func New(cfg Config, nc *nats.Conn, layout stream.Layout, view *subscription.View, log *zap.Logger, reg prometheus.Registerer) (*Router, error) {
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
		return nil, fmt.Errorf("router: %w", err)
	}
	return &Router{
		cfg: cfg, nc: nc, session: consume.NewSession(nc), js: js, layout: layout, view: view,
		deadLetters: delivery.NewDeadLetters(js, layout), log: log.Named("router"), metrics: metrics,
		overflows: newOverflows(cfg.Events, operational.Overflowed, overflowPause, overflowEvery),
		undecided: newOverflows(cfg.Events, operational.OverBudget, overflowPause, overflowEvery),
		pulse: &consume.Pulse{OnStall: func(d time.Duration) {
			log.Named("router").Warn("this process has stood still, events handed to it meanwhile are left to other routers", zap.Duration("duration", d))
		}},
	}, nil
}

// Run routes until ctx ends, and returns nil when what was in work is settled.
func (r *Router) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { r.pulse.Run(ctx); return nil })
	for _, counted := range []*overflows{r.overflows, r.undecided} {
		g.Go(func() error { counted.run(ctx); return nil })
		defer counted.flushAll()
	}
	if len(r.cfg.Domains) > 0 {
		for _, domain := range r.cfg.Domains {
			g.Go(func() error { return r.route(ctx, domain) })
		}
		return g.Wait()
	}
	g.Go(func() error {
		r.follow(ctx, func(ctx context.Context, domain string) {
			g.Go(func() error { return r.route(ctx, domain) })
		})
		return nil
	})
	return g.Wait()
}

// follow starts a route for each domain of the catalogue and ends those of deleted domains,
// until ctx ends. An event that is stored before its domain is known here waits in its log,
// whose consumer was made before.
//
// A route that ends still settles what it has in work. When its domain is registered again
// meanwhile there are two of them, which share the work like two routers.
func (r *Router) follow(ctx context.Context, start func(ctx context.Context, domain string)) {
	ends := map[string]context.CancelFunc{}
	defer func() {
		for _, end := range ends {
			end()
		}
	}()
	for {
		changed := r.cfg.Catalogue.Changed()
		wanted := r.cfg.Catalogue.Current().Names()
		for domain, end := range ends {
			if !slices.Contains(wanted, domain) {
				r.log.Info("domain was deleted, its events are no longer routed", zap.String("domain", domain))
				end()
				delete(ends, domain)
			}
		}
		for _, domain := range wanted {
			if _, routed := ends[domain]; routed {
				continue
			}
			route, end := context.WithCancel(ctx)
			ends[domain] = end
			start(route, domain)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// route runs one domain until ctx ends.
func (r *Router) route(ctx context.Context, domain string) error {
	// Settling outlives ctx by the grace period.
	settling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stopped := context.AfterFunc(ctx, func() { time.AfterFunc(r.cfg.Grace, cancel) })
	defer stopped()

	share := r.cfg.Memory.Share(0)
	publisher := &publisher{js: r.js, session: r.session}
	progress := newProgress()
	settler := &settler{
		domain: domain, ctx: settling, view: r.view, deadLetters: r.deadLetters, publisher: publisher, progress: progress, share: share,
		overflows: r.overflows, undecided: r.undecided, health: r.cfg.Health, metrics: r.metrics, log: r.log.With(zap.String("domain", domain)),
	}
	order := newOrder(r.nc, r.js, r.layout.EventLog(domain), settler)
	return newRoute(r.view, settler, order).run(ctx, r.nc, consume.Pull{
		Stream: r.layout.EventLog(domain), Consumer: stream.RouterConsumer, Pulse: r.pulse, Memory: r.memoryOf(share),
		Held: consume.NewHeld(stream.AckWait, 2*stream.RouterMaxPending),
	}, func(ctx context.Context) { r.followClock(ctx, domain, settler.log) })
}

const (
	// eventCopies is how often the bytes of an event are in memory while it is in work: here,
	// and on their way within an embedded server. Those of its deliveries are counted where
	// they are published.
	eventCopies = 2
	// eventCost is what an event in work takes beside its bytes.
	eventCost = 2 << 10
)

// memoryOf is what the events of one domain may take.
func (r *Router) memoryOf(share *budget.Share) consume.Memory {
	if r.cfg.Memory == nil {
		return consume.Memory{}
	}
	return consume.Memory{Share: share, Times: eventCopies, Each: eventCost}
}
