package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/admin/upkeep"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/cli/catalogue"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/logging"
	"github.com/jetpost/jetpost/internal/memory"
	"github.com/jetpost/jetpost/internal/operational"
	registry "github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/router"
	"github.com/jetpost/jetpost/schemas"
	"github.com/jetpost/jetpost/sender"
)

// The roles a process can have. They never call each other: they meet in NATS.
const (
	roleProducer = "producer" // accepts events over HTTP
	roleRouter   = "router"   // copies events to the queues of subscriptions
	roleSender   = "sender"   // makes the requests
	roleAdmin    = "admin"    // manages subscriptions, and creates what is missing in NATS
)

// serveCmd is `jetpost serve`.
type serveCmd struct {
	HTTP  string   `name:"http" default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where to serve the API, its description (/docs, /openapi.json), /livez, /readyz and /metrics. Port 0 takes a free one. It speaks plain HTTP: put a TLS proxy before it when it leaves this machine."`
	Data  string   `default:"./data" type:"path" placeholder:"DIR" help:"Data directory: the embedded NATS server's streams, the admin token, the key that encrypts secrets."`
	Roles []string `default:"producer,router,sender,admin" enum:"producer,router,sender,admin" placeholder:"ROLE" help:"What this process does: producer, router, sender, admin. Default: all."`

	NATS      string `name:"nats" group:"NATS" placeholder:"URL" help:"Use this NATS server or cluster (comma-separated URLs) instead of the embedded one. Credentials go into the URL, or into --nats-creds."`
	NATSCreds string `name:"nats-creds" group:"NATS" type:"existingfile" placeholder:"FILE" help:"NATS credentials file."`
	NATSSync  string `name:"nats-sync" group:"NATS" default:"interval" enum:"interval,always" help:"When the embedded server forces writes to the disk. interval: every two minutes; survives a crash of the process, not a power loss. always: before each acknowledgement; survives both and is several times slower."`
	Prefix    string `group:"NATS" placeholder:"NAME" help:"Goes before every stream and subject, so that two installations can share one NATS account."`
	Replicas  int    `group:"NATS" default:"1" help:"Copies of every stream: 1 on a single server, 3 on a cluster."`

	AllowTarget []netip.Prefix `group:"Security" placeholder:"CIDR" help:"Private networks that subscriptions may send to, over http or https and to any port: 127.0.0.0/8, 10.1.0.0/16. Without it only public addresses are allowed."`
	Proxy       []string       `group:"Security" sep:"none" placeholder:"KEY=URL" help:"An HTTP proxy that subscriptions can name by its key (endpoint.proxy), over http or https, with a user name and password if it wants them: eu=http://user:password@proxy.example.com:3128. Every sender and admin needs the same. Can be repeated; JETPOST_PROXY has one of them per line, which other users of this machine cannot read."`
	AllowHTTP   bool           `name:"allow-http" group:"Security" help:"Allow http URLs to public addresses. Deliveries are signed, but anyone on the way can read them."`
	Keyset      string         `group:"Security" type:"path" placeholder:"FILE" help:"Key that encrypts the secrets of subscriptions. Senders and admins of one installation need the same. Default: keyset.json in the data directory, made at the first start."`
	AdminToken  string         `name:"admin-token" group:"Security" placeholder:"TOKEN" help:"Token with the role admin, with which others are made (jetpost token create). Best given by the environment. Default: admin.token in the data directory, made at the first start."`
	APIRate     float64        `name:"api-rate" group:"Security" default:"500" placeholder:"N" help:"How many requests per second the API answers to one token that has no rate of its own; twice as many at once. More get 429. Publishing events does not count. 0: any number."`

	handshakeFlags
	operationalFlags

	Memory     memory.Size `default:"auto" placeholder:"SIZE" help:"How much memory this process may take: 512MiB, 4GiB. What may be in hand at a time follows from it, and when garbage is collected. auto: what the environment variable GOMEMLIMIT says, or the limit of the cgroup (container) that it runs in, or else half of the machine; with the last it plans for 1 GiB at most."`
	AcceptLoss []string    `name:"accept-loss" group:"NATS" env:"-" placeholder:"STREAM" help:"Accept the losses of this stream, which /readyz and the log name, and continue; a missing stream is created again. Can be repeated; all stands for all of them. The audit trail records it."`

	Schemas   []string      `type:"existingdir" placeholder:"DIR" help:"Folders with event domains of your own, beside those that ship (schemas/README.md). Every process needs the same. To add domains without a restart use jetpost schemas push."`
	Grace     time.Duration `default:"45s" help:"How long work in flight may take to end when jetpost is stopped."`
	LogLevel  string        `group:"Log" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error. info has one line for each request made."`
	LogFormat string        `group:"Log" default:"auto" enum:"auto,json,console" help:"json, console, or auto: console on a terminal."`

	proxies *subscription.Proxies // what Proxy means
	memory  memory.Plan           // what Memory means
	alone   func() bool           // with NATS inside: whether no other process of jetpost is connected

	// listening gets the base URL once requests are answered. For tests.
	listening func(url string)
}

