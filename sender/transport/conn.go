package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// sockets bounds how many connections to receivers are open. The process needs file
// descriptors for what it stores: an embedded NATS server that cannot open a file stops
// the stream.
type sockets struct {
	most int64 // 0: no bound
	open atomic.Int64
	// free is how many more files the process may open, nil: not asked; dialling are
	// connections that it does not count yet.
	free     func() int
	dialling atomic.Int64
	// idle closes connections that are not in use.
	idle func()
}

// fewSockets may always be open: another user of the descriptors must not stop all
// deliveries.
const fewSockets = 4

// A socketLimitError says that the bound on connections is reached.
type socketLimitError struct{ open int64 }

// Error says how many.
func (e *socketLimitError) Error() string {
	return fmt.Sprintf("%d connections to receivers are open, and no more may be", e.open)
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// limit is dial within the bound. It does not wait, which would count as the receiver's
// time.
func (s *sockets) limit(dial dialFunc) dialFunc {
	if s.most <= 0 {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		open := s.open.Add(1)
		dialling := s.dialling.Add(1)
		defer s.dialling.Add(-1)
		if open > s.most || open > fewSockets && s.free != nil && int64(s.free()) < dialling {
			s.open.Add(-1)
			s.idle() // for the next one
			return nil, &socketLimitError{open - 1}
		}
		c, err := dial(ctx, network, address)
		if err != nil {
			s.open.Add(-1)
			return nil, err
		}
		return &countedConn{Conn: c, closed: sync.OnceFunc(func() { s.open.Add(-1) })}, nil
	}
}

// countedConn is a connection that counts until it is closed.
type countedConn struct {
	net.Conn

	closed func()
}

// Close closes it.
func (c *countedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// answered delays the error of a failed write until the response has been read. A receiver
// may answer before it has read the whole request, 413 for example, and close the
// connection. The request can then not be written to its end, but the response can be
// read, and net/http reports whichever it notices first:
//
//	read   ◄── 413, end ──────────┐
//	write  ──► head, body … reset ┴─► delayed until nothing more can be read
func answered(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newAnsweredConn(c), nil
	}
}

// unreadPatience is how long an error is delayed while no goroutine reads: in the TLS
// handshake and before a proxy has connected, one goroutine does both.
const unreadPatience = 2 * time.Second

// answeredConn is a connection whose writes report failure after its reads.
type answeredConn struct {
	net.Conn

	over chan struct{} // is closed when nothing more can be read
	end  func()
}

func newAnsweredConn(c net.Conn) *answeredConn {
	over := make(chan struct{})
	return &answeredConn{Conn: c, over: over, end: sync.OnceFunc(func() { close(over) })}
}

// Read reads.
func (c *answeredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.end()
	}
	return n, err
}

// Write writes.
func (c *answeredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	patience := time.NewTimer(unreadPatience)
	defer patience.Stop()
	select {
	case <-c.over:
	case <-patience.C:
	}
	return n, err
}

// Close closes it.
func (c *answeredConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// errLost is why a request was not made: another sender may have its delivery.
var errLost = errors.New("the delivery was held for too long before its connection was established")

// WhileInHand returns a context with which a request is made only if its delivery is not lost
// when its connection is established. On a busy machine a connection and its TLS take time, in
// which the process may stand still or lose NATS:
//
//	lost? ──► dial, TLS ──► lost? ──► request
//
// InHand reports whether the request was made. Checking in the reader of the body would work as
// well, but makes net/http write the header separately, in one more system call.
func WhileInHand(ctx context.Context, lost func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if !lost() {
			return
		}
		cancel(errLost)
		// HTTP/2 checks the context before it writes, and other requests use the connection.
		// HTTP/1 writes in any case.
		if c, ok := got.Conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
			return
		}
		_ = got.Conn.Close()
	}}
	return httptrace.WithClientTrace(ctx, trace), func() { cancel(nil) }
}

// InHand reports whether the request was made with a context of WhileInHand.
func InHand(ctx context.Context) bool { return !errors.Is(context.Cause(ctx), errLost) }
