// Package admintest has admins for the tests of the APIs that stand beside the native
// one, on a NATS server of their own.
package admintest

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// Patience bounds each wait. Running into it means that something is broken.
const Patience = 30 * time.Second

// An Installation is a NATS server, and what the admins on it share. Use New.
type Installation struct {
	T       testing.TB
	JS      jetstream.JetStream
	Layout  stream.Layout
	Keyring *keyring.Keyring
	Store   *subscription.Store
	Log     *zap.Logger // from Debug on
	Logs    *observer.ObservedLogs

	catalogue *schemas.Catalogue
}

// New makes an installation with the event logs of domains; none: of all that ship.
func New(tb testing.TB, domains ...string) *Installation {
	tb.Helper()
	server := streamtest.New(tb)
	core, logs := observer.New(zapcore.DebugLevel)
	in := &Installation{T: tb, JS: server.JS(), Layout: server.Layout, Log: zap.New(core), Logs: logs}
	var err error
	if in.catalogue, err = schemas.Load(); err != nil {
		tb.Fatal(err)
	}
	if len(domains) == 0 {
		for _, d := range in.catalogue.Domains() {
			domains = append(domains, d.Name)
		}
	}
	if err := in.Layout.Ensure(tb.Context(), in.JS, domains); err != nil {
		tb.Fatal(err)
	}
	if in.Keyring, err = keyring.Load(filepath.Join(tb.TempDir(), "keyset.json")); err != nil {
		tb.Fatal(err)
	}
	in.Store = subscription.NewStore(in.JS, in.Layout, in.Keyring, in.Log)
	return in
}

// Admin makes one more admin, whose endpoints may be on this machine. Its Run is not
// called.
func (in *Installation) Admin(cfg admin.Config, rules egress.Config) *admin.Admin {
	in.T.Helper()
	view := subscription.NewView(subscription.ViewConfig{}, in.JS, in.Layout, in.Keyring, in.Log)
	live, err := schemas.NewLive(in.catalogue, in.JS, in.Layout.Prefix(), in.Log)
	if err != nil {
		in.T.Fatal(err)
	}
	rules.AllowTargets = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	egress, err := egress.New(rules)
	if err != nil {
		in.T.Fatal(err)
	}
	in.Run(view.Run)
	in.Run(live.Run)
	a, err := admin.New(cfg, in.JS, in.Layout, in.Store, view, egress, live, in.Log, prometheus.NewPedanticRegistry())
	if err != nil {
		in.T.Fatal(err)
	}
	return a
}

// Run has run run until the test ends.
func (in *Installation) Run(run func(context.Context) error) {
	in.T.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(in.T.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			in.T.Errorf("run: %v", err)
		}
	})
	in.T.Cleanup(func() {
		stop()
		running.Wait()
	})
}

// HeaderRole is the role in which a request is made: see Let.
const HeaderRole = "Test-Role"

// Let serves every request by next, under the name test-user, with the role that is in
// HeaderRole; without it, as an admin.
func Let(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role := cmp.Or(access.Role(r.Header.Get(HeaderRole)), access.Admin)
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{ID: "test-user", Role: role})))
	})
}
