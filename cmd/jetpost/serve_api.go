package main

import (
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/admin/jfrog"
	"github.com/jetpost/jetpost/admin/securesourcemanager"
	"github.com/jetpost/jetpost/admin/upkeep"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/operational"
	registry "github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// An auth decides which requests to the API are allowed.
type auth struct {
	guard  *access.Guard // nil: this process has no API
	tokens *access.Live  // which the guard goes by, and the caller keeps running
	notice string        // for the first start: where the token is
}

// openAuth makes the auth for roles that have an API.
func (c *serveCmd) openAuth(js jetstream.JetStream, layout stream.Layout, log *zap.Logger, reg prometheus.Registerer) (*auth, error) {
	d := &auth{}
	if !c.has(roleProducer) && !c.has(roleAdmin) {
		return d, nil
	}
	bootstrap := c.AdminToken
	if bootstrap != "" {
		if err := access.CheckBootstrap(bootstrap); err != nil {
			return nil, fmt.Errorf("use the token of --admin-token: %w", err)
		}
	} else {
		path := filepath.Join(c.Data, connect.TokenFile)
		var created bool
		var err error
		if bootstrap, created, err = access.LoadBootstrap(path); err != nil {
			return nil, err
		}
		if created {
			d.notice = fmt.Sprintf("the admin token of the API was made: it is in %s\n", path)
		}
		log.Info("the API takes the token in this file, with the role admin", zap.String("file", path))
	}
	d.tokens = access.NewLive(js, layout, log)
	var err error
	d.guard, err = access.NewGuard(access.GuardConfig{Bootstrap: bootstrap, Rate: c.APIRate}, d.tokens, log, reg)
	return d, err
}

// A process is what the API shares with the services beside it.
type process struct {
	*serveCmd // the settings

	connect      connector
	js           jetstream.JetStream // of stream.RoleControl where there is an admin
	layout       stream.Layout
	keyring      *keyring.Keyring
	egress       *egress.Guard
	view         *subscription.View
	catalogue    *schemas.Live
	repositories *registry.Registry
	storage      *stream.Health
	events       *operational.Publisher
	tokens       *access.Live
	log          *zap.Logger
	reg          prometheus.Registerer
	stopping     <-chan struct{}
	streams      *inventory.Inventory
	desk         *upkeep.Storage
}

// mountAPI serves what people and programs call: events in, and the admin API,
// which it returns where this process has it.
func (p *process) mountAPI(mux *http.ServeMux, guard *access.Guard) (*admin.Admin, error) {
	if p.has(roleProducer) {
		nc, err := p.connect(string(stream.RoleProducer), "")
		if err != nil {
			return nil, err
		}
		publishJS, err := stream.JetStreamWithin(nc, p.memory.Publishing())
		if err != nil {
			return nil, err
		}
		ingest, err := producer.New(producer.Config{
			Prefix: p.layout.Prefix(), Health: p.storage, Repositories: p.repositories, Memory: budget.NewUsers(p.memory.Ingest),
		}, publishJS, p.catalogue, p.log, p.reg)
		if err != nil {
			return nil, err
		}
		mountIngest(mux, guard, ingest, p.has(roleAdmin))
	}
	if !p.has(roleAdmin) {
		return nil, nil
	}
	store := subscription.NewStore(p.js, p.layout, p.keyring, p.log)
	a, err := admin.New(admin.Config{
		Version: version, Stopping: p.stopping, Events: p.events, Health: p.storage, Proxies: p.proxies, Tokens: access.NewStore(p.js, p.layout, p.tokens, p.log),
		Repositories: p.repositories, Inventory: p.streams, Storage: p.desk, Reserve: stream.NewReserve(p.js, p.layout, p.log),
	}, p.js, p.layout, store, p.view, p.egress, p.catalogue, p.log, p.reg)
	if err != nil {
		return nil, err
	}
	return a, mountAdmin(mux, guard, a, p.js, p.repositories, p.proxies, p.log)
}

// mountIngest serves where events are published. An admin answers the other methods
// of the path.
func mountIngest(mux *http.ServeMux, guard *access.Guard, p *producer.Producer, beside bool) {
	pattern := "/v1/events"
	if beside {
		pattern = "POST " + pattern
	}
	mux.Handle(pattern, guard.Protect(p.Handler(), access.Routes{
		Need: func(*http.Request) access.Need { return access.NeedPublish }, Unbounded: true,
	}))
}

// mountAdmin serves the API of an admin. What is not behind the guard is in the table
// of TestAuthorization.
func mountAdmin(mux *http.ServeMux, guard *access.Guard, a *admin.Admin, js jetstream.JetStream, repositories *registry.Registry, proxies *subscription.Proxies, log *zap.Logger) error {
	byMethod := func(r *http.Request) access.Need { return access.NeedOf(r.Method) }
	hooks, err := securesourcemanager.New(securesourcemanager.Config{}, a.API(), a.Subscriptions())
	if err != nil {
		return err
	}
	mux.Handle("/v1/projects/", guard.Protect(hooks.Handler(), access.Routes{
		Need: byMethod, Refuse: securesourcemanager.Refuse,
	}))
	platform, err := jfrog.New(jfrog.Config{Proxies: proxies.Keys()}, jfrog.Services{
		API: a.API(), Subscriptions: a.Subscriptions(), Tester: a.Tester(), Sweeper: a.Sweeper(), Trail: a.Trail(), Attempts: a.Attempts(), JS: js,
		Repositories: repositories, ChangeRepository: a.ChangeRepository,
	}, log)
	if err != nil {
		return err
	}
	for _, path := range jfrog.Paths() {
		mux.Handle(path, guard.Protect(platform.Handler(), access.Routes{Vendors: true, Need: byMethod, Refuse: jfrog.Deny}))
	}
	mux.Handle(jfrog.PathLogin, platform.Login()) // a login has no token yet
	mux.Handle("/v1/", guard.Protect(a.Handler(), access.Routes{}))
	mux.Handle("/v1/handshakes/", a.Callback()) // receivers, with tokens of their own
	mux.Handle("/openapi.json", a.Handler())
	mux.Handle("/docs", a.Handler())
	return nil
}
