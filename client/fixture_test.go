package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/admin/admintest"
	"github.com/jetpost/jetpost/client"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// serve runs a server of the API, with a NATS server of its own, and returns its base
// URL.
func serve(tb testing.TB) string {
	tb.Helper()
	in := admintest.New(tb)
	live := access.NewLive(in.JS, in.Layout, in.Log)
	in.Run(live.Run)
	a := in.Admin(admin.Config{Tokens: access.NewStore(in.JS, in.Layout, live, in.Log)}, egress.Config{})
	catalogue, err := schemas.Load()
	if err != nil {
		tb.Fatal(err)
	}
	p, err := producer.New(producer.Config{Prefix: in.Layout.Prefix()}, in.JS, catalogue, in.Log, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/events", p.Handler())
	mux.Handle("/", a.Handler())
	server := httptest.NewServer(admintest.Let(mux))
	tb.Cleanup(server.Close)
	return server.URL
}

func newClient(tb testing.TB, url string) *client.Client {
	tb.Helper()
	c, err := client.New(client.Config{URL: url})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// An example is the testing.TB of an example, which has none.
type example struct {
	testing.TB

	ctx      context.Context //nolint:containedctx // as testing.TB has one
	cleanups []func()
}

// exampleServer is serve for an example. The caller calls stop.
func exampleServer() (url string, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	e := &example{ctx: ctx}
	stop = func() {
		for _, cleanup := range slices.Backward(e.cleanups) {
			cleanup()
		}
	}
	e.cleanups = append(e.cleanups, cancel)
	return serve(e), stop
}

func (e *example) Helper()                  {}
func (e *example) Context() context.Context { return e.ctx }
func (e *example) Cleanup(f func())         { e.cleanups = append(e.cleanups, f) }
func (e *example) Failed() bool             { return false }

func (e *example) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (e *example) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (e *example) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
