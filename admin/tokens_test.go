package admin

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
)

const rootToken = "token-of-the-server"

// newKeeping is a fixture that keeps tokens, and asks for none.
func newKeeping(t *testing.T) (*fixture, *access.Live) {
	t.Helper()
	f := newFixture(t)
	live := access.NewLive(f.js, f.layout, zap.NewNop())
	f.restart(func(c *Config) { c.Tokens = access.NewStore(f.js, f.layout, live, zap.NewNop()) })
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- live.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return f, live
}

// newGuarded is a fixture whose url asks for the tokens that it keeps.
func newGuarded(t *testing.T) *fixture {
	t.Helper()
	f, live := newKeeping(t)
	guard, err := access.NewGuard(access.GuardConfig{Bootstrap: rootToken, WrongRate: 1e6}, live, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(guard.Protect(f.admin.Handler(), access.Routes{}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// as makes a request with a token.
func (f *fixture) as(token, method, path, body string) reply {
	f.t.Helper()
	return f.do(method, path, body, "Authorization", "Bearer "+token)
}

// token makes a token, and returns its id and text.
func (f *fixture) token(body string) (id, text string) {
	f.t.Helper()
	var made struct{ ID, Token string }
	f.as(rootToken, "POST", "/v1/tokens", body).want(http.StatusCreated).into(&made)
	return made.ID, made.Token
}

func TestTokens(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	id, text := f.token(`{"name":"export","role":"auditor","ttl":"24h"}`)
	var got v1.Token
	f.as(text, "GET", "/v1/tokens/self", "").want(http.StatusOK).mustNotContain(text).into(&got)
	if got.ID != id || got.Name != "export" || got.Role != v1.Auditor || got.CreatedBy != access.BootstrapID || got.Expired ||
		got.ExpiresAt == nil || got.ExpiresAt.Sub(*got.CreatedAt) < 24*time.Hour-2*time.Second {
		t.Errorf("got %+v", got)
	}
	for deadline := time.Now().Add(patience); got.LastUsedAt == nil; {
		if time.Now().After(deadline) {
			t.Fatal("its use was not noted")
		}
		f.as(rootToken, "GET", "/v1/tokens/"+id, "").want(http.StatusOK).mustNotContain(text).into(&got)
	}

	// It is renamed, expires, and is revived.
	f.as(rootToken, "PATCH", "/v1/tokens/"+id, `{"name":"nightly export"}`).want(http.StatusOK).mustContain(`"name":"nightly export"`, `"expires_at"`)
	f.as(rootToken, "PATCH", "/v1/tokens/"+id, `{"expires_at":"2020-01-01T00:00:00Z"}`).want(http.StatusOK).mustContain(`"expired":true`)
	f.as(text, "GET", "/v1/subscriptions", "").want(http.StatusUnauthorized).mustContain("has expired at 2020-01-01T00:00:00Z")
	f.as(rootToken, "PATCH", "/v1/tokens/"+id, `{"expires_at":null}`).want(http.StatusOK).mustNotContain("expire")
	f.as(text, "GET", "/v1/subscriptions", "").want(http.StatusOK)
	f.as(rootToken, "PATCH", "/v1/tokens/"+id, `{"role":"admin"}`).want(http.StatusUnprocessableEntity).mustContain("role")
	f.as(rootToken, "PATCH", "/v1/tokens/"+id, `{"expires_at":7}`).want(http.StatusUnprocessableEntity)
	f.as(rootToken, "PATCH", "/v1/tokens/"+id, `{"name":""}`).want(http.StatusUnprocessableEntity)

	f.as(rootToken, "DELETE", "/v1/tokens/"+id, "").want(http.StatusNoContent)
	f.as(text, "GET", "/v1/subscriptions", "").want(http.StatusUnauthorized)
	for _, gone := range []string{id, "abcdefghijkl", "FOO", access.BootstrapID, text} {
		for _, r := range []reply{
			f.as(rootToken, "GET", "/v1/tokens/"+gone, ""), f.as(rootToken, "DELETE", "/v1/tokens/"+gone, ""),
			f.as(rootToken, "PATCH", "/v1/tokens/"+gone, `{"name":"x"}`),
		} {
			r.want(http.StatusNotFound).mustNotContain(text)
		}
	}
	f.as(rootToken, "GET", "/v1/tokens/self", "").want(http.StatusOK).mustContain(`"id":"bootstrap"`, `"role":"admin"`).mustNotContain("created_at")
	for _, entry := range f.logs.All() {
		if strings.Contains(entry.Message, text) {
			t.Error("the log shows a token")
		}
	}
}

func TestCreateTokenRefuses(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	for _, tt := range []struct{ field, body string }{
		{"name", `{"role":"admin"}`},
		{"role", `{"name":"x"}`},
		{"role", `{"name":"x","role":"root"}`},
		{"domains", `{"name":"x","role":"publisher"}`},
		{"domains[1]", `{"name":"x","role":"publisher","domains":["git","nowhere"]}`},
		{"domains", `{"name":"x","role":"auditor","domains":["git"]}`},
		{"rate", `{"name":"x","role":"admin","rate":-1}`},
		{"ttl", `{"name":"x","role":"admin","ttl":"1h","expires_at":"2090-01-01T00:00:00Z"}`},
		{"ttl", `{"name":"x","role":"admin","ttl":"0s"}`},
		{"expires_at", `{"name":"x","role":"admin","expires_at":"2020-01-01T00:00:00Z"}`},
		{"", `{"name":"x","role":"admin","scope":"all"}`},
	} {
		r := f.as(rootToken, "POST", "/v1/tokens", tt.body).want(http.StatusUnprocessableEntity)
		if diff := cmp.Diff([]string{tt.field}, r.fields()); diff != "" {
			t.Errorf("%s: fields (-want +got):\n%s", tt.body, diff)
		}
	}
	f.as(rootToken, "GET", "/v1/tokens", "").want(http.StatusOK).mustContain(`"items":[]`)
}

// Pages go on where the last one ended, whatever comes and goes meanwhile.
func TestTokenPages(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		f.token(`{"name":"` + name + `","role":"auditor"}`)
	}
	var page v1.Page[v1.Token]
	f.as(rootToken, "GET", "/v1/tokens?limit=2", "").want(http.StatusOK).into(&page)
	got := []string{page.Items[0].Name, page.Items[1].Name}
	f.as(rootToken, "DELETE", "/v1/tokens/"+page.Items[1].ID, "").want(http.StatusNoContent) // where the page ended
	f.token(`{"name":"f","role":"auditor"}`)
	for page.NextCursor != "" {
		cursor := page.NextCursor
		page.NextCursor, page.Items = "", nil
		f.as(rootToken, "GET", "/v1/tokens?limit=2&cursor="+cursor, "").want(http.StatusOK).into(&page)
		for _, item := range page.Items {
			got = append(got, item.Name)
		}
	}
	slices.Sort(got) // those of the same millisecond come in any order
	if joined := strings.Join(got, ""); joined != "abcdef" {
		t.Errorf("got the pages %s", joined)
	}
	f.as(rootToken, "GET", "/v1/tokens?cursor=x", "").want(http.StatusUnprocessableEntity)
}

// A caller cannot revoke or expire the token of the request itself without force.
func TestOwnToken(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	id, text := f.token(`{"name":"me","role":"admin"}`)
	f.as(text, "DELETE", "/v1/tokens/"+id, "").want(http.StatusConflict).mustContain("force=true")
	f.as(text, "PATCH", "/v1/tokens/"+id, `{"expires_at":"2020-01-01T00:00:00Z"}`).want(http.StatusConflict).mustContain("force=true")
	f.as(text, "PATCH", "/v1/tokens/"+id, `{"expires_at":"2090-01-01T00:00:00Z"}`).want(http.StatusOK)
	f.as(text, "DELETE", "/v1/tokens/"+id+"?force=true", "").want(http.StatusNoContent)
	f.as(text, "GET", "/v1/tokens/self", "").want(http.StatusUnauthorized)
}

// A publisher sees what it may publish. The rest is not there, in the same words as
// what is really not there.
func TestPublisherSees(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	_, text := f.token(`{"name":"ci","role":"publisher","domains":["git"]}`)
	f.publish(newEvent("git.push", "mine"))
	f.publish(newEvent("docker.pushed", "theirs"))
	f.as(text, "GET", "/v1/events", "").want(http.StatusOK).mustContain(`"mine"`).mustNotContain("theirs", "docker")
	f.as(text, "GET", "/v1/events?domain=git", "").want(http.StatusOK).mustContain(`"mine"`)
	f.as(text, "GET", "/v1/event-types", "").want(http.StatusOK).mustContain(`"git.push"`).mustNotContain("docker")
	f.as(text, "GET", "/v1/event-types/git.push", "").want(http.StatusOK)
	f.as(text, "POST", "/v1/event-types/git.push/validate", `{}`).want(http.StatusOK)
	for _, tt := range []struct{ method, path string }{
		{"GET", "/v1/events?domain=%s"},
		{"GET", "/v1/events?type=%s.*"},
		{"GET", "/v1/events?type=%s.pushed"},
		{"GET", "/v1/events?type=%s.pushed&follow=true"},
		{"GET", "/v1/event-types?domain=%s"},
		{"GET", "/v1/event-types/%s.pushed"},
		{"POST", "/v1/event-types/%s.pushed/validate"},
	} {
		ask := func(domain string) reply {
			return f.as(text, tt.method, strings.ReplaceAll(tt.path, "%s", domain), "")
		}
		hidden, missing := ask("docker"), ask("dockes")
		if hidden.status < 400 || hidden.status != missing.status || strings.ReplaceAll(string(hidden.body), "docker", "dockes") != string(missing.body) {
			t.Errorf("%s %s:\nhidden  %d %s\nmissing %d %s", tt.method, tt.path, hidden.status, hidden.body, missing.status, missing.body)
		}
		hidden.mustNotContain("artifact")
	}
	if status := f.as(text, "GET", "/v1/event-types/docker.pushed", "").status; status != http.StatusNotFound {
		t.Errorf("a type of another domain: got %d", status)
	}
	_, all := f.token(`{"name":"gateway","role":"publisher","domains":["*"]}`)
	f.as(all, "GET", "/v1/events", "").want(http.StatusOK).mustContain("mine", "theirs")
	f.as(all, "GET", "/v1/events?domain=jetpost", "").want(http.StatusUnprocessableEntity)
}

// An auditor may try a redrive out, and no more.
func TestAuditorTriesOut(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	_, text := f.token(`{"name":"nightly","role":"auditor"}`)
	f.as(text, "POST", "/v1/redrives", `{"dry_run":true}`).want(http.StatusOK).mustContain(`"dry_run"`)
	f.as(text, "POST", "/v1/redrives", `{}`).want(http.StatusForbidden).mustContain("role auditor")
	f.as(text, "POST", "/v1/redrives", `{"dry_run":false}`).want(http.StatusForbidden)
	f.as(rootToken, "GET", "/v1/redrives", "").want(http.StatusOK).mustContain(`"items":[]`)
}

// Without a guard every request is refused.
func TestUnguarded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	server := httptest.NewServer(f.admin.Handler())
	defer server.Close()
	send(t, "GET", server.URL+"/v1/subscriptions", "").want(http.StatusUnauthorized)
	send(t, "POST", server.URL+"/v1/subscriptions", ci).want(http.StatusUnauthorized)
	send(t, "GET", server.URL+"/v1/tokens/self", "").want(http.StatusUnauthorized)
	f.do("GET", "/v1/tokens", "").want(http.StatusServiceUnavailable) // this one keeps none
}

// Who reads an export slowly is cut off as well, and does not take it for whole.
func TestRevokedWhileExporting(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	id, text := f.token(`{"name":"copy","role":"auditor"}`)
	large := audit.State(strings.Repeat("x", audit.MaxState-2))
	for range 100 { // more than connections hold
		r := audit.Record{Action: "domain.put", Target: "domains/large", Before: large, After: large}
		if err := f.admin.trail.Around(t.Context(), r, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/v1/audit/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+text)
	resp, err := (&http.Client{Timeout: 2 * patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f.as(rootToken, "DELETE", "/v1/tokens/"+id, "").want(http.StatusNoContent)
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("all %d bytes were exported", n)
	}
}

// Who follows a log is cut off when the token is revoked.
func TestRevokedWhileFollowing(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	id, text := f.token(`{"name":"tail","role":"auditor"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+"/v1/events?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+text)
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f.as(rootToken, "DELETE", "/v1/tokens/"+id, "").want(http.StatusNoContent)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("it did not end by itself: %v", err)
	}
}