// Help is the long text of --help.
func (c *serveCmd) Help() string {
	return `Runs all of jetpost in one process, on an embedded NATS server, or a part of it on a NATS
server or cluster of your own. The first start creates the first admin token, and prints where
it is; jetpost token creates others, with the role that each needs. The process ends cleanly at
SIGTERM: work in flight is finished or handed back.

Examples:

  jetpost serve
  jetpost serve --data /var/lib/jetpost --http 0.0.0.0:8080
  jetpost serve --allow-target 127.0.0.0/8,10.1.0.0/16            endpoints in private networks
  jetpost serve --roles sender --nats nats://nats.example.com --keyset keyset.json`
}

// Run serves until the context ends.
func (c *serveCmd) Run(e *terminal.Env) error {
	log, flush := logging.New(e.Stderr, c.LogLevel, c.LogFormat)
	defer flush()
	defer logging.CaptureLibraries(log)()
	return c.serve(e.Ctx, e.Stdout, log)
}

func (c *serveCmd) has(role string) bool { return slices.Contains(c.Roles, role) }

// serve answers requests from the first moment on, beside the rest: streams of which
// files are damaged, or that are lost, may keep that waiting for long.
func (c *serveCmd) serve(ctx context.Context, out io.Writer, log *zap.Logger) error {
	c.memory = memory.NewPlan(c.Memory, c.NATS == "", log)
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := c.memory.Register(reg); err != nil {
		return err
	}
	// The listener starts before NATS: a port in use is reported at once.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.HTTP)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.HTTP, err)
	}
	defer func() { _ = listener.Close() }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	front := newFront(reg)
	var answering errgroup.Group
	answering.Go(func() error {
		defer stop()
		defer close(front.done)
		return serveHTTP(ctx, listener, front, log)
	})
	err = c.compose(ctx, out, front, "http://"+listener.Addr().String(), reg, log)
	stop()
	return errors.Join(err, answering.Wait())
}

