package jfrog_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/access"
	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/admin/jfrog"
	"github.com/jetpost/jetpost/schemas"
	"github.com/jetpost/jetpost/schemas/repository"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/stream/streamtest"
	"github.com/jetpost/jetpost/subscription"
)

// patience bounds each wait. Running into it means that something is broken.
const patience = 30 * time.Second

// An installation is a NATS server and the keyring that its admins share.
type installation struct {
	t      testing.TB
	js     jetstream.JetStream
	layout stream.Layout
	base   *schemas.Catalogue
	keys   *subscription.Keyring
	logs   *observer.ObservedLogs
	log    *zap.Logger
}

// A site is one admin of an installation, with the API.
type site struct {
	*installation

	admin *admin.Admin
	store *subscription.Store
	url   string
}

func newInstallation(tb testing.TB) *installation {
	tb.Helper()
	server := streamtest.New(tb)
	core, logs := observer.New(zapcore.DebugLevel)
	in := &installation{t: tb, js: server.JS(), layout: server.Layout, logs: logs, log: zap.New(core)}
	var err error
	if in.base, err = schemas.Load(); err != nil {
		tb.Fatal(err)
	}
	var domains []string
	for _, d := range in.base.Domains() {
		domains = append(domains, d.Name)
	}
	if err := in.layout.Ensure(tb.Context(), in.js, domains); err != nil {
		tb.Fatal(err)
	}
	if in.keys, err = subscription.LoadKeyring(filepath.Join(tb.TempDir(), "keyset.json")); err != nil {
		tb.Fatal(err)
	}
	return in
}

// errLookup is what the resolver of the tests says: saving must not need DNS.
var errLookup = errors.New("there is no DNS here")

// site starts an admin. It does not run it: see repair.
func (in *installation) site(change ...func(*jfrog.Config)) *site {
	tb := in.t
	tb.Helper()
	s := &site{installation: in, store: subscription.NewStore(in.js, in.layout, in.keys, in.log)}
	view := subscription.NewView(subscription.ViewConfig{}, in.js, in.layout, in.keys, in.log)
	live := schemas.NewLive(in.base, in.js, in.layout, in.log)
	egress, err := subscription.NewEgress(subscription.EgressConfig{
		AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, AllowHTTP: true,
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, errLookup },
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	registry := repository.New(in.js, in.layout, in.log)
	ended := make(chan error, 3)
	go func() { ended <- view.Run(ctx) }()
	go func() { ended <- live.Run(ctx) }()
	go func() { ended <- registry.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		for range cap(ended) {
			<-ended
		}
	})
	proxies, err := subscription.NewProxies([]string{"corporate=http://proxy.example.com:3128"})
	if err != nil {
		tb.Fatal(err)
	}
	s.admin, err = admin.New(admin.Config{Version: "test", Proxies: proxies}, in.js, in.layout, s.store, view, egress, live, in.log, prometheus.NewPedanticRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	cfg := jfrog.Config{Proxies: proxies.Keys()}
	for _, c := range change {
		c(&cfg)
	}
	api, err := jfrog.New(cfg, s.admin, registry, in.log)
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, path := range jfrog.Paths() {
		mux.Handle(path, as(api.Handler()))
	}
	mux.Handle(jfrog.PathLogin, api.Login())
	mux.Handle("/v1/", as(s.admin.Handler()))
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// headerRole is the role in which a request of a test is made.
const headerRole = "Test-Role"

func as(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{Role: cmp.Or(access.Role(r.Header.Get(headerRole)), access.Admin)})))
	})
}

func newSite(tb testing.TB, change ...func(*jfrog.Config)) *site {
	tb.Helper()
	return newInstallation(tb).site(change...)
}

// run lets the admin mend what is left half done, as at its start, until the test ends.
func (s *site) run() {
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.admin.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		<-ended
	})
}

// A reply is the answer to a request.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   string
}

// do sends a request as the platform's clients do.
func (s *site) do(method, path, body string, header ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("User-Agent", "jfrog/terraform-provider-artifactory")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: 2 * patience}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{s.t, resp.StatusCode, resp.Header, string(b)}
}

// want fails the test unless the answer has that status, and is JSON where it has a
// body.
func (r reply) want(status int) reply {
	r.t.Helper()
	if r.status != status {
		r.t.Fatalf("got status %d, want %d: %s", r.status, status, r.body)
	}
	if kind := r.header.Get("Content-Type"); r.body != "" && kind != "application/json" {
		r.t.Errorf("%s has the content type %q", r.body, kind)
	}
	return r
}

// is compares the body.
func (r reply) is(body string) {
	r.t.Helper()
	if r.body != body {
		r.t.Errorf("got\n%s\nwant\n%s", r.body, body)
	}
}

// says fails the test unless an error has these messages.
func (r reply) says(messages ...string) {
	r.t.Helper()
	for _, m := range messages {
		if !strings.Contains(r.body, `{"code":"","message":"`+m+`"}`) {
			r.t.Errorf("the error lacks %q: %s", m, r.body)
		}
	}
}

// stored are the subscriptions of the API, by id.
func (s *site) stored() map[string]*subscription.Subscription {
	s.t.Helper()
	snapshot, err := s.admin.Subscriptions(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	found := make(map[string]*subscription.Subscription)
	for _, sub := range snapshot.All() {
		found[sub.ID] = sub
	}
	return found
}

// eventually waits for a fact.
func (s *site) eventually(what string, fact func() bool) {
	s.t.Helper()
	deadline := time.NewTimer(2 * patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !fact() {
		select {
		case <-deadline.C:
			s.t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

const subscriptions = "/event/api/v1/subscriptions"
