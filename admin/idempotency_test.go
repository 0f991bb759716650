package admin

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
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
	f.do("POST", "/v1/subscriptions/nobody/pause", "", "Idempotency-Key", "k3").want(http.StatusNotFound)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("nobody")).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/nobody/pause", "", "Idempotency-Key", "k3").want(http.StatusOK)
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
					t.Error("a client is not told to wait")
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

// A process that dies in the middle does not block a key for ever, and nobody gets
// what somebody else was answered.
func TestIdempotencyKeyOfTheDead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bucket, err := f.js.KeyValue(t.Context(), f.layout.IdempotencyBucket())
	if err != nil {
		t.Fatal(err)
	}
	begin := func(started time.Time) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/subscriptions", nil)
		sealed, err := f.admin.api.keyed.seal(recordKey(t.Context(), "k1"), &idempotentRecord{Request: requestHash(r, []byte(ci)), Started: started})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), recordKey(t.Context(), "k1"), sealed); err != nil {
			t.Fatal(err)
		}
	}
	begin(time.Now())
	f.do("POST", "/v1/subscriptions", ci, "Idempotency-Key", "k1").want(http.StatusConflict)
	begin(time.Now().Add(-f.admin.api.keyed.lease))
	f.do("POST", "/v1/subscriptions", ci, "Idempotency-Key", "k1").want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions", ci, "Idempotency-Key", "k1").want(http.StatusCreated)

	r := httptest.NewRequest(http.MethodPost, "/v1/subscriptions", strings.NewReader(ci))
	r.Header.Set("Idempotency-Key", "k1")
	w := httptest.NewRecorder()
	f.admin.Handler().ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{ID: "other", Role: access.Admin})))
	reply{t, w.Code, w.Header(), w.Body.Bytes()}.want(http.StatusConflict).mustContain("exists")

	// No secret lies there in the open.
	keys, err := bucket.Keys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Fatalf("got keys %v, %v", keys, err)
	}
	entry, err := bucket.Get(t.Context(), keys[0])
	if err != nil || strings.Contains(string(entry.Value()), "whsec_") || strings.Contains(string(entry.Value()), "created_at") {
		t.Errorf("got %q, %v", entry.Value(), err)
	}
	status, err := bucket.Status(t.Context())
	if err != nil || status.TTL() != stream.IdempotencyTTL {
		t.Errorf("answers are kept for %v, %v", status.TTL(), err)
	}
}

// A request that fails is not kept, also when it ends by a panic.
func TestIdempotencyKeyOfFailures(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	statuses := []int{http.StatusServiceUnavailable, 0, http.StatusConflict, http.StatusOK}
	calls := 0
	route := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status := statuses[calls]
		calls++
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
	})
	for _, want := range append(statuses, http.StatusOK) {
		r := httptest.NewRequest(http.MethodPost, "/v1/x", strings.NewReader("{}"))
		r.Header.Set("Idempotency-Key", "k1")
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if cause, _ := recover().(error); (want == 0) != errors.Is(cause, http.ErrAbortHandler) {
					t.Errorf("got the panic %v", cause)
				}
			}()
			f.admin.api.idempotent(w, r, route)
		}()
		if want != 0 && w.Code != want {
			t.Errorf("got %d, want %d", w.Code, want)
		}
	}
	if calls != len(statuses) {
		t.Errorf("the route was called %d times, want %d", calls, len(statuses))
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
