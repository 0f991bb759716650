// Package admin is the API with which people and programs manage jetpost. It assembles the
// packages below it, and has the small resources itself: tokens, domains, event types,
// repositories, senders, the audit trail, the erasure of events, and health.
//
// What it does with each resource is said there. Whatever changes is on the audit trail
// first. It makes no requests to endpoints: a test event is put on the subscription's queue
// and is delivered like every other event.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/jobs"
	"github.com/jetpost/jetpost/admin/story"
	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/admin/upkeep"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// Config of the API. The zero value is usable.
type Config struct {
	// Version is shown in the OpenAPI document. Default: "dev".
	Version string
	// Timeout is how long the work for one request may take before it is answered
	// with 503; following a log is not bounded. Default: 30 s.
	Timeout time.Duration
	// BodyTimeout is how long a client may take to send a body. Default: 10 s.
	BodyTimeout time.Duration
	// Heartbeat is how often an empty line is written to a client that follows a
	// log in which nothing happens, so that both sides notice when the other is
	// gone. Default: 15 s.
	Heartbeat time.Duration
	// MaxFollowers is how many clients may follow a log at one time; each costs a
	// consumer in NATS. Default: 100.
	MaxFollowers int
	// Stopping, when closed, ends the answers to those who follow, which end by
	// nothing else. Default: they end with their connections.
	Stopping <-chan struct{}
	// RedriveLease is for how long an admin may do nothing for a redrive job before
	// another one takes it over. Default: 10 s.
	RedriveLease time.Duration
	// SweepEvery is how often all queues are looked at, for what accidents of NATS have
	// left behind, at least: few of them are looked at every minute, and all when Run
	// begins and after each reconnect. Default: 10 min.
	SweepEvery time.Duration
	// Proxies are those that endpoints may name. Default: none.
	Proxies *subscription.Proxies
	// Events is where operational events go. The caller keeps it running. Default:
	// nowhere.
	Events *operational.Publisher
	// Tokens are those of the API. Default: none can be made or seen.
	Tokens *access.Store
	// Repositories is the registry of repositories, which the caller keeps running.
	// Default: none can be registered or seen.
	Repositories *repository.Registry
	// Health is notified whether the audit trail can be written. Default: none.
	Health *stream.Health
	// Inventory is notified of queues that are made and deleted. The caller keeps it running.
	// Default: none.
	Inventory *inventory.Inventory
	// Reserve is room that is kept for what makes room. Default: none is.
	Reserve *stream.Reserve
	// Storage is what the API says about it, and where losses are accepted. Default:
	// nothing is known.
	Storage *upkeep.Storage
}

func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.BodyTimeout == 0 {
		c.BodyTimeout = 10 * time.Second
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.MaxFollowers == 0 {
		c.MaxFollowers = 100
	}
	if c.RedriveLease == 0 {
		c.RedriveLease = 10 * time.Second
	}
	if c.SweepEvery == 0 {
		c.SweepEvery = 10 * time.Minute
	}
	return c
}

func (c Config) validate() error {
	if c.RedriveLease < 0 || c.SweepEvery < 0 {
		return errors.New("redrive lease and the time between sweeps must be positive")
	}
	if c.Timeout < 0 || c.BodyTimeout < 0 || c.Heartbeat < 0 || c.MaxFollowers < 0 {
		return errors.New("timeout, body timeout, heartbeat and followers must be positive")
	}
	return nil
}

// Admin is the native API, and what compatible APIs share with it.
type Admin struct {
	api        *httpapi.API
	handler    http.Handler
	trail      *audit.Trail
	attempts   *delivery.Log
	keep       *subscriptions.Keeper
	tester     *subscriptions.Tester
	handshakes *subscriptions.Handshakes
	sweeper    *subscriptions.Sweeper
	redrives   *jobs.Redrives
	positions  *upkeep.Positions

	repositories *repositories
}

