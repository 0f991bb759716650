package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/jetpost/jetpost/internal/testkit"
)

// A badWire is a connection that can be made bad: a TCP proxy between two that talk to
// each other.
type badWire struct {
	name, address, upstream string
	// stuck is how often the proxy itself had to be replaced.
	stuck int

	server *toxiproxy.ApiServer
	proxy  *toxiproxy.Proxy
	toxics []string // that are on now
}

// newBadWire opens a wire to an address. It has a port that stays free while it is cut.
func newBadWire(tb testing.TB, name, upstream string) *badWire {
	tb.Helper()
	silent := zerolog.Nop()
	w := &badWire{
		name: name, address: testkit.FreeAddress(tb), upstream: upstream,
		server: &toxiproxy.ApiServer{Metrics: toxiproxy.NewMetricsContainer(nil), Logger: &silent},
	}
	if err := w.open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { patiently(w.proxy.Stop) })
	return w
}

// open makes a new proxy. The port may take a moment to be free again.
func (w *badWire) open(ctx context.Context) error {
	var err error
	holdsWithin(ctx, factDeadline, func() bool {
		w.proxy = toxiproxy.NewProxy(w.server, w.name, w.address, w.upstream)
		err = w.proxy.Start()
		return err == nil
	})
	w.toxics = nil
	return err
}

// patiently does something to a proxy, and reports whether it was done in time: a
// proxy whose peers die while its toxics are changed may wait for them without end.
func patiently(do func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	timeout := time.NewTimer(15 * time.Second)
	defer timeout.Stop()
	select {
	case <-done:
		return true
	case <-timeout.C:
		return false
	}
}

// cut ends all connections and refuses new ones.
func (w *badWire) cut() { patiently(w.proxy.Stop) }

// infect puts a toxic on a direction of the wire, upstream or downstream.
func (w *badWire) infect(kind, direction string, attributes object) error {
	name := kind + "-" + direction
	text, err := json.Marshal(object{"name": name, "type": kind, "stream": direction, "attributes": attributes})
	if err != nil {
		return err
	}
	added := make(chan error, 1)
	proxy := w.proxy
	if !patiently(func() {
		_, err := proxy.Toxics.AddToxicJson(strings.NewReader(string(text)))
		added <- err
	}) {
		return errors.New("the proxy hangs")
	}
	w.toxics = append(w.toxics, name)
	return <-added
}

// heal makes the wire good again. Toxics are taken off; a proxy that was cut, or
// that hangs, is replaced, and its connections with it.
func (w *badWire) heal(ctx context.Context) error {
	proxy, toxics := w.proxy, w.toxics
	if len(toxics) > 0 && patiently(func() {
		for _, name := range toxics {
			_ = proxy.Toxics.RemoveToxic(ctx, name) // it is there
		}
	}) {
		w.toxics = nil
		return nil
	}
	if len(toxics) > 0 {
		w.stuck++
	}
	patiently(proxy.Stop) // its listener is closed in any case
	return w.open(ctx)
}

// wireFaults are the ways in which a wire goes bad.
func wireFaults() []string {
	return []string{"latency", "reset", "half-open", "slow close", "1 KB/s", "limit", "cut"}
}

// delays reports that a wire fault loses nothing that was sent.
func delays(kind string) bool { return kind == "latency" || kind == "slow close" }

// spoil makes the wire bad, in a way that follows from r.
func (w *badWire) spoil(kind string, r *rand.Rand) error {
	direction := pick(r, "upstream", "downstream")
	switch kind {
	case "latency":
		slow := object{"latency": 200 + r.IntN(500), "jitter": 100}
		return errors.Join(w.infect("latency", "upstream", slow), w.infect("latency", "downstream", slow))
	case "reset":
		return w.infect("reset_peer", direction, object{"timeout": r.IntN(100)})
	case "half-open":
		if r.IntN(2) == 0 {
			return errors.Join(w.infect("timeout", "upstream", object{"timeout": 0}), w.infect("timeout", "downstream", object{"timeout": 0}))
		}
		return w.infect("timeout", direction, object{"timeout": 0})
	case "slow close":
		return w.infect("slow_close", direction, object{"delay": 1000 + r.IntN(2000)})
	case "1 KB/s":
		return w.infect("bandwidth", direction, object{"rate": 1})
	case "limit":
		return w.infect("limit_data", direction, object{"bytes": 50 + r.IntN(2000)})
	case "cut":
		w.cut()
		return nil
	}
	return fmt.Errorf("a wire has no fault %q", kind)
}
