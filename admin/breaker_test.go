package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// breakerOf is what the API shows.
func (f *fixture) breakerOf(id string) v1.BreakerState {
	f.t.Helper()
	var got v1.BreakerState
	if err := json.Unmarshal(f.do("GET", "/v1/subscriptions/"+id+"/breaker", "").want(http.StatusOK).body, &got); err != nil {
		f.t.Fatal(err)
	}
	return got
}

// openBreaker does what a sender does.
func (f *fixture) openBreaker(id string, now time.Time) jetstream.KeyValue {
	f.t.Helper()
	sub, err := f.store.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	kv, err := f.js.KeyValue(f.t.Context(), f.layout.StateBucket())
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := breaker.Change(f.t.Context(), kv, id, func(r breaker.Record) (breaker.Record, bool) {
		cause := breaker.Cause{Error: "connection refused", RetryAfter: time.Minute}
		return r.Trip(now, breaker.TargetOf(sub), "10 requests in a row have failed", 10, cause, breaker.Timing{}), true
	}); err != nil {
		f.t.Fatal(err)
	}
	return kv
}

func TestBreakerShownAndReset(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("hook")).want(http.StatusCreated)
	if diff := cmp.Diff(v1.BreakerState{State: "closed"}, f.breakerOf("hook")); diff != "" {
		t.Errorf("at the beginning (-want +got):\n%s", diff)
	}
	now := time.Now().UTC()
	f.openBreaker("hook", now)
	want := v1.BreakerState{
		State: "open", Since: now, DownSince: now, Reason: "10 requests in a row have failed", LastError: "connection refused", LastFailure: now,
		Failures: 10, Opened: 1, Backoff: v1.Duration(5 * time.Second), NextProbe: now.Add(time.Minute),
	}
	if diff := cmp.Diff(want, f.breakerOf("hook")); diff != "" {
		t.Errorf("open (-want +got):\n%s", diff)
	}
	var got v1.BreakerState
	if err := json.Unmarshal(f.do("POST", "/v1/subscriptions/hook/breaker/reset", "").want(http.StatusOK).body, &got); err != nil {
		t.Fatal(err)
	}
	if got.State != "closed" || got.Reason != "closed by hand" || got.Opened != 1 || !got.DownSince.IsZero() || !got.NextProbe.IsZero() {
		t.Errorf("after the reset: %+v", got)
	}
	if diff := cmp.Diff(got, f.breakerOf("hook")); diff != "" {
		t.Errorf("and then (-want +got):\n%s", diff)
	}
	f.do("POST", "/v1/subscriptions/hook/breaker/reset", "").want(http.StatusOK) // and again
	for _, method := range []string{"GET /breaker", "POST /breaker/reset"} {
		verb, path, _ := strings.Cut(method, " ")
		f.do(verb, "/v1/subscriptions/unknown"+path, "").want(http.StatusNotFound)
	}
}

// What is known about another endpoint, or while there is no breaker, is not shown.
func TestBreakerOfOtherEndpoint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("hook")).want(http.StatusCreated)
	f.openBreaker("hook", time.Now())
	f.do("PATCH", "/v1/subscriptions/hook", `{"delivery":{"breaker":{"mode":"off"}}}`).want(http.StatusOK)
	if got := f.breakerOf("hook"); got.State != "off" {
		t.Errorf("turned off: %+v", got)
	}
	f.do("PATCH", "/v1/subscriptions/hook", `{"delivery":{"breaker":{"mode":"on"}}}`).want(http.StatusOK)
	if got := f.breakerOf("hook"); got.State != "open" {
		t.Errorf("turned on: %+v", got)
	}
	f.do("PATCH", "/v1/subscriptions/hook", `{"endpoint":{"url":"https://other.example.com/"}}`).want(http.StatusOK)
	if got := f.breakerOf("hook"); got.State != "closed" || got.Opened != 0 {
		t.Errorf("another endpoint: %+v", got)
	}
}

func TestDeleteForgetsBreaker(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("hook")).want(http.StatusCreated)
	kv := f.openBreaker("hook", time.Now())
	for _, key := range []string{stream.StateOrder("hook"), stream.StateRate("hook")} {
		if _, err := kv.Put(t.Context(), key, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	f.do("DELETE", "/v1/subscriptions/hook", "").want(http.StatusOK)
	if e, err := kv.Get(t.Context(), stream.StateBreaker("hook")); err == nil {
		t.Errorf("there still is %s", e.Value())
	}
	if status, err := kv.Status(t.Context()); err != nil || status.Values() != 0 {
		t.Errorf("got %v, %v, want an empty bucket", status, err)
	}
	f.do("POST", "/v1/subscriptions", subscriptionNamed("hook")).want(http.StatusCreated)
	if got := f.breakerOf("hook"); got.State != "closed" || got.Opened != 0 {
		t.Errorf("made anew: %+v", got)
	}
}
