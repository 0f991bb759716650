package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

func TestPutCreates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	withoutID := strings.Replace(ci, `"id":"ci",`, "", 1)
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-Match", "*").want(http.StatusPreconditionFailed).mustContain("leave If-Match out")
	created := f.do("PUT", "/v1/subscriptions/ci", withoutID).want(http.StatusCreated)
	if sub := created.subscription(); sub.ID != "ci" || sub.Secret == "" || created.header.Get("Location") != "/v1/subscriptions/ci" || created.header.Get("ETag") == "" {
		t.Errorf("got %+v, %v", sub, created.header)
	}
	again := f.do("PUT", "/v1/subscriptions/ci", withoutID).want(http.StatusOK)
	if sub := again.subscription(); sub.Secret != "" || sub.Secrets[0].ID != created.subscription().Secrets[0].ID || again.header.Get("Location") != "" {
		t.Errorf("got %+v, %v", sub, again.header)
	}
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-Match", "*").want(http.StatusOK)
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-None-Match", "*").want(http.StatusPreconditionFailed)
	f.do("PUT", "/v1/subscriptions/new", withoutID, "If-None-Match", "*").want(http.StatusCreated)
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-None-Match", `"7"`).want(http.StatusOK)
	f.do("PUT", "/v1/subscriptions/ci", ci, "If-None-Match", "*", "If-Match", "*").want(http.StatusPreconditionFailed)
	f.do("PUT", "/v1/subscriptions/other", ci).want(http.StatusUnprocessableEntity).mustContain("cannot be changed")
	f.do("PUT", "/v1/subscriptions/_x", withoutID).want(http.StatusUnprocessableEntity)
	f.do("PUT", "/v1/subscriptions/sealed", `{"types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/","query":"[secret]"}}`).want(http.StatusUnprocessableEntity)
	if len(f.queued("new")) != 0 {
		t.Error("it has no queue")
	}
}

// another is a second admin of the installation, with a connection and views of its own.
func another(tb testing.TB, js jetstream.JetStream, layout stream.Layout, keyring *keyring.Keyring) string {
	tb.Helper()
	log := zap.NewNop()
	catalogue, err := schemas.Load()
	if err != nil {
		tb.Fatal(err)
	}
	egress, err := egress.New(egress.Config{AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		tb.Fatal(err)
	}
	view := subscription.NewView(subscription.ViewConfig{}, js, layout, keyring, log)
	live, err := schemas.NewLive(catalogue, js, layout.Prefix(), log)
	if err != nil {
		tb.Fatal(err)
	}
	store := subscription.NewStore(js, layout, keyring, log)
	a, err := New(Config{}, js, layout, store, view, egress, live, log, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 2)
	go func() { ended <- view.Run(ctx) }()
	go func() { ended <- live.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		<-ended
		<-ended
	})
	server := httptest.NewServer(asAdmin(a.Handler()))
	tb.Cleanup(server.Close)
	return server.URL
}

// What one admin has answered, the other one knows: infrastructure that is declared
// reads what it has written through a load balancer.
func TestTwoAdmins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other, err := jetstream.New(f.nats.Connect())
	if err != nil {
		t.Fatal(err)
	}
	readAfterWrite(t, [2]string{f.url, another(t, other, f.layout, f.store.Keyring())}, 100)
}

func TestTwoAdminsOfCluster(t *testing.T) {
	t.Parallel()
	c := streamtest.NewCluster(t)
	if err := c.Layout.Ensure(t.Context(), c.JS(), []string{"git"}); err != nil {
		t.Fatal(err)
	}
	keyring, err := keyring.Load(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	var urls [2]string
	for i := range urls {
		js, err := jetstream.New(c.Connect(i))
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = another(t, js, c.Layout, keyring)
	}
	readAfterWrite(t, urls, 12)
}

// readAfterWrite writes on one admin and reads on the other, alternately.
func readAfterWrite(t *testing.T, urls [2]string, rounds int) {
	t.Helper()
	for round := range rounds {
		one, other := urls[round%2], urls[(round+1)%2]
		id := fmt.Sprintf("s%d", round%3)
		path := "/v1/subscriptions/" + id
		in := func(where, text string) {
			t.Helper()
			send(t, "GET", where+path, "").want(http.StatusOK).mustContain(text)
			send(t, "GET", where+"/v1/subscriptions?label=round", "").want(http.StatusOK).mustContain(`"id":"`+id+`"`, text)
		}
		label := func(n int) string { return fmt.Sprintf(`"labels":{"round":"%d-%d"}`, round, n) }
		body := func(n int) string {
			return strings.Replace(subscriptionNamed(id), `"profile"`, label(n)+`,"profile"`, 1)
		}
		if round%2 == 0 {
			send(t, "POST", one+"/v1/subscriptions", body(0)).want(http.StatusCreated)
		} else {
			send(t, "PUT", one+path, body(0)).want(http.StatusCreated)
		}
		in(other, label(0))
		send(t, "POST", other+"/v1/subscriptions", body(0)).want(http.StatusConflict)
		send(t, "PUT", other+path, body(1)).want(http.StatusOK)
		in(one, label(1))
		tag := send(t, "GET", one+path, "").header.Get("ETag")
		send(t, "PATCH", one+path, "{"+label(2)+"}", "If-Match", tag).want(http.StatusOK)
		in(other, label(2))
		send(t, "PATCH", other+path, "{"+label(3)+"}", "If-Match", tag).want(http.StatusPreconditionFailed)
		send(t, "POST", other+path+"/pause", "").want(http.StatusOK)
		in(one, `"state":"paused"`)
		send(t, "DELETE", other+path, "").want(http.StatusOK)
		send(t, "GET", one+path, "").want(http.StatusNotFound)
		send(t, "GET", one+"/v1/subscriptions", "").want(http.StatusOK).mustNotContain(`"id":"` + id + `"`)
		send(t, "DELETE", one+path, "").want(http.StatusNotFound)
	}
}
