package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/subscription"
)

// connector opens one connection for a stream.Role. It is closed with the others. use says
// in the log and to NATS what it is for, where a role has more than one.
type connector func(role, use string) (*nats.Conn, error)

// connectionName is how the names of jetpost's connections begin.
const connectionName = "jetpost "

// optionsFor are the options of a connection, but for its name, and that.
func optionsFor(role, use string, log *zap.Logger) (options []nats.Option, name string) {
	name = connectionName + role
	if use != "" {
		name += ": " + use
		log = log.With(zap.String("use", use))
	}
	return stream.ConnectOptions(role, log), name
}

// openNATS starts the embedded server, or says how to reach the given one. Each
// role gets connections of its own, so that one cannot hold up another. health is
// what the embedded server says of itself.
func (c *serveCmd) openNATS(layout stream.Layout, found *suspected, log *zap.Logger) (connect connector, health func(context.Context) error, stop func(), err error) {
	var open []*nats.Conn
	closeAll := func() {
		for _, nc := range slices.Backward(open) {
			// What was settled last must have reached the server before that stops, or
			// it would be done again after the next start.
			if nc.IsConnected() {
				_ = nc.FlushTimeout(5 * time.Second)
			}
			nc.Close()
		}
	}
	if c.NATS != "" {
		connect = func(role, use string) (*nats.Conn, error) {
			options, name := optionsFor(role, use, log)
			options = append(options, nats.Name(name))
			if c.NATSCreds != "" {
				options = append(options, nats.UserCredentials(c.NATSCreds))
			}
			nc, err := nats.Connect(c.NATS, options...)
			if _, ok := errors.AsType[*url.Error](err); ok { // it quotes the URL, and the password in it
				return nil, errors.New("connect to NATS: a URL of --nats cannot be read: write nats://host:port, with percent-encoding in a user name and password")
			}
			if err != nil {
				return nil, fmt.Errorf("connect to NATS: %w", err)
			}
			open = append(open, nc)
			return nc, nil
		}
		return connect, func(context.Context) error { return nil }, closeAll, nil
	}
	server, err := embedded.Start(embedded.Config{
		Dir: filepath.Join(c.Data, "nats"), Damaged: found.add, Sync: embedded.Sync(c.NATSSync), MaxMemory: c.memory.Streams, MaxInbound: c.memory.Inbound,
		// What is in a work queue is what is not settled: it may be handed out again. How far
		// an event log was routed is known otherwise: see stream.Routed.
		DiscardConsumer: func(name, consumer string) bool {
			kind, _ := layout.KindOf(name)
			return layout.IsWorkQueue(name, consumer) || kind == stream.KindEventLog && consumer == stream.RouterConsumer
		},
		Discarded: found.discard,
	}, log)
	if err != nil {
		return nil, nil, nil, err
	}
	c.alone = func() bool {
		for _, nc := range open { // what was settled last is not there any more
			if nc.FlushTimeout(5*time.Second) != nil {
				return false
			}
		}
		return server.Named(connectionName) <= len(open)
	}
	stop = func() {
		closeAll()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			log.Error("embedded NATS server did not stop cleanly", zap.Error(err))
		}
	}
	connect = func(role, use string) (*nats.Conn, error) {
		options, name := optionsFor(role, use, log)
		nc, err := server.Connect(name, options...)
		if err != nil {
			return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
		}
		open = append(open, nc)
		return nc, nil
	}
	return connect, server.Health, stop, nil
}

// adoptQueues brings the queues up to date that an earlier version has made. Nothing waits
// for it.
func adoptQueues(ctx context.Context, js jetstream.JetStream, layout stream.Layout, view *subscription.View, log *zap.Logger) {
	subscriptions := view.Snapshot().All()
	queues := make([]stream.Queue, len(subscriptions))
	for i, sub := range subscriptions {
		queues[i] = sub.Queue
	}
	adopted, err := layout.AdoptQueues(ctx, js, queues)
	if adopted > 0 {
		log.Info("updated the queues of an earlier version", zap.Int("queues", adopted))
	}
	if err != nil && ctx.Err() == nil {
		log.Warn("failed to update the queues of an earlier version, the next start tries again", zap.Error(err))
	}
}
