package delivery_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/testkit"
)

// A wire is the way to a NATS server, through which a test can lose answers.
type wire struct {
	server string

	mu    sync.Mutex
	deaf  bool
	sent  bytes.Buffer // what the client has said since it became deaf
	news  chan struct{}
	conns []net.Conn
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	return &wire{server: u.Host, news: make(chan struct{}, 1)}
}

// dialTo makes a connection go through w.
func dialTo(w *wire) nats.Option { return nats.SetCustomDialer(w) }

// Dial is called by the client library for each connection.
func (w *wire) Dial(string, string) (net.Conn, error) {
	server, err := net.Dial("tcp", w.server)
	if err != nil {
		return nil, err
	}
	client, inner := net.Pipe()
	w.mu.Lock()
	w.conns = append(w.conns, server, inner)
	w.mu.Unlock()
	go func() {
		_, _ = io.Copy(server, io.TeeReader(inner, listener{w}))
		_ = server.Close()
	}()
	go func() {
		_, _ = io.Copy(answers{w, inner}, server)
		_ = inner.Close()
	}()
	return client, nil
}

// listener keeps what a deaf client says.
type listener struct{ *wire }

func (l listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf {
		l.sent.Write(b)
		select {
		case l.news <- struct{}{}:
		default:
		}
	}
	return len(b), nil
}

// answers passes on what the server says, unless there is no response.
type answers struct {
	*wire
	to net.Conn
}

func (a answers) Write(b []byte) (int, error) {
	a.mu.Lock()
	deaf := a.deaf
	a.mu.Unlock()
	if deaf {
		return len(b), nil
	}
	return a.to.Write(b)
}

func (w *wire) deafen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = true
}

// awaitSent waits until the client has said text.
func (w *wire) awaitSent(t *testing.T, text string) {
	t.Helper()
	late := testkit.Timeout()
	for {
		w.mu.Lock()
		said := bytes.Contains(w.sent.Bytes(), []byte(text))
		w.mu.Unlock()
		if said {
			return
		}
		select {
		case <-w.news:
		case <-late:
			t.Fatalf("the client has not said %q", text)
		}
	}
}

// cut ends the connections there are. The next ones are good.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deaf = false
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}
