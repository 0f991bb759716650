package stream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// What a consumer has handed out, and would hand out again in hours, comes again when
// nothing has happened to it for long enough, and not while something happens.
func TestPendingWatch(t *testing.T) {
	t.Parallel()
	js := streamtest.New(t).JS()
	ctx := t.Context()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work"}}); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(ctx, "WORK", jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	next := func() jetstream.Msg {
		t.Helper()
		m, err := consumer.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("next message: %v", err)
		}
		return m
	}
	delivered := func() uint64 {
		t.Helper()
		info, err := consumer.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return info.Delivered.Consumer
	}
	watch := stream.NewPendingWatch(js, "WORK", "worker")
	look := func() {
		t.Helper()
		if err := watch.Look(ctx); err != nil {
			t.Fatal(err)
		}
	}
	publish := func() {
		t.Helper()
		if _, err := js.Publish(ctx, "work", nil); err != nil {
			t.Fatal(err)
		}
	}
	look() // nothing is pending
	publish()
	handBack := func(m jetstream.Msg) {
		t.Helper()
		if err := m.NakWithDelay(2 * time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	handBack(next())
	look()
	watch.Age()
	publish()
	if err := next().DoubleAck(ctx); err != nil { // something has happened
		t.Fatal(err)
	}
	look()
	if n := delivered(); n != 2 {
		t.Fatalf("%d messages were handed out, want 2", n)
	}
	watch.Age()
	look()
	m := next()
	if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream != 1 || meta.NumDelivered != 2 {
		t.Fatalf("got %+v, %v, want the first message again", meta, err)
	}
	for _, missing := range [][2]string{{"WORK", "unknown"}, {"NOTHING", "worker"}} {
		if err := stream.NewPendingWatch(js, missing[0], missing[1]).Look(ctx); err != nil {
			t.Errorf("%v: %v", missing, err)
		}
	}
}
