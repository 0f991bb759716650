package producer_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

func TestPublishStoresTheEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	e := order("1")
	e.Subject, e.Time = "größe 100%", "2026-03-04T05:06:07.000000000Z"
	e.Extensions = []event.Attribute{{Name: "traceparent", Value: "00-1"}}
	e.Data = []byte("{\"total\": 12345678901234567890,\n \"b\":1, \"a\":\"\\u00e9\"}")
	got, err := f.Publish(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if want := (producer.Receipt{Stream: "EVENTS_orders", Sequence: 1}); got != want {
		t.Errorf("receipt = %+v, want %+v", got, want)
	}

	messages := f.stored(t, "orders")
	if len(messages) != 1 {
		t.Fatalf("%d messages stored, want 1", len(messages))
	}
	want := nats.Header{
		"ce-specversion":       {"1.0"},
		"ce-id":                {"1"},
		"ce-source":            {"/shop"},
		"ce-type":              {"com.example.orders.created"},
		"ce-subject":           {"gr%C3%B6%C3%9Fe%20100%25"},
		"ce-time":              {"2026-03-04T05:06:07.000000000Z"},
		"ce-datacontenttype":   {"application/json"},
		"ce-traceparent":       {"00-1"},
		"Nats-Expected-Stream": {"EVENTS_orders"},
		"Nats-Msg-Id":          {"ZWOIRdR9lVkA8PehQMbgsLfiWgAEBozkDnJqaWosKd4"},
	}
	for _, added := range []string{"Nats-Sequence", "Nats-Stream", "Nats-Subject", "Nats-Time-Stamp"} {
		delete(messages[0].Header, added) // by reading it
	}
	if diff := cmp.Diff(want, messages[0].Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	if messages[0].Subject != "events.orders.created" {
		t.Errorf("subject = %s", messages[0].Subject)
	}
	if !bytes.Equal(messages[0].Data, e.Data) {
		t.Errorf("data = %s, want %s", messages[0].Data, e.Data)
	}
	read, err := event.FromMessage(messages[0].Header, messages[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(e, read); diff != "" {
		t.Errorf("event read back (-want +got):\n%s", diff)
	}
	if got := f.count(t, "orders", "stored"); got != 1 {
		t.Errorf("events counted as stored = %d, want 1", got)
	}
}

func TestPublishRecognisesDuplicates(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	publish := func(source, id string) producer.Receipt {
		t.Helper()
		e := order(id)
		e.Source = source
		receipt, err := f.Publish(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		return receipt
	}
	publish("/a", "b/c")
	for _, other := range [][2]string{{"/a/b", "c"}, {"/a", "b"}, {"/b", "b/c"}, {"/ab", "/c"}} {
		if got := publish(other[0], other[1]); got.Duplicate {
			t.Errorf("source %q, id %q counts as a duplicate", other[0], other[1])
		}
	}
	want := producer.Receipt{Stream: "EVENTS_orders", Sequence: 1, Duplicate: true}
	if got := publish("/a", "b/c"); got != want {
		t.Errorf("receipt of the second = %+v, want %+v", got, want)
	}
	if got := len(f.stored(t, "orders")); got != 5 {
		t.Errorf("%d messages stored, want 5", got)
	}
	if got := f.count(t, "orders", "duplicate"); got != 1 {
		t.Errorf("events counted as duplicates = %d, want 1", got)
	}
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	with := func(change func(*event.Event)) *event.Event {
		e := order("1")
		change(e)
		return e
	}
	for _, test := range []struct {
		name    string
		event   *event.Event
		want    error  // wrapped
		says    string // in the text
		domain  string
		outcome string
	}{
		{
			name: "no id", event: with(func(e *event.Event) { e.ID = "" }),
			want: event.ErrInvalidEvent, says: "id", outcome: "invalid",
		},
		{
			name: "no source", event: with(func(e *event.Event) { e.Source = "" }),
			want: event.ErrInvalidEvent, says: "source", outcome: "invalid",
		},
		{
			name: "source that is no URI reference", event: with(func(e *event.Event) { e.Source = "/my shop" }),
			want: event.ErrInvalidEvent, says: "source is not a URI reference", outcome: "invalid",
		},
		{
			name: "schema that is relative", event: with(func(e *event.Event) { e.DataSchema = "orders.json" }),
			want: event.ErrInvalidEvent, says: "dataschema is not an absolute URI", outcome: "invalid",
		},
		{
			name: "control character", event: with(func(e *event.Event) { e.Subject = "a\nb" }),
			want: event.ErrInvalidEvent, says: "subject", outcome: "invalid",
		},
		{
			name: "time that is none", event: with(func(e *event.Event) { e.Time = "yesterday" }),
			want: event.ErrInvalidEvent, says: "time", outcome: "invalid",
		},
		{
			name: "unknown type", event: with(func(e *event.Event) { e.Type = "com.example.orders.eaten" }),
			want: schemas.ErrUnknownType, says: "com.example.orders.eaten", outcome: "unknown_type",
		},
		{
			name: "data that breaks its schema", event: with(func(e *event.Event) { e.Data = []byte(`{"total": "12"}`) }),
			want: nil, says: "/data/total", domain: "orders", outcome: "invalid",
		},
		{
			name: "data that is not JSON", event: with(func(e *event.Event) { e.Data = []byte(`{`) }),
			want: nil, says: "/data", domain: "orders", outcome: "invalid",
		},
		{
			name: "data too large", event: with(func(e *event.Event) { e.Data = bytes.Repeat([]byte(" "), stream.MaxEventSize) }),
			want: producer.ErrTooLarge, says: "at most 262144", outcome: "too_large",
		},
		{
			name: "attributes too large", event: with(func(e *event.Event) { e.Subject = strings.Repeat("ä", producer.MaxAttributes/6) }),
			want: producer.ErrTooLarge, says: "at most 32768", outcome: "too_large",
		},
	} {
		before := f.count(t, test.domain, test.outcome)
		_, err := f.Publish(t.Context(), test.event)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			continue
		}
		if _, ok := errors.AsType[*schemas.ValidationError](err); test.want == nil && !ok {
			t.Errorf("%s: got %v, want a validation error", test.name, err)
		}
		if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: error %q does not say %q", test.name, err, test.says)
		}
		if got := f.count(t, test.domain, test.outcome) - before; got != 1 {
			t.Errorf("%s: counted as %s of domain %q %d times, want once", test.name, test.outcome, test.domain, got)
		}
	}
	if got := len(f.stored(t, "orders")); got != 0 {
		t.Errorf("%d messages stored, want none", got)
	}
}

func TestPublishLargestEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	// The largest that is allowed has to pass the event log, whose limit counts
	// headers too; one byte more is refused before it gets there.
	e := order("1")
	e.Type, e.DataContentType = "notes.big", "text/plain"
	e.Subject = strings.Repeat("x", 1000)
	low, high := stream.MaxEventSize-4096, stream.MaxEventSize
	for high-low > 1 {
		middle := (low + high) / 2
		e.ID, e.Data = id(middle), make([]byte, middle)
		_, err := f.Publish(t.Context(), e)
		switch {
		case err == nil:
			low = middle
		case errors.Is(err, producer.ErrTooLarge) && strings.Contains(err.Error(), "at most 262144"):
			high = middle
		default:
			t.Fatalf("publish %d bytes: %v", middle, err)
		}
	}
	if low < stream.MaxEventSize-2000 {
		t.Errorf("largest data beside 1,000 bytes of attributes = %d", low)
	}
}

func TestPublishInDomainsThatDoNotEnforce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	e := order("1")
	e.Type, e.Data = "lax.created", []byte(`{}`)
	if _, err := f.Publish(t.Context(), e); err != nil {
		t.Errorf("domain that warns: %v", err)
	}
	e.Type, e.DataContentType, e.Data = "notes.made.up", "text/plain", []byte("hello")
	got, err := f.Publish(t.Context(), e)
	if err != nil {
		t.Errorf("open domain: %v", err)
	}
	if got.Stream != "EVENTS_notes" {
		t.Errorf("stored in %s, want EVENTS_notes", got.Stream)
	}
	if messages := f.stored(t, "notes"); messages[0].Subject != "events.notes.made.up" {
		t.Errorf("subject = %s, want events.notes.made.up", messages[0].Subject)
	}
}

func TestPublishEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	e := cloudevents.New()
	e.SetID("1")
	e.SetSource("/shop")
	e.SetType("com.example.orders.created")
	e.SetExtension("priority", 3)
	if err := e.SetData("application/json", []byte(`{"total":  7}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PublishEvent(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	msg := f.stored(t, "orders")[0]
	if got := string(msg.Data); got != `{"total":  7}` {
		t.Errorf("data = %s", got)
	}
	if got := msg.Header["ce-priority"]; !cmp.Equal(got, []string{"3"}) {
		t.Errorf("ce-priority = %v, want 3", got)
	}
	if _, err := f.PublishEvent(t.Context(), cloudevents.New()); !errors.Is(err, event.ErrInvalidEvent) {
		t.Errorf("empty event: got %v, want %v", err, event.ErrInvalidEvent)
	}
}

func TestPublishAsyncKeepsOrder(t *testing.T) {
	t.Parallel()
	const events = 5000
	f := newFixture(t, producer.Config{})
	pending := make([]*producer.Pending, events)
	for n := range pending {
		var err error
		if pending[n], err = f.PublishAsync(t.Context(), order(id(n))); err != nil {
			t.Fatal(err)
		}
	}
	for n, p := range pending {
		for range 2 { // the answer is kept
			got, err := p.Wait(t.Context())
			if want := (producer.Receipt{Stream: "EVENTS_orders", Sequence: uint64(n) + 1}); err != nil || got != want {
				t.Fatalf("receipt %d = %+v, %v, want %+v", n, got, err, want)
			}
		}
	}
}

func TestPublishAsyncBlocksWhenManyAreUnderWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	js, err := jetstream.New(f.server.Connect(), jetstream.WithPublishAsyncMaxPending(1))
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := schemas.Load(domains())
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := producer.New(producer.Config{Prefix: f.layout.Prefix()}, js, catalogue, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var pending []*producer.Pending
	for n := range 100 {
		p, err := narrow.PublishAsync(t.Context(), order(id(n)))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if got := len(f.stored(t, "orders")); got != 100 {
		t.Errorf("%d messages stored, want 100", got)
	}
}

func TestPublishWhileServerIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{Timeout: 300 * time.Millisecond})
	f.server.Stop()
	began := time.Now()
	_, err := f.Publish(t.Context(), order("1"))
	if !errors.Is(err, producer.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, producer.ErrUnavailable)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("gave up after %v, want about 300 ms", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Publish(ctx, order("1")); !errors.Is(err, producer.ErrUnavailable) {
		t.Errorf("with an ended context: got %v, want %v", err, producer.ErrUnavailable)
	}
	if got := f.count(t, "orders", "unavailable"); got != 2 {
		t.Errorf("events counted as unavailable = %d, want 2", got)
	}
}

func TestPublishOverRestart(t *testing.T) {
	t.Parallel()
	const events = 400
	f := newFixture(t, producer.Config{Timeout: 30 * time.Second})
	pending := make(chan *producer.Pending, events)
	failed := make(chan error, 1)
	go func() {
		defer close(pending)
		for n := range events {
			p, err := f.PublishAsync(context.WithoutCancel(t.Context()), order(id(n)))
			if err != nil {
				failed <- err
				return
			}
			pending <- p
		}
	}()
	f.server.Restart()
	f.server.Restart()
	for p := range pending {
		if _, err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-failed:
		t.Error(err)
	default:
	}
	seen := map[string]int{}
	for _, msg := range f.storedAtLeast(t, "orders", events) {
		seen[msg.Header["ce-id"][0]]++
	}
	for n := range events {
		if seen[id(n)] != 1 {
			t.Errorf("event %d is stored %d times, want once", n, seen[id(n)])
		}
	}
}

func TestPublishOverLeaderChange(t *testing.T) {
	t.Parallel()
	const events = 200
	cluster := streamtest.NewCluster(t)
	f := &fixture{layout: cluster.Layout}
	f.connect(t, producer.Config{Timeout: 30 * time.Second}, cluster.Conn())
	if err := f.layout.EnsureEventLog(t.Context(), f.js, "orders"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for n := range events {
			if _, err := f.Publish(context.WithoutCancel(t.Context()), order(id(n))); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	cluster.StepDown(f.layout.EventLog("orders"))
	cluster.StopNode(cluster.Leader(f.layout.EventLog("orders")))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, msg := range f.storedAtLeast(t, "orders", events) {
		seen[msg.Header["ce-id"][0]]++
	}
	for n := range events {
		if seen[id(n)] != 1 {
			t.Errorf("event %d is stored %d times, want once", n, seen[id(n)])
		}
	}
}

func TestPublishIsRefusedByTheEventLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{Timeout: 20 * time.Second})

	f.limit(t, "orders", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1 })
	if _, err := f.Publish(t.Context(), order("1")); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 10*time.Second) // a full log is not waited for
	if _, err := f.Publish(ctx, order("2")); !errors.Is(err, producer.ErrUnavailable) || ctx.Err() != nil {
		t.Errorf("full event log: got %v, want %v", err, producer.ErrUnavailable)
	}

	f.limit(t, "orders", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 500 })
	big := order("3")
	big.Data = []byte(`{"total": 1` + strings.Repeat(" ", 500) + `}`)
	if _, err := f.Publish(t.Context(), big); !errors.Is(err, producer.ErrTooLarge) {
		t.Errorf("event log with a lower limit: got %v, want %v", err, producer.ErrTooLarge)
	}
}

func TestPublishWithoutEventLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{Timeout: time.Second})
	if err := f.js.DeleteStream(t.Context(), f.layout.EventLog("orders")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Publish(t.Context(), order("1")); !errors.Is(err, producer.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, producer.ErrUnavailable)
	}
}

func TestPublishAgainWhenNoAnswerComes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	if err := f.js.DeleteStream(t.Context(), f.layout.EventLog("orders")); err != nil {
		t.Fatal(err)
	}
	// A listener that does not answer, as a leader that just died.
	heard := make(chan *nats.Msg, 10)
	nc := f.server.Connect()
	if _, err := nc.ChanSubscribe("events.orders.>", heard); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	pending, err := f.PublishAsync(t.Context(), order("1"))
	if err != nil {
		t.Fatal(err)
	}
	first := <-heard
	if err := f.layout.EnsureEventLog(t.Context(), f.js, "orders"); err != nil {
		t.Fatal(err)
	}
	got, err := pending.Wait(t.Context())
	if want := (producer.Receipt{Stream: "EVENTS_orders", Sequence: 1}); err != nil || got != want {
		t.Errorf("receipt = %+v, %v, want %+v", got, err, want)
	}
	again := <-heard
	if diff := cmp.Diff(first.Header, again.Header); diff != "" {
		t.Errorf("second try differs (-first +second):\n%s", diff)
	}
}

func TestWaitMayBeCalledAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	pending, err := f.PublishAsync(t.Context(), order("1"))
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pending.Wait(ended); err != nil && !errors.Is(err, context.Canceled) { // or it was there already
		t.Errorf("wait with an ended context: %v", err)
	}
	if got, err := pending.Wait(t.Context()); err != nil || got.Sequence != 1 {
		t.Errorf("second wait = %+v, %v, want sequence 1", got, err)
	}
}

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]producer.Config{
		"timeout beyond the dedupe window": {Timeout: stream.Dedupe},
		"negative timeout":                 {Timeout: -1},
		"negative batch":                   {MaxBatchEvents: -1},
		"prefix with a dot":                {Prefix: "a.b"},
	} {
		if _, err := producer.New(cfg, unused{}, &schemas.Catalogue{}, zap.NewNop(), prometheus.NewRegistry()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := producer.New(producer.Config{}, nil, &schemas.Catalogue{}, nil, nil); err == nil {
		t.Error("no JetStream: accepted")
	}
	if _, err := producer.New(producer.Config{}, unused{}, nil, nil, nil); err == nil {
		t.Error("no catalogue: accepted")
	}
	if _, err := producer.New(producer.Config{}, unused{}, &schemas.Catalogue{}, nil, nil); err != nil {
		t.Errorf("neither log nor registry: %v", err)
	}
}

// unused is a JetStream that nothing is published to.
type unused struct{ jetstream.JetStream }
