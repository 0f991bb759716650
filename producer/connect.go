package producer

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// ConnectOptions are those of a connection that publishes, for nats.Connect: it waits for
// a server that does not run yet, reconnects whenever it is lost, and fits the NATS
// permissions of the role producer (docs/operations.md). What happens to it is logged; a
// nil log is none. Add your credentials, and TLS.
func ConnectOptions(log *zap.Logger) []nats.Option {
	if log == nil {
		log = zap.NewNop()
	}
	return stream.ConnectOptions(string(stream.RoleProducer), log)
}

// JetStream returns the JetStream of a connection, with the bounds that publishing needs.
func JetStream(nc *nats.Conn) (jetstream.JetStream, error) { return stream.JetStream(nc) }
