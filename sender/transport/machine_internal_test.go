package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// dialError is the error of a dial as a client reports it.
func dialError(address string, code syscall.Errno, call string) error {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		panic(err)
	}
	return &url.Error{Op: "Post", URL: "http://x", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError(call, code)}}
}

func testMachine(t *testing.T) (*machine, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	held := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "jetpost_sender_held_total"}, []string{"cause"})
	if err := reg.Register(held); err != nil {
		t.Fatal(err)
	}
	return newMachine(zap.NewNop(), held), reg
}

// heldFor is the cause that was counted, once.
func heldFor(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if m := family.GetMetric(); family.GetName() == "jetpost_sender_held_total" && len(m) == 1 && m[0].GetCounter().GetValue() == 1 {
			return m[0].GetLabel()[0].GetValue()
		}
	}
	return ""
}

// What this machine has run out of is distinguished from what is wrong with a receiver.
func TestWhoseFault(t *testing.T) {
	t.Parallel()
	here := "127.0.0.1:9"
	noRoute := ""
	if !reaches(t.Context(), "192.0.2.1:9") && !reaches(t.Context(), "[2001:db8::1]:9") {
		noRoute = causeRoute // where the test runs
	}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"too many open files of the process", dialError(here, syscall.EMFILE, "socket"), causeDescriptors},
		{"and of the machine", dialError(here, syscall.ENFILE, "socket"), causeDescriptors},
		{"too many connections", withoutURL(fmt.Errorf("dial: %w", &socketLimitError{128}), time.Second), causeDescriptors},
		{"no buffers", dialError(here, syscall.ENOBUFS, "connect"), causeBuffers},
		{"no memory", dialError(here, syscall.ENOMEM, "socket"), causeMemory},
		{"no local port", dialError(here, syscall.EADDRNOTAVAIL, "connect"), causePorts},
		{"through a proxy", proxyFault("corp", dialError(here, syscall.EMFILE, "socket")), causeDescriptors},
		{"a receiver that is not there", dialError(here, syscall.ECONNREFUSED, "connect"), ""},
		{"one that breaks off", dialError(here, syscall.ECONNRESET, "read"), ""},
		{"one whose host is away, in a network that is reached", dialError(here, syscall.EHOSTUNREACH, "connect"), ""},
		{"one in a network that is not", dialError("192.0.2.1:9", syscall.ENETUNREACH, "connect"), noRoute},
		{"one that is slow", context.DeadlineExceeded, ""},
		{"one whose name does not exist", &net.DNSError{Err: "no such host", Name: "x.invalid", IsNotFound: true}, ""},
		{"nothing", nil, ""},
	} {
		m, reg := testMachine(t)
		err := m.judge(t.Context(), test.err)
		fault, ok := errors.AsType[*machineError](err)
		if test.want == "" {
			if ok || !errors.Is(err, test.err) || m.check() != nil {
				t.Errorf("%s: got %v, ready: %v", test.name, err, m.check())
			}
			continue
		}
		if !ok || fault.cause != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: got %v, want a fault of %s", test.name, err, test.want)
		}
		if check := m.check(); check == nil || !strings.HasPrefix(check.Error(), test.want+": ") || strings.Contains(check.Error(), here) {
			t.Errorf("%s: ready says %v", test.name, check)
		}
		if got := heldFor(t, reg); got != test.want {
			t.Errorf("%s: counted as %q", test.name, got)
		}
		m.faults[test.want] = lastFault{at: time.Now().Add(-machineMemory - time.Second)}
		if check := m.check(); check != nil {
			t.Errorf("%s: it is over, and ready says %v", test.name, check)
		}
	}
}

// A name that does not resolve is the fault of its domain while any name server answers.
func TestResolverFault(t *testing.T) {
	t.Parallel()
	broken := &net.DNSError{Err: "server misbehaving", Name: "broken.example", IsTemporary: true}
	for want, resolver := range map[string]error{"": nil, causeResolver: errors.New("no answer"), causeDescriptors: dialError("127.0.0.1:53", syscall.EMFILE, "socket")} {
		m, _ := testMachine(t)
		m.resolved, m.resolver = time.Now(), resolver
		if got := m.causeOf(t.Context(), broken); got != want {
			t.Errorf("with a resolver that says %v: got %q, want %q", resolver, got, want)
		}
	}
}

// No more connections than the bound are open at a time; those that are closed make room,
// and those that are idle are closed.
func TestSockets(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	idle := 0
	s := sockets{most: 2, idle: func() { idle++ }}
	dial := s.limit((&net.Dialer{}).DialContext)
	var open []net.Conn
	for range 2 {
		c, err := dial(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, err := dial(t.Context(), "tcp", listener.Addr().String()); !errors.As(err, new(*socketLimitError)) || idle != 1 {
		t.Errorf("a third one: %v, idle ones were closed %d times", err, idle)
	}
	_, _ = open[0].Close(), open[0].Close() // twice, which counts once
	if _, err := dial(t.Context(), "tcp", "127.0.0.1:1"); errors.As(err, new(*socketLimitError)) || err == nil {
		t.Errorf("there is room for one: %v", err)
	}
	c, err := dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("one that failed has taken the room: %v", err)
	}
	_ = c.Close()
	_ = open[1].Close()
	if got := s.open.Load(); got != 0 {
		t.Errorf("%d are said to be open", got)
	}
	free := 3
	s = sockets{most: 100, free: func() int { return free }, idle: func() {}}
	dial = s.limit((&net.Dialer{}).DialContext)
	for n := range fewSockets + 1 {
		if free = n - fewSockets; n < fewSockets { // the few are always there
			free = -10
		}
		c, err := dial(t.Context(), "tcp", listener.Addr().String())
		if full := errors.As(err, new(*socketLimitError)); full != (n == fewSockets) {
			t.Errorf("with %d open and %d files free: %v", n, free, err)
		}
		if c != nil {
			defer func() { _ = c.Close() }()
		}
	}
	free = 1
	if c, err := dial(t.Context(), "tcp", listener.Addr().String()); err != nil {
		t.Errorf("with one file free: %v", err)
	} else {
		_ = c.Close()
	}
	var transport http.Transport
	unlimited := (&sockets{}).limit(transport.DialContext)
	if unlimited != nil {
		t.Error("without a bound the dial is another one")
	}
}
