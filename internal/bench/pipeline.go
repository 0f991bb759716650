package bench

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/router"
	"github.com/jetpost/jetpost/schemas"
	"github.com/jetpost/jetpost/sender"
)

// pipeline is the journey in this process, on a data directory of its own.
type pipeline struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	layout   stream.Layout
	producer *producer.Producer
	reg      *prometheus.Registry
	undo     []func()
}

func (p *pipeline) close() {
	for _, undo := range slices.Backward(p.undo) {
		undo()
	}
}

// open starts the pipeline with these subscriptions.
func (b *bench) open(ctx context.Context, subscriptions []*subscription.Subscription) (p *pipeline, err error) {
	opened := &pipeline{reg: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	p = opened
	dir, err := os.MkdirTemp("", "jetpost-bench-")
	if err != nil {
		return nil, err
	}
	p.undo = append(p.undo, func() { _ = os.RemoveAll(dir) })
	server, err := embedded.Start(embedded.Config{Dir: filepath.Join(dir, "nats")}, b.log)
	if err != nil {
		return nil, err
	}
	p.undo = append(p.undo, func() { _ = server.Stop(context.WithoutCancel(ctx)) })
	connect := func(role, _ string) (*nats.Conn, error) {
		nc, err := server.Connect(role, stream.ConnectOptions(role, b.log)...)
		if err == nil {
			p.undo = append(p.undo, nc.Close)
		}
		return nc, err
	}
	if p.nc, err = connect("control", ""); err != nil {
		return nil, err
	}
	if p.js, err = stream.JetStream(p.nc); err != nil {
		return nil, err
	}
	if p.layout, err = stream.NewLayout(stream.LayoutConfig{}); err != nil {
		return nil, err
	}
	catalogue, err := schemas.Load()
	if err != nil {
		return nil, err
	}
	if err := p.layout.Ensure(ctx, p.js, catalogue.Names()); err != nil {
		return nil, err
	}
	if p.producer, err = producer.New(producer.Config{Prefix: p.layout.Prefix()}, p.js, catalogue, b.log, p.reg); err != nil {
		return nil, err
	}
	keyring, err := keyring.Load(filepath.Join(dir, "keyset.json"))
	if err != nil {
		return nil, err
	}
	store := subscription.NewStore(p.js, p.layout, keyring, b.log)
	if err := b.subscribe(ctx, p, store, subscriptions); err != nil {
		return nil, err
	}
	egress, err := egress.New(egress.Config{AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		return nil, err
	}
	return p, b.startServices(ctx, p, connect, keyring, store, egress)
}

func (b *bench) startServices(ctx context.Context, p *pipeline, connect func(role, use string) (*nats.Conn, error), keyring *keyring.Keyring, store *subscription.Store, egress *egress.Guard) error {
	routerConn, err := connect("router", "")
	if err != nil {
		return err
	}
	senderConn, err := connect("sender", "")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running errgroup.Group
	p.undo = append(p.undo, func() { cancel(); _ = running.Wait() }) // before their connections are closed
	view := subscription.NewView(subscription.ViewConfig{}, p.js, p.layout, keyring, b.log)
	running.Go(func() error { return view.Run(ctx) })
	if _, err := view.Sync(ctx); err != nil {
		return err
	}
	r, err := router.New(router.Config{Domains: []string{"artifact"}}, routerConn, p.layout, view, b.log, p.reg)
	if err != nil {
		return err
	}
	s, err := sender.New(sender.Config{Egress: egress, Probes: benchProbes}, senderConn, p.layout, view, store, b.log, p.reg)
	if err != nil {
		return err
	}
	running.Go(func() error { return r.Run(ctx) })
	running.Go(func() error { return s.Run(ctx) })
	return nil
}

// subscriptions are n that want every event, at the same receiver.
func (b *bench) subscriptions(n int, url string) []*subscription.Subscription {
	subs := make([]*subscription.Subscription, n)
	for i := range subs {
		subs[i] = &subscription.Subscription{
			ID: "bench-" + strconv.Itoa(i), Types: []string{"artifact.deployed"},
			Endpoint: subscription.Endpoint{URL: url},
			Secrets:  []subscription.SigningKey{subscription.NewSigningKey(b.secret, time.Now())},
			Delivery: subscription.Delivery{MaxInFlight: benchInFlight},
		}
		subs[i].SetDefaults(time.Now())
	}
	return subs
}

func (b *bench) subscribe(ctx context.Context, p *pipeline, store *subscription.Store, subscriptions []*subscription.Subscription) error {
	for _, s := range subscriptions {
		s.Queue = p.layout.QueueFor(s.ID)
		if err := p.layout.EnsureQueue(ctx, p.js, s.ID, s.Queue, s.Delivery.MaxInFlight); err != nil {
			return err
		}
		if _, err := store.Create(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
