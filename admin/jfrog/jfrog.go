// Package jfrog is the configuration API of the JFrog Platform's webhooks, on
// jetpost's subscriptions: what clients of the platform send is stored, and comes back
// as they sent it.
//
//	client ─► document ─┬─► handler 1 ─► subscription jfrog-<key>-<hash>, with the document
//	                    └─► handler n ─► subscription jfrog-<key>-<hash>-h<n>
//
// A webhook of the platform has one or more handlers; each is a subscription of its own
// here, with its own queue, so that a handler that is down delays no other. The one of
// the first handler is the truth: it has the whole document. The others follow it, see
// repair: whatever breaks off between two writes is completed or taken back later.
//
// It promises that after a change was answered the next read, through any process,
// shows it and every event published later is matched with it; that no answer shows a
// secret; and that no subscription is touched that another API keeps.
package jfrog

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/repository"
)

// Config of the API. The zero value is usable.
type Config struct {
	// Proxies are the keys of the proxies that handlers may name. Default: none.
	Proxies []string
	// TestTimeout is how long a test call waits for the answers of the receivers.
	// 1s to 60s, default 25s.
	TestTimeout time.Duration
	// Timeout is how long the work for any other request may take. Default: 30s.
	Timeout time.Duration
}

func (c Config) withDefaults() Config {
	if c.TestTimeout == 0 {
		c.TestTimeout = 25 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return c
}

func (c Config) validate() error {
	if c.TestTimeout < time.Second || c.TestTimeout > time.Minute {
		return errors.New("the timeout of tests must be 1s to 60s")
	}
	if c.Timeout < 0 {
		return errors.New("timeout must be positive")
	}
	return nil
}

// An API answers the requests of the platform's clients.
type API struct {
	cfg      Config
	services Services

	webhooks *webhooks
	log      *zap.Logger
	handler  http.Handler
	login    http.Handler
}

// Services are what the API works with. All are required.
type Services struct {
	// API is the envelope of requests.
	API *httpapi.API
	// Subscriptions keeps what clients configure.
	Subscriptions *subscriptions.Keeper
	// Tester makes the requests of the platform's test button.
	Tester *subscriptions.Tester
	// Sweeper has the API repair what an interrupted process has left incomplete.
	Sweeper *subscriptions.Sweeper
	// Trail records what is changed beside subscriptions and repositories.
	Trail *audit.Trail
	// Attempts is the attempt log.
	Attempts *delivery.Log
	// JS reads the events that attempts are about.
	JS jetstream.JetStream
	// Repositories is the registry, which the caller keeps running.
	Repositories *repository.Registry
	// ChangeRepository changes a repository of the registry, with a record on the audit trail.
	ChangeRepository func(ctx context.Context, key string, change repository.Change) (*repository.Repository, error)
}

// New returns the API.
func New(cfg Config, services Services, log *zap.Logger) (*API, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Proxies = slices.Clone(cfg.Proxies)
	j := &API{cfg: cfg, services: services, log: log.Named("jfrog")}
	j.webhooks = &webhooks{services.Subscriptions, services.Repositories, cfg.Proxies, j.log}
	mux := http.NewServeMux()
	j.subscriptionRoutes(mux)
	j.systemRoutes(mux)
	(&repositoriesAPI{services.Repositories, services.ChangeRepository}).register(mux, j.handle)
	// Clients send JSON with whatever content type their library has.
	face := httpapi.Face{Refuse: Refuse, AnyContent: true}
	j.handler = services.API.Envelope(face, mux)
	mux = http.NewServeMux()
	mux.HandleFunc("POST "+PathLogin, j.noLogin)
	j.login = services.API.Envelope(face, mux)
	services.Sweeper.OnSweep(j.webhooks.repair)
	return j, nil
}

// Handler answers everything below the paths of Paths. It does not ask who is calling.
func (j *API) Handler() http.Handler { return j.handler }

// Login answers PathLogin, which clients call before they have a token.
func (j *API) Login() http.Handler { return j.login }

// Paths are those below which the platform's clients make their requests. They belong
// behind a token, in the words of Deny.
func Paths() []string { return []string{"/event/", "/artifactory/"} }

// PathLogin is where clients exchange a token of their own for one of the platform.
const PathLogin = "/access/api/v1/oidc/token"
