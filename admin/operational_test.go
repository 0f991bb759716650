package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/internal/testkit"
)

// newSpeakingFixture has an API that publishes operational events.
func newSpeakingFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	p, err := operational.NewPublisher(operational.Config{}, f.js, f.layout, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	f.restart(func(c *Config) { c.Events = p })
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

type said struct {
	kind string
	data map[string]any
}

// awaitSaid waits until there are n operational events, which fit their schemas, and
// returns them.
func (f *fixture) awaitSaid(n int) (all []said) {
	f.t.Helper()
	var events []*event.Event
	testkit.Until(f.t, func() (bool, string) {
		events = f.nats.Events(stream.OperationalDomain)
		return len(events) >= n, fmt.Sprintf("there are %d operational events, want %d", len(events), n)
	})
	for _, e := range events {
		if err := f.live.Current().Validate(e); err != nil {
			f.t.Error(err)
		}
		one := said{kind: strings.TrimPrefix(e.Type, "jetpost.")}
		if err := json.Unmarshal(e.Data, &one.data); err != nil {
			f.t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// What people do to subscriptions is published, each thing once, without a value of
// anything; what jetpost writes into them itself is not.
func TestWhatPeopleDoIsSaid(t *testing.T) {
	t.Parallel()
	f := newSpeakingFixture(t)
	const path = "/v1/subscriptions/ci"
	var want []string
	step := func(kind, fields string) {
		t.Helper()
		if kind != "" {
			want = append(want, strings.TrimSpace(kind+" "+fields))
		}
	}
	f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],"profile":"standard","labels":{"team":"anvil"},"secrets":[{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}],
		"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"X-Key":"swordfish"}}}`).want(http.StatusCreated)
	step("subscription.created", "")
	f.do("POST", "/v1/subscriptions", subscriptionNamed("ci")).want(http.StatusConflict)
	f.do("POST", path+"/pause", `{"reason":"lunch"}`).want(http.StatusOK)
	step("subscription.paused", "")
	f.do("POST", path+"/pause", `{"reason":"lunch"}`).want(http.StatusOK)
	f.do("POST", path+"/resume", "").want(http.StatusOK)
	step("subscription.resumed", "")
	f.do("PATCH", path, `{}`).want(http.StatusOK)
	f.do("PATCH", path, `{"description":"new","endpoint":{"url":"http://127.0.0.1:9000/other?token=sword-fish"}}`).want(http.StatusOK)
	step("subscription.updated", "description endpoint.query endpoint.url")
	f.do("PATCH", path, `{"endpoint":{"secret_headers":{"X-Key":"sword-fish"}},"state":"disabled"}`).want(http.StatusOK)
	step("subscription.updated", "endpoint.secret_headers")
	step("subscription.disabled", "")
	f.do("PATCH", path, `{"types":["nope"]}`).want(http.StatusUnprocessableEntity)
	f.do("POST", path+"/resume", "").want(http.StatusOK)
	step("subscription.resumed", "")
	f.do("POST", path+"/rotate-secret", "").want(http.StatusOK)
	step("subscription.updated", "secrets")
	f.do("PATCH", path, `{"handshake":{"mode":"preferred"}}`).want(http.StatusOK)
	step("subscription.updated", "handshake.mode")
	f.do("POST", path+"/handshake", "").want(http.StatusAccepted)
	if _, err := f.store.Change(t.Context(), "ci", func(sub *subscription.Subscription) error { // as a sender does
		sub.Handshake.Allow("120", "the receiver says so", time.Now())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.do("POST", path+"/test", `{}`).want(http.StatusAccepted)
	f.do("DELETE", path, "").want(http.StatusOK)
	step("subscription.deleted", "")
	f.do("DELETE", path, "").want(http.StatusNotFound)

	all := f.awaitSaid(len(want))
	var got []string
	for _, one := range all {
		fields, _ := one.data["changed"].([]any)
		got = append(got, strings.TrimSpace(one.kind+" "+strings.Trim(fmt.Sprint(fields), "[]")))
		if one.data["subscription_id"] != "ci" || one.data["actor"] != "admin" || fmt.Sprint(one.data["labels"]) != "map[team:anvil]" {
			t.Errorf("%s has %v", one.kind, one.data)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operational events (-want +got):\n%s", diff)
	}
	if paused := all[1].data; paused["was"] != "active" || paused["reason"] != "lunch" {
		t.Errorf("paused: %v", paused)
	}
	if deleted := all[len(all)-1].data; deleted["dropped"] != 1.0 {
		t.Errorf("deleted: %v", deleted)
	}
	for _, e := range f.nats.Events(stream.OperationalDomain) {
		for _, secret := range []string{"swordfish", "sword-fish", "whsec_", "MfKQ", "/hook", "token"} {
			if strings.Contains(string(e.AppendStructured(nil)), secret) {
				t.Errorf("%s has %q: %s", e.Type, secret, e.Data)
			}
		}
	}
}

// A breaker that a person closes is closed by that person.
func TestBreakerClosedByHandIsSaid(t *testing.T) {
	t.Parallel()
	f := newSpeakingFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	sub, err := f.store.Get(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	kv, err := f.js.KeyValue(t.Context(), f.layout.StateBucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := breaker.Change(t.Context(), kv, "ci", func(r breaker.Record) (breaker.Record, bool) {
		return r.Trip(time.Now(), breaker.TargetOf(sub), "the test says so", 1, breaker.Cause{}, breaker.Timing{}), true
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is closed already
		f.do("POST", "/v1/subscriptions/ci/breaker/reset", "").want(http.StatusOK)
	}
	f.do("DELETE", "/v1/subscriptions/ci", "").want(http.StatusOK)
	all := f.awaitSaid(3)
	if len(all) != 3 || all[1].kind != "breaker.closed" || all[1].data["actor"] != "admin" || all[1].data["reason"] != "closed by hand" {
		t.Errorf("got %v", all)
	}
}

// A subscription to operational events is like any other.
func TestSubscribeToOperationalEvents(t *testing.T) {
	t.Parallel()
	f := newSpeakingFixture(t)
	f.do("POST", "/v1/subscriptions", strings.Replace(ci, `"git.push"`, `"jetpost.*"`, 1)).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", strings.Replace(subscriptionNamed("two"), `"git.push"`, `"jetpost.breaker.opened"`, 1)).want(http.StatusCreated)
	for _, wildcard := range []string{"*", "*.*", "jetpost.breaker.*"} { // none is over several domains
		f.do("POST", "/v1/subscriptions", strings.Replace(subscriptionNamed("three"), `"git.push"`, `"`+wildcard+`"`, 1)).want(http.StatusUnprocessableEntity)
	}
	f.do("POST", "/v1/subscriptions/two/test", `{}`).want(http.StatusAccepted)
	if d := f.queued("two"); len(d) != 1 || d[0].Event.Type != "jetpost.breaker.opened" {
		t.Errorf("queued: %+v", d)
	}
	f.awaitSaid(2)
	f.do("GET", "/v1/events?domain=jetpost", "").want(http.StatusOK).mustContain("jetpost.subscription.created", `"subscription_id":"ci"`)
	f.do("PUT", "/v1/domains/jetpost", `{"files":{"domain.json":{"name":"jetpost","open":true}}}`).want(http.StatusConflict).mustContain("comes with jetpost")
}
