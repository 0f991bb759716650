package admin

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/keyring"
)

func TestUnrouted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("GET", "/v1/nope", "").want(http.StatusNotFound).mustContain("/openapi.json")
	f.do("GET", "/", "").want(http.StatusNotFound)
	f.do("GET", "/doc", "").want(http.StatusNotFound).mustContain("/docs")
	r := f.do("DELETE", "/v1/subscriptions", "").want(http.StatusMethodNotAllowed)
	if got := r.header.Get("Allow"); got != "GET, HEAD, POST" {
		t.Errorf("got Allow %q", got)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if got := f.do("GET", "/v1/event-types", "", "X-Request-Id", "mine-1").header.Get("X-Request-Id"); got != "mine-1" {
		t.Errorf("got %q", got)
	}
	made := f.do("GET", "/v1/event-types", "").header.Get("X-Request-Id")
	other := f.do("GET", "/v1/event-types", "", "X-Request-Id", strings.Repeat("x", 129)).header.Get("X-Request-Id")
	if len(made) < 16 || len(other) < 16 || len(other) > 128 || made == other {
		t.Errorf("got %q and %q", made, other)
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /before", func(http.ResponseWriter, *http.Request) { panic("swordfish") })
	mux.HandleFunc("GET /amid", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("swordfish")
	})
	server := httptest.NewUnstartedServer(f.admin.api.Envelope(httpapi.Face{}, mux))
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.Start()
	defer server.Close()
	r := send(t, "GET", server.URL+"/before", "", "X-Request-Id", "r1").want(http.StatusInternalServerError).mustContain(`"request_id":"r1"`)
	r.mustNotContain("swordfish")
	resp, err := server.Client().Get(server.URL + "/amid")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("half an answer looks whole")
	}
	if logged := f.logs.FilterLevelExact(zapcore.ErrorLevel).All(); len(logged) != 2 || logged[0].ContextMap()["request_id"] != "r1" {
		t.Errorf("got %d entries in the log: %v", len(logged), logged)
	}
}

// A client that sends its body slowly, or not at all, is not waited for.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.BodyTimeout = 50 * time.Millisecond })
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /v1/subscriptions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 408 ")) || !bytes.Contains(answer, []byte("application/problem+json")) {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mux := http.NewServeMux()
	MountHealth(mux, f.nats.Conn(), f.view, f.reg)
	server := httptest.NewServer(mux)
	defer server.Close()
	send(t, "GET", server.URL+"/livez", "").want(http.StatusOK).mustContain(`{"status":"ok"}`)
	send(t, "GET", server.URL+"/readyz", "").want(http.StatusOK).mustContain(`{"status":"ok","checks":{"jetstream":"ok","nats":"ok","subscriptions":"ok"}}`)
	f.do("GET", "/v1/event-types", "")
	f.do("GET", "/v1/nope/swordfish", "")
	send(t, "GET", server.URL+"/metrics", "").want(http.StatusOK).mustContain(
		`jetpost_admin_requests_total{route="GET /v1/event-types",status="2xx"} 1`,
		`jetpost_admin_requests_total{route="none",status="4xx"} 1`,
		`jetpost_admin_request_seconds_count{route="GET /v1/event-types"} 1`,
		`jetpost_admin_followers 0`,
	).mustNotContain("swordfish")

	f.nats.Stop()
	started := time.Now()
	r := send(t, "GET", server.URL+"/readyz", "")
	var got health
	r.into(&got)
	if r.status != http.StatusServiceUnavailable || got.Status != "not ready" || len(got.Checks) != 3 {
		t.Errorf("got %d: %s", r.status, r.body)
	}
	for name, reason := range got.Checks {
		if reason == "ok" || reason == "" {
			t.Errorf("%s is said to be %q while NATS is away", name, reason)
		}
	}
	if took := time.Since(started); took > readyTimeout+10*time.Second {
		t.Errorf("the answer took %v", took)
	}
	send(t, "GET", server.URL+"/livez", "").want(http.StatusOK)
	f.nats.Start()
	for deadline := time.Now().Add(patience); send(t, "GET", server.URL+"/readyz", "").status != http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("not ready again")
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, cfg := range []Config{{Timeout: -1}, {BodyTimeout: -1}, {Heartbeat: -1}, {MaxFollowers: -1}} {
		if _, err := New(cfg, f.js, f.layout, f.store, f.view, nil, nil, zap.NewNop(), prometheus.NewRegistry()); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	if _, err := New(Config{}, f.js, f.layout, f.store, f.view, nil, nil, zap.NewNop(), f.reg); err == nil {
		t.Error("metrics that are registered twice are no error")
	}
}

var update = flag.Bool("update", false, "rewrite golden files")

// The description of the API is what clients are generated from.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.do("GET", "/openapi.json", "").want(http.StatusOK)
	if got := r.header.Get("Content-Type"); got != "application/openapi+json" {
		t.Errorf("got content type %q", got)
	}
	r.mustNotContain("https://unpkg", "ErrorModel", "null}")
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, r.body, "", "  "); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(golden, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Errorf("the document changed; if that is meant, run with -update (-want +got):\n%s", diff)
	}
	var document struct {
		OpenAPI    string `json:"openapi"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Description string `json:"description"`
					Ref         string `json:"$ref"`
				} `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	r.into(&document)
	if document.OpenAPI != "3.1.0" {
		t.Errorf("got OpenAPI %s", document.OpenAPI)
	}
	for _, name := range []string{
		"Attempt", "AuditEntry", "AuditHead", "AuditPlace", "AuditRecord", "Breaker", "Clause", "Compared", "DeadLetter", "Delivery", "Endpoint", "EventRef",
		"Handshake", "Managed", "Queue", "Retrying", "SigningKey", "Subscription", "Template",
	} {
		properties := document.Components.Schemas[name].Properties
		if len(properties) == 0 {
			t.Errorf("there is no %s to describe", name)
		}
		for field, property := range properties {
			if property.Description == "" {
				t.Errorf("%s.%s has no description", name, field)
			}
		}
	}
}

// What the API shows of a subscription never has a secret, whichever way it goes.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],
		"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish","secret_headers":{"X-Key":"swordfish"}}}`).want(http.StatusCreated).subscription().Secret
	for _, r := range []reply{
		f.do("GET", "/v1/subscriptions/ci", ""),
		f.do("GET", "/v1/subscriptions", ""),
		f.do("PATCH", "/v1/subscriptions/ci", `{"description":"x"}`),
		f.do("PUT", "/v1/subscriptions/ci", string(f.do("GET", "/v1/subscriptions/ci", "").body)),
		f.do("POST", "/v1/subscriptions/ci/pause", ""),
		f.do("POST", "/v1/subscriptions/ci/resume", ""),
		f.do("POST", "/v1/subscriptions/ci/test", ""),
		f.do("POST", "/v1/subscriptions", `{"id":"ci","types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/hook?token=swordfish"}}`),
		f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"url":"http://u:swordfish@127.0.0.1/"}}`),
		f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"query":["swordfish"],"secret_headers":{"X-Key":7}}}`),
	} {
		r.mustNotContain("swordfish", secret)
	}
	for _, entry := range f.logs.All() {
		text, err := json.Marshal(entry.ContextMap())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text)+entry.Message, "swordfish") || strings.Contains(string(text), secret) {
			t.Errorf("the log shows a secret: %s %s", entry.Message, text)
		}
	}
	if keyring.Placeholder != "[secret]" {
		t.Errorf("clients know the placeholder %q", keyring.Placeholder)
	}
}
