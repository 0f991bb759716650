package consume

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A Session knows since when a connection has lasted without a break: what the server was
// asked to do before may have been forgotten in a crash.
//
// It counts reconnections, which the client library does before anything can arrive over
// the new connection. Listeners are notified later, when messages may have come already.
type Session struct {
	nc    *nats.Conn
	began atomic.Pointer[sessionStart]
}

type sessionStart struct {
	reconnects uint64
	at         int64
}

// NewSession returns the session of a connection, which begins now.
func NewSession(nc *nats.Conn) *Session {
	s := &Session{nc: nc}
	s.began.Store(&sessionStart{nc.Stats().Reconnects, time.Now().UnixNano()})
	return s
}

// Since is when the session began, or a bit later: Unix time in nanoseconds.
func (s *Session) Since() int64 {
	for {
		began, reconnects := s.began.Load(), s.nc.Stats().Reconnects
		if began.reconnects == reconnects {
			return began.at
		}
		s.began.CompareAndSwap(began, &sessionStart{reconnects, time.Now().UnixNano()})
	}
}

// MayForget reports whether the message may have been handed out, and acknowledged,
// before: its consumer says that it was handed out, or it was stored before the session began.
// A server that has crashed may have forgotten what it did in its last moments
// (jetstream.md, fact 1).
func (s *Session) MayForget(m *Message) bool {
	return m.Delivered > 1 || m.Stored.UnixNano() <= s.Since()
}
