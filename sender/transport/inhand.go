package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http/httptrace"
)

// errOutOfHand is why a request was not made for which others may have the delivery by now.
var errOutOfHand = errors.New("the delivery was out of hand for too long when its connection was there")

// WhileInHand returns a context with which a request is made only if its delivery is not lost
// when the connection for it is there. On a busy machine a connection and its TLS take time,
// in which the process may stand still or lose NATS:
//
//	lost? ──► dial, TLS ──► lost? ──► request
//
// InHand tells the reason when no request was made. A reader as the body of the request could
// look as well, but has net/http write the header apart, in one more system call.
func WhileInHand(ctx context.Context, lost func() bool) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		if !lost() {
			return
		}
		cancel(errOutOfHand)
		// HTTP/2 looks at the context before it writes, and others use the connection. HTTP/1
		// writes in any case.
		if c, ok := got.Conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
			return
		}
		_ = got.Conn.Close()
	}}
	return httptrace.WithClientTrace(ctx, trace), func() { cancel(nil) }
}

// InHand reports whether the request was made with a context of WhileInHand.
func InHand(ctx context.Context) bool { return !errors.Is(context.Cause(ctx), errOutOfHand) }
