package securesourcemanager

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/access"
	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/schemas"
	"github.com/jetpost/jetpost/stream/streamtest"
	"github.com/jetpost/jetpost/subscription"
)

const (
	parent = "projects/harbor/locations/north/repositories/tug"
	hooks  = "/v1/" + parent + "/hooks"
	target = "http://127.0.0.1:9000/in"

	patience = 30 * time.Second
)

// A fixture is the API on a NATS server of its own.
type fixture struct {
	t       testing.TB
	nats    *streamtest.Server
	js      jetstream.JetStream
	keyring *subscription.Keyring
	store   *subscription.Store
	logs    *observer.ObservedLogs
	log     *zap.Logger

	admin  *admin.Admin
	url    string // of the API
	native string // of the native one
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	f := &fixture{t: tb, nats: streamtest.New(tb)}
	f.js = f.nats.JS()
	if err := f.nats.Layout.Ensure(tb.Context(), f.js, []string{"git"}); err != nil {
		tb.Fatal(err)
	}
	var err error
	if f.keyring, err = subscription.LoadKeyring(filepath.Join(tb.TempDir(), "keyset.json")); err != nil {
		tb.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	f.log, f.logs = zap.New(core), logs
	f.store = subscription.NewStore(f.js, f.nats.Layout, f.keyring, f.log)
	f.serve()
	return f
}

// another is one more admin on the same store.
func (f *fixture) another() *fixture {
	f.t.Helper()
	other := *f
	other.serve()
	return &other
}

func (f *fixture) serve() {
	f.t.Helper()
	catalogue, err := schemas.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	view := subscription.NewView(subscription.ViewConfig{}, f.js, f.nats.Layout, f.keyring, f.log)
	live := schemas.NewLive(catalogue, f.js, f.nats.Layout, f.log)
	ctx, stop := context.WithCancel(context.WithoutCancel(f.t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- view.Run(ctx) }()
	go func() { ended <- live.Run(ctx) }()
	f.t.Cleanup(func() {
		stop()
		<-ended
		<-ended
	})
	egress, err := subscription.NewEgress(subscription.EgressConfig{
		AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.admin, err = admin.New(admin.Config{}, f.js, f.nats.Layout, f.store, view, egress, live, f.log, prometheus.NewRegistry())
	if err != nil {
		f.t.Fatal(err)
	}
	api, err := New(Config{}, f.admin)
	if err != nil {
		f.t.Fatal(err)
	}
	server, native := httptest.NewServer(asAdmin(api.Handler())), httptest.NewServer(asAdmin(f.admin.Handler()))
	f.t.Cleanup(server.Close)
	f.t.Cleanup(native.Close)
	f.url, f.native = server.URL, native.URL
}

// headerRole is the role in which a request of a test is made.
const headerRole = "Test-Role"

// asAdmin has requests made by somebody who may make them.
func asAdmin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		role := cmp.Or(access.Role(r.Header.Get(headerRole)), access.Admin)
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{ID: "somebody", Role: role})))
	})
}

// A reply is the answer to a request.
type reply struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	body   string
}

func (f *fixture) do(method, path, body string, header ...string) reply {
	f.t.Helper()
	return f.send(method, f.url+path, body, header...)
}

func (f *fixture) send(method, url, body string, header ...string) reply {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Goog-User-Project", "billing")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{Timeout: patience}
	resp, err := client.Do(req)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, url, err)
	}
	return reply{f.t, method + " " + url + " " + body, resp.StatusCode, resp.Header, string(b)}
}

// ok fails the test unless the answer is 200, and reads it into out, if that is not nil.
func (r reply) ok(out any) reply {
	r.t.Helper()
	if r.status != http.StatusOK {
		r.t.Fatalf("%s: %d %s", r.what, r.status, r.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(r.body), out); err != nil {
			r.t.Fatalf("%s: %v in %s", r.what, err, r.body)
		}
	}
	return r
}

// A refused is an error as clients read it.
type refused struct {
	Error struct {
		Code    int
		Message string
		Status  string
		Details []struct {
			Type            string `json:"@type"`
			Reason, Domain  string
			Metadata        map[string]string
			FieldViolations []violation
		}
	}
}

// refuses fails the test unless the answer is an error in the form of the API, of that
// reason. It returns the fields that are named.
func (r reply) refuses(code int, name, reason string) []string {
	r.t.Helper()
	var e refused
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != code || e.Error.Code != code || e.Error.Status != name || e.Error.Message == "" {
		r.t.Errorf("%s: got %d %s, want %d %s", r.what, r.status, r.body, code, name)
		return nil
	}
	var fields []string
	infos, seen := 0, map[string]bool{}
	for _, d := range e.Error.Details {
		if seen[d.Type] {
			r.t.Errorf("%s: %s is there twice: %s", r.what, d.Type, r.body)
		}
		seen[d.Type] = true
		if strings.HasSuffix(d.Type, "google.rpc.ErrorInfo") {
			infos++
			if d.Reason != reason || d.Domain != "jetpost" || len(d.Reason) > 63 || strings.Trim(d.Reason, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
				r.t.Errorf("%s: got %+v, want reason %s", r.what, d, reason)
			}
			for key, value := range d.Metadata {
				if key != "" && !strings.Contains(e.Error.Message, value) {
					r.t.Errorf("%s: the message does not name %s=%s: %s", r.what, key, value, e.Error.Message)
				}
			}
		}
		for _, v := range d.FieldViolations {
			fields = append(fields, v.Field)
			if v.Description == "" {
				r.t.Errorf("%s: a violation says nothing: %s", r.what, r.body)
			}
		}
	}
	if infos != 1 {
		r.t.Errorf("%s: there are %d ErrorInfo in %s", r.what, infos, r.body)
	}
	return fields
}
