package jfrog_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/admin/admintest"
	"github.com/jetpost/jetpost/admin/jfrog"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/subscription"
)

const patience = admintest.Patience

// An installation is what its admins share.
type installation struct{ *admintest.Installation }

// A site is one admin of an installation, with the API.
type site struct {
	*installation

	admin *admin.Admin
	url   string
}

func newInstallation(tb testing.TB) *installation {
	tb.Helper()
	return &installation{admintest.New(tb)}
}

// errLookup is what the resolver of the tests says: saving must not need DNS.
var errLookup = errors.New("there is no DNS here")

// site starts an admin. It does not run it: see run.
func (in *installation) site(change ...func(*jfrog.Config)) *site {
	tb := in.T
	tb.Helper()
	proxies, err := subscription.NewProxies([]string{"corporate=http://proxy.example.com:3128"})
	if err != nil {
		tb.Fatal(err)
	}
	registry := repository.New(in.JS, in.Layout, in.Log)
	in.Run(registry.Run)
	s := &site{installation: in, admin: in.Admin(admin.Config{Version: "test", Proxies: proxies, Repositories: registry}, egress.Config{
		AllowHTTP: true,
		Lookup:    func(context.Context, string) ([]netip.Addr, error) { return nil, errLookup },
	})}
	cfg := jfrog.Config{Proxies: proxies.Keys()}
	for _, c := range change {
		c(&cfg)
	}
	api, err := jfrog.New(cfg, s.services(registry), in.Log)
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, path := range jfrog.Paths() {
		mux.Handle(path, admintest.Let(api.Handler()))
	}
	mux.Handle(jfrog.PathLogin, api.Login())
	mux.Handle("/v1/", admintest.Let(s.admin.Handler()))
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func newSite(tb testing.TB, change ...func(*jfrog.Config)) *site {
	tb.Helper()
	return newInstallation(tb).site(change...)
}

// run lets the admin complete what is left half done, as at its start, until the test ends.
// services are those of the admin.
func (s *site) services(registry *repository.Registry) jfrog.Services {
	return jfrog.Services{
		API: s.admin.API(), Subscriptions: s.admin.Subscriptions(), Tester: s.admin.Tester(), Sweeper: s.admin.Sweeper(), Trail: s.admin.Trail(),
		Attempts: s.admin.Attempts(), JS: s.JS, Repositories: registry, ChangeRepository: s.admin.ChangeRepository,
	}
}

func (s *site) run() { s.Run(s.admin.Run) }

// A reply is the answer to a request.
type reply struct {
	t      testing.TB
	status int
	header http.Header
	body   string
}

// do sends a request as the platform's clients do.
func (s *site) do(method, path, body string, header ...string) reply {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.T.Fatal(err)
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
		s.T.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.T.Fatalf("%s %s: %v", method, path, err)
	}
	return reply{s.T, resp.StatusCode, resp.Header, string(b)}
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
	s.T.Helper()
	snapshot, err := s.admin.Subscriptions().Snapshot(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	found := make(map[string]*subscription.Subscription)
	for _, sub := range snapshot.All() {
		found[sub.ID] = sub
	}
	return found
}

const subscriptions = "/event/api/v1/subscriptions"
