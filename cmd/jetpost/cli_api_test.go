package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	registry "github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

const apiToken = "jp_token-of-the-tests"

// apiPatience bounds each wait. Running into it means that something is broken.
const apiPatience = 30 * time.Second

// An apiServer is what the commands talk to: ingest and admin as serve mounts
// them, on a NATS server of its own, without router and sender.
type apiServer struct {
	tb     testing.TB
	url    string
	js     jetstream.JetStream
	layout stream.Layout

	pass      http.HandlerFunc // what answers otherwise
	mu        sync.Mutex
	intercept http.HandlerFunc // answers instead, while it is set
}

func newAPIServer(tb testing.TB) *apiServer {
	tb.Helper()
	nats := streamtest.New(tb)
	s := &apiServer{tb: tb, js: nats.JS(), layout: nats.Layout}
	catalogue, err := schemas.Load()
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.layout.Ensure(tb.Context(), s.js, domainNames(catalogue)); err != nil {
		tb.Fatal(err)
	}
	keyring, err := keyring.Load(filepath.Join(tb.TempDir(), "keyset.json"))
	if err != nil {
		tb.Fatal(err)
	}
	store := subscription.NewStore(s.js, s.layout, keyring, zap.NewNop())
	view := subscription.NewView(subscription.ViewConfig{}, s.js, s.layout, keyring, zap.NewNop())
	viewing, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	live, err := schemas.NewLive(catalogue, s.js, s.layout.Prefix(), zap.NewNop())
	if err != nil {
		tb.Fatal(err)
	}
	tokens := access.NewLive(s.js, s.layout, zap.NewNop())
	repositories := registry.New(s.js, s.layout, zap.NewNop())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{view.Run, live.Run, tokens.Run, repositories.Run} {
		running.Go(func() { _ = run(viewing) })
	}
	tb.Cleanup(func() {
		stop()
		running.Wait()
	})
	egress, err := egress.New(egress.Config{AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		tb.Fatal(err)
	}
	api, err := admin.New(admin.Config{Heartbeat: 50 * time.Millisecond, Tokens: access.NewStore(s.js, s.layout, tokens, zap.NewNop()), Repositories: repositories}, s.js, s.layout, store, view, egress, live, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	ingest, err := producer.New(producer.Config{Prefix: s.layout.Prefix()}, s.js, live, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	guard, err := access.NewGuard(access.GuardConfig{Bootstrap: apiToken, WrongRate: 1e6}, tokens, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	mountIngest(mux, guard, ingest, true)
	if err := mountAdmin(mux, guard, api, s.js, repositories, nil, zap.NewNop()); err != nil {
		tb.Fatal(err)
	}
	s.pass = mux.ServeHTTP
	admin.MountHealth(mux, nats.Conn(), view, prometheus.NewRegistry())
	admin.MountRoot(mux, true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		intercept := s.intercept
		s.mu.Unlock()
		if intercept != nil {
			intercept(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	tb.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *apiServer) setIntercept(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = h
}

// A cliResult is what a command has left.
type cliResult struct {
	tb             testing.TB
	stdout, stderr string
	err            error
}

// cli runs a command line as a process would, against the server.
func (s *apiServer) cli(args ...string) cliResult {
	s.tb.Helper()
	return s.cliWith(s.tb.Context(), "", args...)
}

func (s *apiServer) cliWith(ctx context.Context, stdin string, args ...string) cliResult {
	s.tb.Helper()
	var stdout, stderr bytes.Buffer
	err := run(&terminal.Env{Ctx: ctx, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr}, s.args(args...))
	return cliResult{s.tb, stdout.String(), stderr.String(), err}
}

// cli runs a command line against a server that is a process of its own.
func (s *server) cli(tb testing.TB, args ...string) cliResult {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	err := run(&terminal.Env{Ctx: tb.Context(), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr}, append(args, "--server", s.url, "--token", s.token))
	return cliResult{tb, stdout.String(), stderr.String(), err}
}

func (s *apiServer) args(args ...string) []string {
	return append(args, "--server", s.url, "--token", apiToken)
}

func (r cliResult) ok(wants ...string) cliResult {
	r.tb.Helper()
	if r.err != nil {
		r.tb.Fatalf("%v\n%s%s", r.err, r.stdout, r.stderr)
	}
	for _, want := range wants {
		if !strings.Contains(r.stdout, want) {
			r.tb.Errorf("the output lacks %q:\n%s", want, r.stdout)
		}
	}
	return r
}

func (r cliResult) fails(wants ...string) cliResult {
	r.tb.Helper()
	if r.err == nil {
		r.tb.Fatalf("no error\n%s%s", r.stdout, r.stderr)
	}
	for _, want := range wants {
		if !strings.Contains(r.err.Error(), want) {
			r.tb.Errorf("the error lacks %q: %v", want, r.err)
		}
	}
	return r
}

// A following is a command that goes on until it is stopped.
type following struct {
	tb   testing.TB
	out  *io.PipeReader
	read []byte
	stop func() error
}

// background runs a command that does not end.
func (s *apiServer) background(args ...string) *following {
	s.tb.Helper()
	ctx, cancel := context.WithCancel(s.tb.Context())
	out, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(&terminal.Env{Ctx: ctx, Stdin: strings.NewReader(""), Stdout: w, Stderr: w}, s.args(args...))
		_ = w.CloseWithError(errors.Join(errors.New("the command has ended"), err))
		ended <- err
	}()
	f := &following{tb: s.tb, out: out, stop: func() error {
		cancel()
		_ = out.Close()
		return <-ended
	}}
	s.tb.Cleanup(func() { _ = f.out.Close(); cancel() })
	return f
}

// until reads on until the output has text, and returns the output.
func (f *following) until(text string) string {
	f.tb.Helper()
	late := time.AfterFunc(apiPatience, func() { _ = f.out.CloseWithError(errors.New("it took too long")) })
	defer late.Stop()
	buf := make([]byte, 4096)
	for !bytes.Contains(f.read, []byte(text)) {
		n, err := f.out.Read(buf)
		f.read = append(f.read, buf[:n]...)
		if err != nil {
			f.tb.Fatalf("waiting for %q: %v; so far:\n%s", text, err, f.read)
		}
	}
	return string(f.read)
}

func (s *apiServer) record(id, deliveryID string, change func(*delivery.Attempt)) {
	s.tb.Helper()
	a := &delivery.Attempt{
		DeliveryID: deliveryID, SubscriptionID: id, Attempt: 1, Outcome: delivery.Delivered, At: time.Now().UTC(),
		Duration: delivery.Millis(1900 * time.Microsecond), Method: http.MethodPost, URL: "http://127.0.0.1/", Status: 200,
		Event: delivery.EventRef{ID: "85c7e78e", Source: "/git/widgets", Type: "git.push"},
	}
	if change != nil {
		change(a)
	}
	if err := delivery.NewLog(s.js, s.layout).Record(s.tb.Context(), a, deliveryID, func(*delivery.Attempt) {}); err != nil {
		s.tb.Fatal(err)
	}
}
