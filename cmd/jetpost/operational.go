package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
)

// operationalFlags are those of serve that are about operational events.
type operationalFlags struct {
	LaggingAfter time.Duration `default:"15m" placeholder:"DURATION" help:"Publish the event jetpost.backlog.lagging when the oldest delivery in a subscription's queue has waited for this long: 15m. 0: never."`
}

// limit is LaggingAfter as a sender takes it.
func (f operationalFlags) limit() time.Duration {
	if f.LaggingAfter <= 0 {
		return -1
	}
	return f.LaggingAfter
}

// openPublisher makes what publishes the operational events of this process, on a
// connection of its own so that it cannot hold up a service. A process that has only
// the role of a producer has none to publish.
func (c *serveCmd) openPublisher(connect connector, layout stream.Layout, log *zap.Logger, reg prometheus.Registerer) (*operational.Publisher, error) {
	var role stream.Role
	switch { // each of them may
	case c.has(roleAdmin):
		role = stream.RoleControl
	case c.has(roleSender):
		role = stream.RoleSender
	case c.has(roleRouter):
		role = stream.RoleRouter
	default:
		return nil, nil //nolint:nilnil // documented: nil publishes nothing
	}
	nc, err := connect(string(role), "operational events")
	if err != nil {
		return nil, err
	}
	js, err := stream.JetStream(nc)
	if err != nil {
		return nil, err
	}
	return operational.NewPublisher(operational.Config{}, js, layout, log, reg)
}
