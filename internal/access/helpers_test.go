package access_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// patience bounds each wait. Running into it means that something is broken.
const patience = 30 * time.Second

// A fixture is the tokens bucket on a NATS server of its own.
type fixture struct {
	t      testing.TB
	nats   *streamtest.Server
	js     jetstream.JetStream
	layout stream.Layout
	logs   *observer.ObservedLogs
	log    *zap.Logger
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	f := &fixture{t: tb, nats: streamtest.New(tb)}
	f.layout, f.js = f.nats.Layout, f.nats.JS()
	if err := f.layout.Ensure(tb.Context(), f.js, nil); err != nil {
		tb.Fatal(err)
	}
	var core zapcore.Core
	core, f.logs = observer.New(zapcore.DebugLevel)
	f.log = zap.New(core)
	return f
}

// replica is the tokens as one process of several has them.
func (f *fixture) replica() *access.Live {
	f.t.Helper()
	live := access.NewLive(f.js, f.layout, f.log)
	ctx, stop := context.WithCancel(context.WithoutCancel(f.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- live.Run(ctx) }()
	f.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			f.t.Errorf("run: %v", err)
		}
	})
	return live
}

func (f *fixture) store(live *access.Live) *access.Store {
	return access.NewStore(f.js, f.layout, live, f.log)
}

func (f *fixture) guard(cfg access.GuardConfig, live *access.Live) *access.Guard {
	f.t.Helper()
	g, err := access.NewGuard(cfg, live, f.log, prometheus.NewRegistry())
	if err != nil {
		f.t.Fatal(err)
	}
	return g
}

// make creates a token.
func (f *fixture) make(store *access.Store, t access.Token) (access.Token, string) {
	f.t.Helper()
	if t.Name == "" {
		t.Name = "test"
	}
	made, text, err := store.Make(t)
	if err == nil {
		err = store.Create(f.t.Context(), made)
	}
	if err != nil {
		f.t.Fatalf("create token: %v", err)
	}
	return made, text
}

// whoami answers with the id of the principal.
func whoami(w http.ResponseWriter, r *http.Request) {
	p := access.PrincipalOf(r.Context())
	w.Header().Set("Id", p.ID)
	w.Header().Set("Role", string(p.Role))
	w.Header().Set("Address", p.Address)
	w.Header().Set("Seen-Request-Id", p.RequestID)
}

// ask makes a request; header is name, value, ….
func ask(h http.Handler, header ...string) *httptest.ResponseRecorder {
	return askFrom("192.0.2.7:4711", h, header...)
}

func askFrom(address string, h http.Handler, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/v1/subscriptions", nil)
	r.RemoteAddr = address
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func bearer(text string) []string { return []string{"Authorization", "Bearer " + text} }
