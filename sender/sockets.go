package sender

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// sockets bounds how many connections to receivers are open. The process has to have
// descriptors left for what it stores: a NATS server inside that cannot open a file stops
// the stream.
type sockets struct {
	most int64 // 0: as many as there may be
	open atomic.Int64
	// free is how many more files the process may open, nil where that does not matter;
	// dialling are those that it does not count yet.
	free     func() int
	dialling atomic.Int64
	// idle closes connections that are not in use.
	idle func()
}

// fewSockets may always be open: what else has taken the descriptors must not stop all.
const fewSockets = 4

// A socketLimitError says that no more connections may be open.
type socketLimitError struct{ open int64 }

// Error says how many.
func (e *socketLimitError) Error() string {
	return fmt.Sprintf("%d connections to receivers are open, and no more may be", e.open)
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// limit is dial within the bound. It does not wait: that would count as the receiver's
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
