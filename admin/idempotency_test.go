package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	withoutID := strings.Replace(ci, `"id":"ci",`, "", 1)
	first := f.do("POST", "/v1/subscriptions", withoutID, "Idempotency-Key", "k1").want(http.StatusCreated)
	again := f.do("POST", "/v1/subscriptions", withoutID, "Idempotency-Key", "k1").want(http.StatusCreated)
	if string(first.body) != string(again.body) || first.subscription().Secret == "" {
		t.Errorf("got\n%s, then\n%s", first.body, again.body)
	}
	for _, name := range []string{"Etag", "Location", "Content-Type"} {
		if first.header.Get(name) == "" || first.header.Get(name) != again.header.Get(name) {
			t.Errorf("%s was %q, and then %q", name, first.header.Get(name), again.header.Get(name))
		}
	}
	if first.header.Get("Idempotency-Replayed") != "" || again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("X-Request-Id") == first.header.Get("X-Request-Id") {
		t.Errorf("got %v, then %v", first.header, again.header)
	}
	if got := len(f.subscriptionIDs()); got != 1 {
		t.Errorf("there are %d subscriptions", got)
	}
	f.do("POST", "/v1/subscriptions", ci, "Idempotency-Key", "k1").want(http.StatusUnprocessableEntity).mustContain("another request")
	id := first.subscription().ID
	f.do("POST", "/v1/subscriptions/"+id+"/test", withoutID, "Idempotency-Key", "k1").want(http.StatusUnprocessableEntity)
	rotated := f.do("POST", "/v1/subscriptions/"+id+"/rotate-secret", "", "Idempotency-Key", "k2").want(http.StatusOK)
	if again := f.do("POST", "/v1/subscriptions/"+id+"/rotate-secret", "", "Idempotency-Key", "k2"); string(again.body) != string(rotated.body) {
		t.Errorf("got\n%s, then\n%s", rotated.body, again.body)
	}
	// What may be answered otherwise later is not kept; what is wrong with a request is.
	f.do("POST", "/v1/subscriptions/unknown/pause", "", "Idempotency-Key", "k3").want(http.StatusNotFound)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("unknown")).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/unknown/pause", "", "Idempotency-Key", "k3").want(http.StatusOK)
	f.do("POST", "/v1/subscriptions", `{}`, "Idempotency-Key", "k4").want(http.StatusUnprocessableEntity)
	if r := f.do("POST", "/v1/subscriptions", `{}`, "Idempotency-Key", "k4").want(http.StatusUnprocessableEntity); r.header.Get("Idempotency-Replayed") != "true" {
		t.Error("a refusal is not kept")
	}
	// Where nothing can be done twice it is ignored.
	f.do("GET", "/v1/subscriptions", "", "Idempotency-Key", "k1").want(http.StatusOK)
	f.do("PATCH", "/v1/subscriptions/"+id, `{"description":"x"}`, "Idempotency-Key", "k1").want(http.StatusOK)
	f.do("POST", "/v1/nope", "", "Idempotency-Key", "k1").want(http.StatusNotFound)
	for _, key := range []string{"two words", strings.Repeat("x", 256), "ü"} {
		f.do("POST", "/v1/subscriptions", ci, "Idempotency-Key", key).want(http.StatusBadRequest)
	}
	f.do("POST", "/v1/subscriptions/"+id+"/pause", "", "Idempotency-Key", strings.Repeat("x", 255)).want(http.StatusOK)
}

// Of many requests with one key one is done, and all learn what it was answered.
func TestIdempotencyKeyAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	withoutID := strings.Replace(ci, `"id":"ci",`, "", 1)
	answers := make([]reply, 8)
	var asking sync.WaitGroup
	for i := range answers {
		asking.Go(func() {
			for deadline := time.Now().Add(patience); ; {
				answers[i] = f.do("POST", "/v1/subscriptions", withoutID, "Idempotency-Key", "k1")
				if answers[i].status != http.StatusConflict || time.Now().After(deadline) {
					return
				}
				if answers[i].header.Get("Retry-After") == "" {
					t.Error("a client is not asked to wait")
				}
			}
		})
	}
	asking.Wait()
	replayed := 0
	for _, r := range answers {
		r.want(http.StatusCreated)
		if string(r.body) != string(answers[0].body) {
			t.Errorf("got %s, and %s", r.body, answers[0].body)
		}
		if r.header.Get("Idempotency-Replayed") == "true" {
			replayed++
		}
	}
	if got := len(f.subscriptionIDs()); got != 1 || replayed != len(answers)-1 {
		t.Errorf("there are %d subscriptions, %d answers were replayed", got, replayed)
	}
}

// subscriptionIDs are those in the store.
func (f *fixture) subscriptionIDs() []string {
	f.t.Helper()
	kv, err := f.js.KeyValue(f.t.Context(), f.layout.SubscriptionsBucket())
	if err != nil {
		f.t.Fatal(err)
	}
	keys, err := kv.Keys(context.WithoutCancel(f.t.Context()))
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		f.t.Fatal(err)
	}
	return keys
}