// compose is the composition of jetpost, one straight line: what is needed first
// comes first, and the defers undo it in the opposite order. It is not split
// because the order is the point.
func (c *serveCmd) compose(ctx context.Context, out io.Writer, front *frontHandler, url string, reg *prometheus.Registry, log *zap.Logger) (err error) {
	loaded, err := catalogue.Load(c.Schemas...)
	if err != nil {
		return err
	}
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: c.Prefix, Replicas: c.Replicas})
	if err != nil {
		return err
	}
	egress, err := egress.New(egress.Config{AllowTargets: c.AllowTarget, AllowHTTP: c.AllowHTTP})
	if err != nil {
		return err
	}
	if c.proxies, err = subscription.NewProxies(strings.Fields(strings.Join(c.Proxy, "\n"))); err != nil {
		return err
	}
	publicURL, origin, err := c.resolve(c.AllowHTTP)
	if err != nil {
		return err
	}
	if len(c.AllowTarget) > 0 {
		log.Info("endpoints in these networks are allowed", zap.Stringers("cidr", c.AllowTarget))
	}

	suspects := &suspected{}
	dial, natsHealth, stopNATS, err := c.openNATS(layout, suspects, log)
	if err != nil {
		return err
	}
	defer stopNATS()
	// Every process reads the subscriptions and the registered domains; only an admin
	// may do more on the same connection.
	role := stream.RoleView
	if c.has(roleAdmin) {
		role = stream.RoleControl
	}
	shared, err := dial(string(role), "")
	if err != nil {
		return err
	}
	js, err := stream.JetStream(shared)
	if err != nil {
		return err
	}
	streams := c.newInventory(js, layout, log)
	suspects.pass(streams.Suspect)
	if err := streams.Register(reg); err != nil {
		return fmt.Errorf("register metrics of the inventory: %w", err)
	}
	auth, err := c.openAuth(js, layout, log, reg)
	if err != nil {
		return err
	}
	if c.has(roleAdmin) {
		if err := connect.WriteDiscovery(c.Data, url); err != nil {
			log.Warn("failed to write the address of the server; commands on this machine need --server", zap.Error(err))
		}
		defer connect.RemoveDiscovery(c.Data)
	}
	kept := &ensuring{serveCmd: c, js: js, layout: layout, streams: streams, domains: domainNames(loaded), log: log}
	desk := upkeep.NewStorage(streams, audit.New(js, layout, "admin", log), layout, kept.restore, log)
	if auth.guard != nil && c.has(roleAdmin) {
		front.serve(front.mux(reg, auth.guard.Protect(desk.HeldHandler(front.why), access.Routes{})))
	}
	if err := kept.ensure(ctx, front, desk); err != nil || ctx.Err() != nil {
		return err
	}

	var keys *keyring.Keyring // a router never opens a secret
	if c.has(roleSender) || c.has(roleAdmin) {
		path := c.Keyset
		if path == "" {
			path = filepath.Join(c.Data, "keyset.json")
		}
		if keys, err = keyring.Load(path); err != nil {
			return err
		}
	}
	view := subscription.NewView(subscription.ViewConfig{}, js, layout, keys, log)
	catalogue, err := schemas.NewLive(loaded, js, layout.Prefix(), log)
	if err != nil {
		return err
	}
	repositories := registry.New(js, layout, log)
	storage := stream.NewHealth(js, layout, role, log)

	events, err := c.openPublisher(dial, layout, log, reg)
	if err != nil {
		return err
	}

	// Services stop before the connections and the server they use: work ends with
	// ctx, the server, the view and the catalogue only after it.
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var support errgroup.Group
	support.Go(func() error { return view.Run(background) })
	support.Go(func() error { c.memory.Watch(background); return nil })
	support.Go(func() error { return streams.Run(background) })
	support.Go(func() error { return catalogue.Run(background) })
	if c.has(roleProducer) || c.has(roleAdmin) {
		support.Go(func() error { return repositories.Run(background) })
	}
	if events != nil {
		support.Go(func() error { return events.Run(background) })
	}
	defer func() {
		stopBackground()
		err = errors.Join(err, support.Wait())
	}()
	if err := checkKeyring(ctx, view); err != nil && ctx.Err() == nil { // not stopped meanwhile
		return err
	}

	if c.has(roleAdmin) {
		kept.registered.Store(catalogue)
		if err := kept.ensureRegistered(ctx, catalogue); err != nil && ctx.Err() == nil {
			return err
		}
	}
	services, ctx := errgroup.WithContext(ctx)
	if c.has(roleAdmin) {
		services.Go(func() error { adoptQueues(ctx, js, layout, view, log); return nil })
	}
	mux := http.NewServeMux()
	if auth.guard != nil {
		tokens := auth.tokens
		support.Go(func() error { return tokens.Run(background) })
		if err := tokens.Sync(ctx); err != nil && ctx.Err() == nil { // or the first requests would have to ask
			return err
		}
		shared := &process{
			serveCmd: c, connect: dial, js: js, layout: layout, keyring: keys, egress: egress, view: view, catalogue: catalogue,
			repositories: repositories, storage: storage, events: events, tokens: tokens, log: log, reg: reg, stopping: ctx.Done(),
			streams: streams, desk: desk,
		}
		a, err := shared.mountAPI(mux, auth.guard)
		if err != nil {
			return err
		}
		if a != nil {
			a.Positions().Restored(kept.restored...)
			suspects.passDiscarded(func(name, consumer string) { a.Positions().Discarded(ctx, name, consumer) })
			a.Positions().Check(ctx) // before the first event is taken: what a crash has left is plain to see
			streams.Tell(func(l inventory.Loss) {
				events.Publish(operational.StorageLost(operational.Loss{
					Stream: l.Stream, Kind: l.Kind, Detail: l.Detail, Was: l.Was, Now: l.Now, Count: l.Count, Found: l.Found,
				}))
				a.Sweeper().Soon()
			})
			services.Go(func() error { return a.Run(ctx) })
		}
	}
	checks := []admin.Check{
		{Name: "catalogue", Run: func(ctx context.Context) error { _, err := catalogue.Sync(ctx); return err }},
		{Name: "storage", Run: func(ctx context.Context) error { return errors.Join(natsHealth(ctx), storage.Check(ctx)) }},
		{Name: "streams", Run: streams.Ready},
	}
	if c.has(roleRouter) {
		nc, err := dial(string(stream.RoleRouter), "")
		if err != nil {
			return err
		}
		r, err := router.New(router.Config{
			Catalogue: catalogue, Health: storage, Events: events, Memory: c.memory.Events, Publishing: c.memory.Publishing(),
		}, nc, layout, view, log, reg)
		if err != nil {
			return err
		}
		services.Go(func() error { return r.Run(ctx) })
	}
	if c.has(roleSender) {
		nc, err := dial(string(stream.RoleSender), "")
		if err != nil {
			return err
		}
		storeJS, err := stream.JetStream(nc) // it is the sender that changes subscriptions here
		if err != nil {
			return err
		}
		store := subscription.NewStore(storeJS, layout, keys, log)
		cfg := sender.Config{
			Egress: egress, Proxies: c.proxies, Version: version, PID: os.Getpid(), UserAgent: "jetpost/" + version, Origin: origin, PublicURL: publicURL, Grace: c.Grace,
			Health: storage,
			Events: events, LaggingAfter: c.limit(),
			Memory: c.memory.Deliveries, Publishing: c.memory.Publishing(),
		}
		limitConnections(&cfg, log)
		s, err := sender.New(cfg, nc, layout, view, store, log, reg)
		if err != nil {
			return err
		}
		services.Go(func() error { return s.Run(ctx) })
		checks = append(checks, admin.Check{Name: "machine", Run: s.CheckMachine})
	}
	admin.MountHealth(mux, shared, view, reg, checks...)
	admin.MountRoot(mux, c.has(roleAdmin))
	front.serve(mux)
	services.Go(func() error { <-front.done; return nil }) // requests under way need what is below

	fmt.Fprintf(out, "jetpost %s listening on %s\n%s", version, url, auth.notice)
	if c.listening != nil {
		c.listening(url)
	}
	log.Info("started", zap.Strings("roles", c.Roles), zap.String("url", url), zap.Strings("domains", catalogue.Current().Names()))
	err = services.Wait()
	log.Info("stopped")
	return err
}

