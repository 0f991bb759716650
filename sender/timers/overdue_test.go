package timers_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/timers"
)

// A retry timer that came due while the store was full fires when there is room again, by
// the sender that leads its shard, and is counted.
func TestOverdueTimerFires(t *testing.T) {
	t.Parallel()
	server := streamtest.NewWith(t, embedded.Config{MaxStore: 8 << 20})
	js, err := stream.JetStream(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	l := server.Layout
	if err := l.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	view := subscription.NewView(subscription.ViewConfig{}, js, l, nil, zap.NewNop())
	keeper := clock.NewKeeper(js, l, stream.NewBucket(js, l.StateBucket()), view, zap.NewNop(), prometheus.NewCounter(prometheus.CounterOpts{Name: "set"}))
	all := timers.New(server.Conn(), js, l, keeper.Clock(), zap.NewNop())
	due := time.Now().Add(2 * time.Second)
	d := &delivery.Delivery{ID: "dlv_1", SubscriptionID: "hook", Attempt: 2, Event: &event.Event{ID: "1", Source: "/test", Type: "shop.paid"}}
	if err := all.Store(t.Context(), "00", d, due); err != nil {
		t.Fatal(err)
	}
	free := server.Fill()
	c, err := js.Consumer(t.Context(), l.RetryStream("00"), stream.SenderConsumer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(jetstream.FetchMaxWait(time.Until(due) + 2*time.Second)); err == nil {
		t.Fatal("the timer has fired in a store that is full: this shows nothing")
	}
	free()
	rearmed := prometheus.NewCounter(prometheus.CounterOpts{Name: "rearmed"})
	reg := prometheus.NewRegistry()
	reg.MustRegister(rearmed)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		all.WatchOverdue(ctx, func(shard string) bool { return shard == "00" }, rearmed)
	})
	m, err := c.Next(jetstream.FetchMaxWait(2 * time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	running.Wait()
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() != 1 {
		t.Errorf("counted: %v, %v, want 1", families, err)
	}
}
