package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/testkit"
)

// Where an oracle's processes are started, and how they are connected.

// ports returns free ports, each of which stays free while nothing listens on it.
func ports(t *testing.T, n int) []string {
	t.Helper()
	var found []string
	for len(found) < n {
		_, port, err := net.SplitHostPort(testkit.FreeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(found, port) {
			found = append(found, port)
		}
	}
	return found
}

// addNATS starts a NATS server in a process of its own.
func (o *oracle) addNATS(t *testing.T) *victim {
	t.Helper()
	port := ports(t, 1)[0]
	v := &victim{name: "nats", s: &server{args: []string{natsCommand, filepath.Join(t.TempDir(), "nats"), port}}, ready: "listening on"}
	o.natsURLs = []string{"nats://" + natsToken + "@127.0.0.1:" + port}
	o.addVictim(t, v)
	return v
}

// addCluster starts three NATS servers that replicate each other's streams.
func (o *oracle) addCluster(t *testing.T) []*victim {
	t.Helper()
	const nodes = 3
	port := ports(t, 3*nodes)
	var routes []string
	for _, p := range port[nodes : 2*nodes] {
		routes = append(routes, "nats://127.0.0.1:"+p)
	}
	var cluster []*victim
	for i := range nodes {
		name := fmt.Sprint("node-", i)
		v := &victim{
			name: name, ready: "listening on", health: "http://127.0.0.1:" + port[2*nodes+i] + "/healthz",
			s: &server{args: []string{
				natsCommand, filepath.Join(t.TempDir(), name), port[i], name, port[nodes+i], port[2*nodes+i], strings.Join(routes, ","),
			}},
		}
		o.natsURLs = append(o.natsURLs, "nats://"+natsToken+"@127.0.0.1:"+port[i])
		cluster = append(cluster, v)
		o.start(t, v)
	}
	o.victims = append(o.victims, cluster...)
	o.awaitReady(t)
	return cluster
}

func (o *oracle) addVictim(t *testing.T, v *victim) {
	t.Helper()
	o.start(t, v)
	v.awaitLine(t)
	o.victims = append(o.victims, v)
}

// addService starts some roles of jetpost in a process of their own. The first is the
// one that makes the key and the token which the others use.
func (o *oracle) addService(t *testing.T, name, roles, natsURL string, args ...string) *victim {
	t.Helper()
	address := testkit.FreeAddress(t)
	data := filepath.Join(t.TempDir(), name)
	v := &victim{name: name, ready: " listening on ", health: "http://" + address + "/readyz"}
	if o.home == "" {
		o.home = data
	}
	v.s = &server{
		data: data, url: "http://" + address, token: "token-of-the-oracle", client: newClientOf(t),
		args: append([]string{
			"serve", "--data", data, "--http", address, "--roles", roles, "--admin-token", "token-of-the-oracle",
			"--allow-target", "127.0.0.0/8", "--schemas", o.schemas, "--keyset", filepath.Join(o.home, "keyset.json"),
		}, args...),
	}
	if natsURL != "" {
		v.s.args = append(v.s.args, "--nats", natsURL)
	}
	o.addVictim(t, v)
	if strings.Contains(roles, "admin") {
		api := *v.s // of which a restart changes nothing
		o.apis = append(o.apis, &api)
	}
	return v
}

// allRoles are those of a process that does everything.
const allRoles = "producer,router,sender,admin"

// addWire opens a wire to the only NATS server, and returns the URL at its end.
func (o *oracle) addWire(t *testing.T, name string) (w *badWire, url string) {
	t.Helper()
	address := strings.TrimPrefix(o.natsURLs[0], "nats://"+natsToken+"@")
	w = newBadWire(t, name, address)
	o.allWires = append(o.allWires, w)
	return w, "nats://" + natsToken + "@" + w.address
}

// jetStream looks into NATS from outside. The connection outlives its servers.
func (o *oracle) jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	urls := o.natsURLs
	if len(urls) == 0 { // in the only process
		urls = []string{o.victims[0].s.natsURL(t)}
	}
	nc, err := nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// clusterDeeds are what is done to the servers of a cluster.
func (o *oracle) clusterDeeds(t *testing.T, nodes []*victim) []*deed {
	t.Helper()
	js := o.jetStream(t)
	down := effects{requests: true, routing: true, forgets: true, outage: true}
	node := func(name string) *victim {
		return nodes[slices.IndexFunc(nodes, func(v *victim) bool { return v.name == name })]
	}
	var names []string
	for _, v := range nodes {
		names = append(names, v.name)
	}
	stop := func(t *testing.T, target string, _ *rand.Rand) error {
		t.Helper()
		return node(target).s.cmd.Process.Signal(syscall.SIGTERM)
	}
	startAgain := func(t *testing.T, target string) error {
		t.Helper()
		v := node(target)
		select {
		case <-v.s.exited:
		case <-testkit.Timeout():
			return fmt.Errorf("%s does not stop", target)
		}
		o.start(t, v)
		return nil
	}
	killed := o.killing("node", down, nodes...)
	killed.atLeast, killed.atMost = 500*time.Millisecond, 5*time.Second
	// Without two of three nothing can be stored, and everybody waits.
	both := &deed{kind: "kill all nodes but", targets: names, effects: killed.effects, atLeast: 500 * time.Millisecond, atMost: 3 * time.Second}
	both.begin = func(_ *testing.T, target string, _ *rand.Rand) error {
		for _, v := range nodes {
			if v.name != target {
				o.kill(v)
			}
		}
		return nil
	}
	both.end = func(t *testing.T, target string) error {
		t.Helper()
		for _, v := range nodes {
			if v.name != target {
				o.start(t, v)
			}
		}
		return nil
	}
	return []*deed{
		killed, both,
		{kind: "stop node", targets: names, effects: func(string) effects { return down }, atLeast: 2 * time.Second, atMost: 6 * time.Second, begin: stop, end: startAgain},
		{kind: "restart node", targets: names, effects: func(string) effects { return down }, begin: stop, end: startAgain},
		{
			kind: "stepdown of", targets: []string{"the event log", "the attempts", "the subscriptions", "the queues", "the retry timers"},
			effects: func(string) effects { return effects{requests: true, routing: true, outage: true} }, atLeast: time.Second, atMost: 2 * time.Second,
			begin: func(t *testing.T, target string, _ *rand.Rand) error {
				t.Helper()
				return stepDown(t.Context(), js, target)
			},
		},
	}
}

// stepDown makes the leaders of some streams, and of the consumers on them, hand
// over to others. It does not mind when there is none.
func stepDown(ctx context.Context, js jetstream.JetStream, target string) error {
	prefix := map[string]string{
		"the event log": "EVENTS_shop", "the attempts": "ATTEMPTS", "the subscriptions": "KV_subscriptions",
		"the queues": "DELIVERIES_", "the retry timers": "RETRIES_",
	}[target]
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		subjects := []string{"STREAM.LEADER.STEPDOWN." + name}
		switch prefix {
		case "EVENTS_shop":
			subjects = append(subjects, "CONSUMER.LEADER.STEPDOWN."+name+".router")
		case "DELIVERIES_", "RETRIES_":
			subjects = append(subjects, "CONSUMER.LEADER.STEPDOWN."+name+".sender")
		}
		for _, subject := range subjects {
			request, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, _ = js.Conn().RequestWithContext(request, "$JS.API."+subject, nil) // no leader: nothing to hand over
			cancel()
		}
	}
	return nil // nor does it matter whether the list is complete
}

// figures appends a line about a run to the file that a variable names, for make.
func figures(t *testing.T, line string) {
	t.Helper()
	path := os.Getenv(figuresVariable)
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, line); err != nil {
		t.Fatal(err)
	}
}
