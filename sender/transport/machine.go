package transport

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// A request that this machine could not make says nothing about its receiver: it does not
// count as an attempt, and is made when the machine can. These are the causes.
const (
	causeDescriptors = "descriptors"
	causeMemory      = "memory"
	causeBuffers     = "buffers"
	causePorts       = "ports"
	causeRoute       = "route"
	causeResolver    = "resolver"
)

// machineAdvice is what to do about each.
func machineAdvice(cause string) string {
	switch cause {
	case causeDescriptors:
		return "too many files and connections are open: raise the limit (ulimit -n, LimitNOFILE), or lower max_in_flight"
	case causeMemory, causeBuffers:
		return "the system has no memory for another connection: give it more, or lower max_in_flight"
	case causePorts:
		return "no local port is free: widen net.ipv4.ip_local_port_range, or lower max_in_flight"
	case causeRoute:
		return "it has no route to any network: see to its network"
	case causeResolver:
		return "none of its name servers answers: see to its resolver (/etc/resolv.conf)"
	}
	return ""
}

const (
	// machineMemory is for how long a fault counts that does not occur again. Held requests
	// are tried again sooner.
	machineMemory = 15 * time.Second
	// resolverAge is how long the last check of the name servers counts, and
	// resolverPatience how long one may take.
	resolverAge      = 5 * time.Second
	resolverPatience = 2 * time.Second
)

// IsMachineError reports that a request was not made because of this machine, and not of
// its receiver.
func IsMachineError(err error) bool {
	_, ok := errors.AsType[*machineError](err)
	return ok
}

// A machineError is why this machine could not make a request.
type machineError struct {
	cause string
	err   error
}

// Error says what is wrong and what to do.
func (f *machineError) Error() string {
	return "this machine cannot make the request: " + machineAdvice(f.cause) + ": " + f.err.Error()
}

// Unwrap is the error of the system.
func (f *machineError) Unwrap() error { return f.err }

// A machine records the faults of the machine that this process runs on.
type machine struct {
	log  *zap.Logger
	held *prometheus.CounterVec

	mu     sync.Mutex
	faults map[string]lastFault // by cause

	resolving sync.Mutex // one at a time
	resolved  time.Time
	resolver  error
}

type lastFault struct {
	at   time.Time
	text string
}

func newMachine(log *zap.Logger, held *prometheus.CounterVec) *machine {
	return &machine{log: log, held: held, faults: make(map[string]lastFault)}
}

// judge returns err, or a machineError where a fault of this machine caused it. A nil
// machine finds none.
func (m *machine) judge(ctx context.Context, err error) error {
	if m == nil || err == nil {
		return err
	}
	cause := m.causeOf(ctx, err)
	if cause == "" {
		return err
	}
	m.held.WithLabelValues(cause).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.faults[cause].at) > machineMemory {
		m.log.Error("this machine cannot make requests, deliveries are held: "+machineAdvice(cause), zap.String("cause", cause), zap.NamedError("error", errors.New(rootText(err))))
	}
	m.faults[cause] = lastFault{at: now, text: rootText(err)}
	return &machineError{cause, err}
}

// rootText is the error of the system, without the address that was called.
func rootText(err error) string {
	if code, ok := errors.AsType[syscall.Errno](err); ok {
		return code.Error()
	}
	if limit, ok := errors.AsType[*socketLimitError](err); ok {
		return limit.Error()
	}
	return "no answer from a name server"
}

// check returns nil, or the recent faults.
func (m *machine) check() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.faults, func(_ string, f lastFault) bool { return time.Since(f.at) > machineMemory })
	wrong := make([]string, 0, len(m.faults))
	for _, cause := range slices.Sorted(maps.Keys(m.faults)) {
		wrong = append(wrong, fmt.Sprintf("%s: deliveries are held, since %s (%s)", cause, machineAdvice(cause), m.faults[cause].text))
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// causeOf is the fault of this machine that an error stands for, empty: none. Where the
// system gives the same error for an unreachable receiver, it checks which one it is: a
// missing route or address family is the receiver's fault while others have one.
func (m *machine) causeOf(ctx context.Context, err error) string {
	if _, ok := errors.AsType[*socketLimitError](err); ok {
		return causeDescriptors
	}
	if code, ok := errors.AsType[syscall.Errno](err); ok {
		return causeOfCode(ctx, code, err)
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && !dns.IsNotFound {
		return m.resolverFault(ctx)
	}
	return ""
}

func causeOfCode(ctx context.Context, code syscall.Errno, err error) string {
	switch code { //nolint:exhaustive // the others are faults of the receiver
	case syscall.EMFILE, syscall.ENFILE:
		return causeDescriptors
	case syscall.ENOBUFS:
		return causeBuffers
	case syscall.ENOMEM:
		return causeMemory
	case syscall.EADDRNOTAVAIL:
		if addr := dialled(err); addr != nil && reaches(ctx, addr.String()) { // otherwise this machine has no address of its family
			return causePorts
		}
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH:
		// Addresses of documentation (RFC 5737, RFC 3849), which are on no network: is there any route?
		if addr := dialled(err); addr != nil && !reaches(ctx, addr.String()) && !reaches(ctx, "192.0.2.1:9") && !reaches(ctx, "[2001:db8::1]:9") {
			return causeRoute
		}
	}
	return ""
}

// dialled is the address that could not be dialled, nil when something else failed.
func dialled(err error) net.Addr {
	var addr net.Addr
	for operation, ok := errors.AsType[*net.OpError](err); ok; operation, ok = errors.AsType[*net.OpError](operation.Err) {
		if operation.Op == "dial" && operation.Addr != nil {
			addr = operation.Addr
		}
	}
	return addr
}

// reaches reports whether this machine has a route to an address. Nothing is sent.
func reaches(ctx context.Context, address string) bool {
	c, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// resolverFault is the fault of this machine when a name does not resolve: none, when any
// name server answers.
func (m *machine) resolverFault(ctx context.Context) string {
	m.resolving.Lock()
	defer m.resolving.Unlock()
	if m.resolved.IsZero() || time.Since(m.resolved) > resolverAge {
		m.resolver = askResolver(ctx)
		m.resolved = time.Now()
	}
	if m.resolver == nil {
		return ""
	}
	if code, ok := errors.AsType[syscall.Errno](m.resolver); ok && (code == syscall.EMFILE || code == syscall.ENFILE) {
		return causeDescriptors
	}
	return causeResolver
}

// askResolver returns nil when one of the name servers answers something.
func askResolver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resolverPatience)
	defer cancel()
	var answered atomic.Bool
	var failed atomic.Pointer[error]
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			failed.Store(&err)
			return nil, err
		}
		if packets, ok := c.(*net.UDPConn); ok {
			return answeredPackets{packets, &answered}, nil
		}
		return answeredStream{c, &answered}, nil
	}}
	// A name that does not exist (RFC 6761): every name server answers that.
	_, err := r.LookupNetIP(ctx, "ip", "jetpost.invalid.")
	switch {
	case err == nil, answered.Load():
		return nil
	case failed.Load() != nil:
		return *failed.Load()
	}
	return err
}

// answeredPackets and answeredStream note that something was received.
type answeredPackets struct {
	*net.UDPConn

	answered *atomic.Bool
}

// Read reads a packet.
func (c answeredPackets) Read(p []byte) (int, error) {
	n, err := c.UDPConn.Read(p)
	if n > 0 {
		c.answered.Store(true)
	}
	return n, err
}

type answeredStream struct {
	net.Conn

	answered *atomic.Bool
}

// Read reads on.
func (c answeredStream) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.answered.Store(true)
	}
	return n, err
}