// New returns the API. view and live must be kept running by the caller; view must
// open its secrets: they are what GET …/secret answers.
func New(cfg Config, js jetstream.JetStream, layout stream.Layout, store *subscription.Store, view *subscription.View,
	egress *egress.Guard, live *schemas.Live, log *zap.Logger, reg prometheus.Registerer,
) (*Admin, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure admin: %w", err)
	}
	own := log.Named("admin")
	store = store.ReadingLeader() // what one admin has answered is read by every other one
	api, err := httpapi.New(httpapi.Config{
		Version: cfg.Version, Timeout: cfg.Timeout, BodyTimeout: cfg.BodyTimeout, Heartbeat: cfg.Heartbeat, MaxFollowers: cfg.MaxFollowers,
		Stopping: cfg.Stopping, Statuses: statuses(),
	}, js, layout, store.Keyring(), own, reg)
	if err != nil {
		return nil, err
	}
	types := catalogue.New(live)
	trail := audit.New(js, layout, "admin", log).Report(cfg.Health).Reserve(cfg.Reserve)
	attemptLog, deadLetters := delivery.NewLog(js, layout), delivery.NewDeadLetters(js, layout)

	keep := subscriptions.NewKeeper(subscriptions.KeeperConfig{
		Proxies: cfg.Proxies, Events: cfg.Events, Inventory: cfg.Inventory, Reserve: cfg.Reserve,
	}, js, layout, store, view, egress, types, trail, own)
	tester := subscriptions.NewTester(keep, attemptLog)
	handshakes := subscriptions.NewHandshakes(keep, cfg.Timeout, cfg.BodyTimeout)
	dead := deadletters.New(js, deadLetters, attemptLog, keep, types, trail, cfg.Timeout, own)
	redrives := jobs.NewRedrives(cfg.RedriveLease, cfg.Timeout, js, layout, dead, deadLetters, keep, trail, own)
	logs := story.NewLogs(api, js, layout, types)
	stories := story.NewStories(logs, keep, attemptLog, deadLetters, cfg.Timeout)
	positions, err := upkeep.NewPositions(upkeep.PositionsConfig{
		Domains: func() []string { return live.Current().Names() }, View: view, Events: cfg.Events, Inventory: cfg.Inventory,
	}, js, layout, attemptLog, deadLetters, own, reg)
	if err != nil {
		return nil, err
	}
	reconciler := upkeep.NewReconciler(js, layout, store, keep, types, attemptLog, deadLetters, dead, trail, cfg.Inventory, own)
	sweeper := subscriptions.NewSweeper(subscriptions.SweeperConfig{
		Every: cfg.SweepEvery, CheckQueue: positions.CheckQueue, Reconcile: reconciler.Losses, Inventory: cfg.Inventory, Reserve: cfg.Reserve,
	}, keep, tester)
	registered := &repositories{cfg.Repositories, trail}

	subscriptions.Register(api, keep, tester, handshakes, deadLetters)
	(&senders{js, layout, keep}).register(api)
	(&attempts{api, attemptLog, keep}).register(api)
	dead.Register(api)
	redrives.Register(api)
	story.Register(api, logs, stories)
	(&eraser{js, layout, logs, keep, attemptLog, deadLetters, trail, own}).register(api)
	(&catalogued{types}).register(api)
	newDomains(js, layout, schemas.NewStore(js, live, log), live, keep, trail, cfg.Inventory).register(api)
	registered.register(api)
	(&auditTrail{api, trail, cfg.Storage}).register(api)
	(&tokens{cfg.Tokens, types, trail}).register(api)
	cfg.Storage.Register(api)
	reconciler.Register(api)

	a := &Admin{
		api: api, trail: trail, attempts: attemptLog, keep: keep, tester: tester, handshakes: handshakes, sweeper: sweeper, redrives: redrives,
		positions: positions, repositories: registered,
	}
	if a.handler, err = api.Handler(); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	return a, nil
}

// Handler answers everything below /v1/, and /openapi.json. It serves principals that
// may do what they ask for, so it is to be mounted behind an access.Guard;
// without one it refuses everything but /openapi.json.
func (a *Admin) Handler() http.Handler { return a.handler }

// Subscriptions keeps the subscriptions, for the APIs beside the native one.
func (a *Admin) Subscriptions() *subscriptions.Keeper { return a.keep }

// Tester sends examples of events, for the APIs beside the native one.
func (a *Admin) Tester() *subscriptions.Tester { return a.tester }

// Sweeper repairs the queues while Run runs.
func (a *Admin) Sweeper() *subscriptions.Sweeper { return a.sweeper }

// Positions compares consumers with their streams while Run runs.
func (a *Admin) Positions() *upkeep.Positions { return a.positions }

// Callback is where receivers consent to deliveries: see Handshakes.Callback.
func (a *Admin) Callback() http.Handler { return a.handshakes.Callback() }

// Attempts is the attempt log.
func (a *Admin) Attempts() *delivery.Log { return a.attempts }

// Trail is the audit trail.
func (a *Admin) Trail() *audit.Trail { return a.trail }

// Run repairs queues and consumers, and works on jobs, until ctx ends. It is for one
// goroutine.
func (a *Admin) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { a.sweeper.Run(ctx) })
	running.Go(func() { a.positions.Run(ctx) })
	running.Go(func() { a.redrives.Run(ctx) })
	running.Wait()
	return nil
}

// ChangeRepository changes a repository of the registry, with a record on the audit trail: see
// repositories.change.
func (a *Admin) ChangeRepository(ctx context.Context, key string, change repository.Change) (*repository.Repository, error) {
	return a.repositories.change(ctx, key, change)
}

// API is the envelope of the native API, for the APIs beside it: see API.Envelope and
// API.RefusalOf.
func (a *Admin) API() *httpapi.API { return a.api }
