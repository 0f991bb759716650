package sender

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// A receiver may answer before it has read all of a request, 413 for example, and close the
// connection. Then the request cannot be written to its end, and the answer is there to be
// read. net/http reports whichever it notices first:
//
//	read   ◄── 413, end ──────────┐
//	write  ──► head, body … reset ┴─► held back until nothing more can be read
//
// answered holds the failure of the write back until the answer has been read.
func answered(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newAnsweredConn(c), nil
	}
}

// unreadPatience is how long a failure is held back while nobody reads: in the handshake of
// TLS and before a proxy has connected, one goroutine does both.
const unreadPatience = 2 * time.Second

// answeredConn is a connection whose writes fail after its reads.
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
