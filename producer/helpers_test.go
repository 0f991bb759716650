package producer_test

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// domains are one that enforces its schema, one that only warns and one that
// takes any event.
func domains() fstest.MapFS {
	schema := &fstest.MapFile{Data: []byte(`{
		"type": "object", "required": ["total"],
		"properties": {"total": {"type": "integer"}}}`)}
	example := &fstest.MapFile{Data: []byte(`{"total": 1}`)}
	return fstest.MapFS{
		"orders/domain.json":          {Data: []byte(`{"name": "orders", "type_prefix": "com.example.orders."}`)},
		"orders/created.schema.json":  schema,
		"orders/created.example.json": example,
		"lax/domain.json":             {Data: []byte(`{"name": "lax", "validation": "warn"}`)},
		"lax/created.schema.json":     schema,
		"lax/created.example.json":    example,
		"notes/domain.json":           {Data: []byte(`{"name": "notes", "open": true}`)},
	}
}

// A fixture is a producer on a server of its own, with event logs for domains.
type fixture struct {
	server *streamtest.Server
	js     jetstream.JetStream
	layout stream.Layout
	reg    *prometheus.Registry
	*producer.Producer
}

func newFixture(tb testing.TB, cfg producer.Config) *fixture {
	tb.Helper()
	server := streamtest.New(tb)
	f := &fixture{server: server, layout: server.Layout}
	f.connect(tb, cfg, server.Connect(nats.ReconnectBufSize(-1)))
	for _, domain := range []string{"orders", "lax", "notes"} {
		if err := f.layout.EnsureEventLog(tb.Context(), f.js, domain); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

// connect makes the producer.
func (f *fixture) connect(tb testing.TB, cfg producer.Config, nc *nats.Conn) {
	tb.Helper()
	js, err := stream.JetStream(nc)
	if err != nil {
		tb.Fatal(err)
	}
	catalogue, err := schemas.Load(domains())
	if err != nil {
		tb.Fatal(err)
	}
	f.js, f.reg = js, prometheus.NewRegistry()
	cfg.Prefix = f.layout.Prefix()
	f.Producer, err = producer.New(cfg, js, catalogue, zap.NewNop(), f.reg)
	if err != nil {
		tb.Fatal(err)
	}
}

// order is a valid event.
func order(id string) *event.Event {
	return &event.Event{
		ID: id, Source: "/shop", Type: "com.example.orders.created",
		DataContentType: "application/json", Data: []byte(`{"total": 12}`),
	}
}

// stored returns the messages of a domain's event log, oldest first.
func (f *fixture) stored(t *testing.T, domain string) []*jetstream.RawStreamMsg {
	t.Helper()
	return f.storedAtLeast(t, domain, 0)
}

// storedAtLeast is stored once the event log has so many: a server that has just
// become the leader may still be applying what the one before it has acknowledged.
func (f *fixture) storedAtLeast(t *testing.T, domain string, events uint64) []*jetstream.RawStreamMsg {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	log, err := f.js.Stream(t.Context(), f.layout.EventLog(domain))
	for ; err != nil || log.CachedInfo().State.LastSeq < events; log, err = f.js.Stream(t.Context(), f.layout.EventLog(domain)) {
		if time.Now().After(deadline) { // the connection may not be back yet
			t.Fatalf("the event log has fewer than %d events: %v", events, err)
		}
	}
	var messages []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= log.CachedInfo().State.LastSeq; seq++ {
		msg, err := log.GetMsg(t.Context(), seq)
		for ; err != nil; msg, err = log.GetMsg(t.Context(), seq) {
			if time.Now().After(deadline) { // a replica that answers may be behind its leader
				t.Fatalf("get message %d: %v", seq, err)
			}
		}
		messages = append(messages, msg)
	}
	return messages
}

// limit changes the limits of a domain's event log.
func (f *fixture) limit(t *testing.T, domain string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	cfg := f.layout.EventLogConfig(domain)
	change(&cfg)
	if _, err := f.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// count reads jetpost_producer_events_total.
func (f *fixture) count(t *testing.T, domain, outcome string) int {
	t.Helper()
	return int(testkit.Metric(t, f.reg, "jetpost_producer_events_total", domain, outcome))
}

// within bounds what must not hang.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func id(n int) string { return fmt.Sprintf("order-%05d", n) }
