package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

const thing = `{"id":"ci"}`

var errExists = errors.New("it exists")

type madeThing struct {
	Body struct {
		Secret    string    `json:"secret"`
		CreatedAt time.Time `json:"created_at"`
	}
}

// newAPI is an API with the operation POST /v1/things, which makes one thing with a secret
// and no second one.
func newAPI(t *testing.T) (api *API, handler http.Handler, bucket jetstream.KeyValue) {
	t.Helper()
	server := streamtest.New(t)
	if err := server.Layout.Ensure(t.Context(), server.JS(), nil); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Load(filepath.Join(t.TempDir(), "keyset.json"))
	if err != nil {
		t.Fatal(err)
	}
	api, err = New(Config{
		Version: "test", Timeout: 30 * time.Second, BodyTimeout: 10 * time.Second, Heartbeat: time.Second, MaxFollowers: 1,
		Statuses: []ErrorStatus{{Err: errExists, Status: http.StatusConflict}},
	}, server.JS(), server.Layout, ring, zap.NewNop(), prometheus.NewPedanticRegistry())
	if err != nil {
		t.Fatal(err)
	}
	// The description of the API completes these.
	api.SchemaOf(reflect.TypeFor[v1.Subscription]())
	made := false
	RegisterBody[v1.Subscription](api, huma.Operation{
		OperationID: "make-thing", Method: http.MethodPost, Path: "/v1/things", DefaultStatus: http.StatusCreated,
	}, true, func(context.Context, *RawJSON) (*madeThing, error) {
		if made {
			return nil, errExists
		}
		made = true
		out := &madeThing{}
		out.Body.Secret, out.Body.CreatedAt = "whsec_swordfish", time.Now()
		return out, nil
	})
	if handler, err = api.Handler(); err != nil {
		t.Fatal(err)
	}
	if bucket, err = server.JS().KeyValue(t.Context(), server.Layout.IdempotencyBucket()); err != nil {
		t.Fatal(err)
	}
	return api, handler, bucket
}

// An interrupted process does not block a key without end, and a principal does not get
// what another one was answered.
func TestIdempotencyKeyOfTheDead(t *testing.T) {
	t.Parallel()
	api, handler, bucket := newAPI(t)
	const key = "k1"
	begin := func(started time.Time) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/things", nil)
		sealed, err := api.keyed.seal(recordKey(t.Context(), key), &idempotentRecord{Request: requestHash(r, []byte(thing)), Started: started})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bucket.Put(t.Context(), recordKey(t.Context(), key), sealed); err != nil {
			t.Fatal(err)
		}
	}
	post := func(p access.Principal) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/v1/things", strings.NewReader(thing))
		r.Header.Set(headerIdempotencyKey, key)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(access.With(t.Context(), p)))
		return w
	}
	want := func(w *httptest.ResponseRecorder, status int) {
		t.Helper()
		if w.Code != status {
			t.Errorf("got %d, want %d: %s", w.Code, status, w.Body)
		}
	}
	begin(time.Now())
	want(post(access.Principal{Role: access.Admin}), http.StatusConflict)
	begin(time.Now().Add(-api.keyed.lease))
	want(post(access.Principal{Role: access.Admin}), http.StatusCreated)
	want(post(access.Principal{Role: access.Admin}), http.StatusCreated)

	other := post(access.Principal{ID: "other", Role: access.Admin})
	want(other, http.StatusConflict)
	if !strings.Contains(other.Body.String(), "exists") {
		t.Errorf("got %s", other.Body)
	}

	// No secret is stored as it is.
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
	api, _, _ := newAPI(t)
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
		r.Header.Set(headerIdempotencyKey, "k1")
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if cause, _ := recover().(error); (want == 0) != errors.Is(cause, http.ErrAbortHandler) {
					t.Errorf("got the panic %v", cause)
				}
			}()
			api.idempotent(w, r, route)
		}()
		if want != 0 && w.Code != want {
			t.Errorf("got %d, want %d", w.Code, want)
		}
	}
	if calls != len(statuses) {
		t.Errorf("the route was called %d times, want %d", calls, len(statuses))
	}
}