// checkKeyring refuses to run with a key that does not open the secrets of
// existing subscriptions, after the file was lost or mixed up: their events would
// match nothing. While nothing runs, events wait.
func checkKeyring(ctx context.Context, view *subscription.View) error {
	snapshot, err := view.Sync(ctx)
	if err != nil {
		return err
	}
	for _, broken := range snapshot.Broken() {
		if errors.Is(broken.Err, keyring.ErrKeyring) {
			return fmt.Errorf("start: %w: give the right file with --keyset, or restore it from a backup", broken.Err)
		}
	}
	return nil
}

// writeTimeout is how long an answer may take from the request on. The longest that one
// is worked on is a test call of a compatible API, for a minute and a half.
const writeTimeout = 3 * time.Minute

func newHTTPServer(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 80 << 10,
		// A client that does not read what it has asked for must not hold an answer for
		// ever. Those who follow or export a log get more time with every line.
		WriteTimeout: writeTimeout,
		ErrorLog:     logging.NewServerErrors(log),
	}
}

// serveHTTP answers requests until ctx ends, and lets those under way finish.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, log *zap.Logger) error {
	server := newHTTPServer(handler, log)
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err := server.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) { // a client follows a log
			err = server.Close()
		}
		stopped <- err
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return <-stopped
}

func domainNames(catalogue *schemas.Catalogue) []string {
	var names []string
	for _, d := range catalogue.Domains() {
		names = append(names, d.Name)
	}
	return names
}
