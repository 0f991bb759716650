package streamtest

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/testkit"
)

// clusterSize is the smallest that survives the loss of a server.
const clusterSize = 3

// A Cluster is three servers that replicate each other's streams. Like Server it
// belongs to a test and fails it when a method cannot do what it says.
type Cluster struct {
	// URL lists all three servers.
	URL string
	// Layout has no prefix and three replicas.
	Layout stream.Layout

	t     testing.TB
	nodes [clusterSize]node
	conn  *nats.Conn
}

type node struct {
	cfg     embedded.Config
	log     *zap.Logger
	running *embedded.Server // nil while stopped
}

// NewCluster starts three servers and returns when JetStream answers on them. The
// test's cleanup stops them.
func NewCluster(tb testing.TB) *Cluster {
	tb.Helper()
	c := &Cluster{t: tb, Layout: newLayout(tb, clusterSize)}
	log := failureLog(tb)
	dir := tb.TempDir()
	clients, routes := freePorts(tb), freePorts(tb)
	var targets, urls []string
	for _, port := range routes {
		targets = append(targets, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	for i := range c.nodes {
		name := "node-" + strconv.Itoa(i)
		c.nodes[i].log = log.Named(name)
		c.nodes[i].cfg = embedded.Config{
			Dir: filepath.Join(dir, name), Name: name, Port: clients[i], Token: "test-token", MaxStore: 4 << 30,
			Adjust: func(o *server.Options) {
				o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: routes[i]}
				o.Routes = server.RoutesFromStr(strings.Join(targets, ","))
			},
		}
		urls = append(urls, fmt.Sprintf("nats://test-token@127.0.0.1:%d", clients[i]))
	}
	c.URL = strings.Join(urls, ",")
	tb.Cleanup(c.close)
	for i := range c.nodes {
		c.startNode(i)
	}
	c.conn = connect(tb, c.URL)
	c.awaitAPI()
	return c
}

func freePorts(tb testing.TB) (ports [clusterSize]int) {
	tb.Helper()
	for i := range ports {
		ports[i] = testkit.FreePort(tb)
	}
	return ports
}

// Conn is a connection that the test shares. It moves to another server when its
// own is stopped.
func (c *Cluster) Conn() *nats.Conn { return c.conn }

// Connect is a new connection to one server of the cluster.
func (c *Cluster) Connect(i int, opts ...nats.Option) *nats.Conn {
	c.t.Helper()
	return connect(c.t, strings.Split(c.URL, ",")[i], opts...)
}

// JS is JetStream on Conn.
func (c *Cluster) JS() jetstream.JetStream {
	c.t.Helper()
	return newJS(c.t, c.conn)
}

// StopNode stops a server, 0 to 2, cleanly.
func (c *Cluster) StopNode(i int) {
	c.t.Helper()
	if c.nodes[i].running == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.nodes[i].running.Stop(ctx); err != nil {
		c.t.Errorf("stop node %d: %v", i, err)
	}
	c.nodes[i].running = nil
}

// StartNode starts a server again on its store and ports, and returns when it has
// caught up with the others.
func (c *Cluster) StartNode(i int) {
	c.t.Helper()
	c.startNode(i)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.nodes[i].running.Ready(ctx); err != nil {
		c.t.Fatalf("start node %d: %v", i, err)
	}
}

func (c *Cluster) startNode(i int) {
	c.t.Helper()
	if c.nodes[i].running != nil {
		return
	}
	running, err := embedded.Start(c.nodes[i].cfg, c.nodes[i].log)
	if err != nil {
		c.t.Fatalf("start node %d: %v", i, err)
	}
	c.nodes[i].running = running
}

// Leader is the server, 0 to 2, that leads a stream.
func (c *Cluster) Leader(streamName string) int {
	c.t.Helper()
	var leader int
	c.eventually("find the leader of "+streamName, func(ctx context.Context) error {
		s, err := c.JS().Stream(ctx, streamName)
		if err != nil {
			return err
		}
		info := s.CachedInfo().Cluster
		for i := range c.nodes {
			if info != nil && info.Leader == c.nodes[i].cfg.Name {
				leader = i
				return nil
			}
		}
		return fmt.Errorf("no leader in %+v", info)
	})
	return leader
}

// StepDown makes the leader of a stream hand over to another server.
func (c *Cluster) StepDown(streamName string) {
	c.t.Helper()
	before := c.Leader(streamName)
	c.eventually("move the leader of "+streamName, func(ctx context.Context) error {
		if c.Leader(streamName) != before {
			return nil
		}
		reply, err := c.conn.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+streamName, nil)
		if err != nil {
			return err
		}
		return fmt.Errorf("still node %d, the server said %s", before, reply.Data)
	})
}

// awaitAPI waits until JetStream has a leader and answers: creates fail before.
func (c *Cluster) awaitAPI() {
	c.t.Helper()
	c.eventually("wait for the cluster", func(ctx context.Context) error {
		_, err := c.JS().AccountInfo(ctx)
		return err
	})
}

// eventually repeats try until it succeeds. It is for what a cluster does in its
// own time and does not announce.
func (c *Cluster) eventually(what string, try func(context.Context) error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	poll := time.NewTicker(25 * time.Millisecond)
	defer poll.Stop()
	for {
		once, cancelOnce := context.WithTimeout(ctx, 2*time.Second)
		err := try(once)
		cancelOnce()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			c.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (c *Cluster) close() {
	c.t.Helper()
	for i := range c.nodes {
		c.StopNode(i)
	}
}
