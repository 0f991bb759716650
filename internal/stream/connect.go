package stream

import (
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// InboxPrefix is the first token of the subjects on which a role gets answers, so
// that permissions can keep roles from reading each other's.
func InboxPrefix(role string) string { return "_INBOX_" + role }

// ConnectOptions are the settings of every connection to NATS (jetstream.md,
// section 10). role is one of Roles; it names the
// connection's inbox.
//
// The connection is retried without limit, also the first time, so nats.Connect succeeds
// while the server is away. Nothing is buffered meanwhile: what is published
// fails at once, and the caller knows. Log gets one line for each change of the
// connection's state.
func ConnectOptions(role string, log *zap.Logger) []nats.Option {
	log = log.With(zap.String("role", role))
	var waiting atomic.Bool // the first connection has failed, and that was logged
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(500*time.Millisecond, time.Second),
		nats.PingInterval(20 * time.Second),
		nats.MaxPingsOutstanding(3),
		nats.IgnoreAuthErrorAbort(), // credentials that are being changed heal as well
		nats.PermissionErrOnSubscribe(true),
		nats.CustomInboxPrefix(InboxPrefix(role)),
		nats.ConnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS", zap.String("server", nc.ConnectedServerName()))
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if !waiting.Swap(true) {
				log.Warn("cannot reach NATS, will keep trying", zap.Error(err))
			}
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				return // we closed it
			}
			waiting.Store(true) // this line is the one
			log.Warn("lost connection to NATS", zap.Error(err))
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			waiting.Store(false)
			log.Info("connected to NATS again", zap.String("server", nc.ConnectedServerName()))
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if err := nc.LastError(); err != nil {
				log.Error("connection to NATS closed", zap.Error(err))
				return
			}
			log.Debug("connection to NATS closed")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if sub != nil {
				log.Warn("NATS reports an error", zap.String("subject", sub.Subject), zap.Error(err))
				return
			}
			log.Warn("NATS reports an error", zap.Error(err))
		}),
	}
}
