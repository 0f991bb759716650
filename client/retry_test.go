package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetpost/jetpost/client"
	"github.com/jetpost/jetpost/client/api"
)

// failing answers the first requests with a status, and then with {}. It counts them.
func failing(t *testing.T, failures int64, status int, header ...string) (c *client.Client, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || r.Method == http.MethodPost && r.URL.Path != "/v1/subscriptions/ci/resume" && len(body) == 0 {
			t.Errorf("a request has no body: %v", err)
		}
		if requests.Add(1) > failures {
			_, _ = io.WriteString(w, "{}")
			return
		}
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"title":"no","status":1,"detail":"not now","errors":[{"field":"id","message":"is taken"}],"request_id":"r1"}`)
	}))
	t.Cleanup(server.Close)
	return newClient(t, server.URL), requests
}

func TestRetry(t *testing.T) {
	t.Parallel()
	sub := &api.Subscription{}
	for name, test := range map[string]struct {
		status   int
		header   []string
		call     func(context.Context, *client.Client) error
		requests int64 // of which the last succeeds, when it is 3
	}{
		"a read":   {503, nil, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Get(ctx, "ci")) }, 3},
		"too many": {429, []string{"Retry-After", "0"}, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Get(ctx, "ci")) }, 3},
		"a replacement": {503, nil, func(ctx context.Context, c *client.Client) error {
			return second(c.Subscriptions.Replace(ctx, "ci", sub))
		}, 3},
		"a deletion": {503, nil, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Delete(ctx, "ci")) }, 3},
		"a page":     {503, nil, func(ctx context.Context, c *client.Client) error { return first(c.Tokens.List(ctx, client.Paging{})) }, 3},
		"a stream":   {503, nil, func(ctx context.Context, c *client.Client) error { return second(c.Audit.Export(ctx, 0, 0)) }, 3},
		"an event":   {503, nil, func(ctx context.Context, c *client.Client) error { return second(c.Events.Publish(ctx, &api.Event{})) }, 3},
		"with a key": {503, nil, func(ctx context.Context, c *client.Client) error {
			return second(c.Subscriptions.Create(ctx, sub, client.IdempotencyKey("k")))
		}, 3},
		"under way": {409, []string{"Retry-After", "0"}, func(ctx context.Context, c *client.Client) error {
			return second(c.Subscriptions.Create(ctx, sub, client.IdempotencyKey("k")))
		}, 1}, // without a time it is a conflict like another
		"under way for a second": {409, []string{"Retry-After", "1"}, func(ctx context.Context, c *client.Client) error {
			return second(c.Subscriptions.Create(ctx, sub, client.IdempotencyKey("k")))
		}, 3},
		"a dry run": {503, nil, func(ctx context.Context, c *client.Client) error {
			return second(c.Subscriptions.Create(ctx, sub, client.DryRun()))
		}, 3},
		"a creation": {503, nil, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Create(ctx, sub)) }, 1},
		"a patch": {503, nil, func(ctx context.Context, c *client.Client) error {
			return second(c.Subscriptions.Patch(ctx, "ci", sub))
		}, 1},
		"a token": {503, nil, func(ctx context.Context, c *client.Client) error {
			return second(c.Tokens.Create(ctx, &api.TokenOptions{}, client.IdempotencyKey("k")))
		}, 1},
		"not found":               {404, nil, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Get(ctx, "ci")) }, 1},
		"a server that is broken": {500, nil, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Get(ctx, "ci")) }, 1},
		"too long to wait":        {503, []string{"Retry-After", "3600"}, func(ctx context.Context, c *client.Client) error { return second(c.Subscriptions.Get(ctx, "ci")) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, requests := failing(t, 2, test.status, test.header...)
			err := test.call(t.Context(), c)
			if got := requests.Load(); got != test.requests {
				t.Errorf("got %d requests, want %d", got, test.requests)
			}
			p, refused := errors.AsType[*api.Problem](err)
			if refused != (test.requests == 1) {
				t.Fatalf("got %v", err)
			}
			if refused && p.Status != test.status {
				t.Errorf("got the status %d", p.Status)
			}
		})
	}
}

// A wait that would end after the caller's deadline is not begun: the problem says more.
func TestRetryDeadline(t *testing.T) {
	t.Parallel()
	c, requests := failing(t, 9, http.StatusServiceUnavailable, "Retry-After", "30")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err := c.Subscriptions.Get(ctx, "ci")
	p, ok := errors.AsType[*api.Problem](err)
	if !ok || p.RetryAfter != 30*time.Second || requests.Load() != 1 {
		t.Fatalf("got %v after %d requests", err, requests.Load())
	}
	if got := p.Error(); got != "not now\n  id: is taken (request r1)" {
		t.Errorf("got %q", got)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	wrapped := errors.New("start it")
	c, err := client.New(client.Config{URL: server.URL + "/", WrapError: func(err error) error { return errors.Join(wrapped, err) }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Subscriptions.Get(t.Context(), "secret-id")
	lost, ok := errors.AsType[*client.ConnectionError](err)
	if !ok || lost.URL != server.URL || !errors.Is(err, wrapped) || strings.Contains(err.Error(), "secret-id") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Subscriptions.Get(ctx, "ci"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := first(c.Attempts.Follow(ctx, "", 0)); err != nil {
		t.Errorf("what is not followed any more is no error: %v", err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "localhost:8080", "ftp://x", "https://", "https://me:secret@x", "https://x?y=z"} {
		if _, err := client.New(client.Config{URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", url, err)
		}
	}
	c, _ := failing(t, 0, 0)
	for _, id := range []string{"", ".", ".."} {
		if _, err := c.Subscriptions.Delete(t.Context(), id); err == nil {
			t.Errorf("%q is not the name of anything", id)
		}
	}
}

// What is sent with every request.
func TestHeaders(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer jp_x" {
			t.Errorf("got the authorization %q", got)
		}
		if got := r.Header.Get("User-Agent"); got != "shop/1" {
			t.Errorf("got the agent %q", got)
		}
		if got := r.URL.String(); got != "/base/v1/subscriptions/a%2Fb?keep_secrets=true" {
			t.Errorf("got %s", got)
		}
		if r.Header.Get("If-Match") != `"7"` {
			t.Error("If-Match is missing")
		}
		_, _ = io.WriteString(w, `{"id":"a/b"}`)
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{URL: server.URL + "/base", Token: "jp_x", UserAgent: "shop/1", HTTPClient: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	var got client.Response
	sub, err := c.Subscriptions.Patch(t.Context(), "a/b", map[string]any{"description": nil}, client.IfMatch(client.ETag(7)), client.KeepSecrets(), client.WithResponse(&got))
	if err != nil || sub.ID != "a/b" || string(got.Body) != `{"id":"a/b"}` || got.Status != http.StatusOK {
		t.Errorf("got %+v %v", got, err)
	}
}

// The header is seconds, of whatever number, or a time by the clock of the server.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const theirs = "Fri, 31 Jan 2020 12:00:00 GMT"
	for value, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "Fri, 31 Jan 2020 12:00:20 GMT": 20 * time.Second, "Fri, 31 Jan 2020 11:00:00 GMT": 0,
		"99999999999999999999": 1<<63 - 1,
	} {
		c, _ := failing(t, 1, http.StatusInternalServerError, "Retry-After", value, "Date", theirs)
		_, err := c.Storage.Get(t.Context())
		if p, ok := errors.AsType[*api.Problem](err); !ok || p.RetryAfter != want {
			t.Errorf("%s: got %v, want %s", value, p, want)
		}
	}
}
