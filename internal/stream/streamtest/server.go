// Package streamtest gives each test a NATS server, or a cluster of three, of its
// own: in this process, on free ports, with its data in a temporary folder.
package streamtest

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
)

// patience bounds each wait of this package. It is far longer than a loaded
// machine needs, so running into it means that something is broken.
const patience = 30 * time.Second

// A Server is one embedded server that belongs to a test. Its methods fail the
// test when they cannot do what they say.
type Server struct {
	// URL is where to connect, with the token in it. It stays the same over
	// Restart.
	URL string
	// Layout has no prefix and one replica.
	Layout stream.Layout
	// Dir is the data directory.
	Dir string

	t   testing.TB
	cfg embedded.Config
	log *zap.Logger

	mu      sync.Mutex
	running *embedded.Server // nil while stopped
	conn    *nats.Conn       // what Conn shares
}

// New starts a server with an empty store, and stops it when the test ends. No
// streams are made: use stream.Layout.Ensure.
func New(tb testing.TB) *Server {
	tb.Helper()
	return newServer(tb, embedded.Config{Dir: filepath.Join(tb.TempDir(), "data"), MaxStore: 4 << 30})
}

// NewWith is New with settings of the test's own. Dir, when empty, becomes a
// temporary folder.
func NewWith(tb testing.TB, cfg embedded.Config) *Server {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(tb.TempDir(), "data")
	}
	return newServer(tb, cfg)
}

func newServer(tb testing.TB, cfg embedded.Config) *Server {
	tb.Helper()
	if cfg.Token == "" {
		cfg.Token = "test-token"
	}
	s := &Server{Dir: cfg.Dir, Layout: newLayout(tb, 1), t: tb, cfg: cfg, log: failureLog(tb)}
	tb.Cleanup(s.close)
	s.Start()
	return s
}

func newLayout(tb testing.TB, replicas int) stream.Layout {
	tb.Helper()
	layout, err := stream.NewLayout(stream.LayoutConfig{Replicas: replicas, RetryShards: 2})
	if err != nil {
		tb.Fatalf("make layout: %v", err)
	}
	return layout
}

// failureLog keeps what the servers report and prints it when the test fails.
// Servers log from goroutines that may outlive the test, so t.Log is not for them.
func failureLog(tb testing.TB) *zap.Logger {
	tb.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	tb.Cleanup(func() {
		if !tb.Failed() {
			return
		}
		for _, entry := range logs.All() {
			tb.Logf("nats: %s: %s", entry.Level, entry.Message)
		}
	})
	return zap.New(core)
}

// Start starts a server that was stopped, on the same store and port.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return
	}
	running, err := embedded.Start(s.cfg, s.log)
	if err != nil {
		s.t.Fatalf("start test server: %v", err)
	}
	s.running = running
	if s.cfg.Port == embedded.RandomPort {
		s.cfg.Port = running.Port()
	}
	s.URL = running.URL()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := running.Ready(ctx); err != nil {
		s.t.Fatalf("start test server: %v", err)
	}
}

// Stop stops the server cleanly. Connections stay and try to reconnect.
func (s *Server) Stop() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func (s *Server) stop() {
	s.t.Helper()
	if s.running == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.running.Stop(ctx); err != nil {
		s.t.Errorf("stop test server: %v", err)
	}
	s.running = nil
}

// Restart is a clean stop and a start on the same store and port. To see what a
// SIGKILL loses, a test needs a process of its own.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.Start()
}

// Conn is a connection that the test shares. It reconnects within milliseconds.
func (s *Server) Conn() *nats.Conn {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		s.conn = connect(s.t, s.URL)
	}
	return s.conn
}

// Connect is a new connection, for a test that plays several processes. The test
// need not close it.
func (s *Server) Connect(opts ...nats.Option) *nats.Conn {
	s.t.Helper()
	return connect(s.t, s.URL, opts...)
}

// JS is JetStream on Conn.
func (s *Server) JS() jetstream.JetStream {
	s.t.Helper()
	return newJS(s.t, s.Conn())
}

func (s *Server) close() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop()
}

func connect(tb testing.TB, url string, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	quick := []nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(20 * time.Millisecond),
		nats.ReconnectJitter(10*time.Millisecond, 10*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // the default prints
	}
	nc, err := nats.Connect(url, append(quick, opts...)...)
	if err != nil {
		tb.Fatalf("connect to test server: %v", err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

func newJS(tb testing.TB, nc *nats.Conn) jetstream.JetStream {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("open JetStream: %v", err)
	}
	return js
}
