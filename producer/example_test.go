package producer_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing/fstest"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// A service of yours connects to the NATS server that jetpost uses and publishes
// the events of its own domain.
func Example() {
	ctx := context.Background()
	url, stop := runServer() // yours is running already
	defer stop()

	nc, err := nats.Connect(url, stream.ConnectOptions("producer", zap.NewNop())...)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := stream.JetStream(nc)
	if err != nil {
		log.Fatal(err)
	}

	// The catalogue is the shipped one and your domain, most often from a folder:
	// schemas.Load(schemas.Dir("/etc/shop/schemas")).
	catalogue, err := schemas.Load(fstest.MapFS{
		"orders/domain.json": {Data: []byte(`{"name": "orders", "type_prefix": "com.example.orders."}`)},
		"orders/created.schema.json": {Data: []byte(`{
			"type": "object",
			"required": ["total"],
			"properties": {"total": {"type": "integer"}}
		}`)},
		"orders/created.example.json": {Data: []byte(`{"total": 12}`)},
	})
	if err != nil {
		log.Fatal(err)
	}
	layout, err := stream.NewLayout(stream.LayoutConfig{})
	if err != nil {
		log.Fatal(err)
	}
	if err := layout.EnsureEventLog(ctx, js, "orders"); err != nil { // "jetpost serve" does it as well
		log.Fatal(err)
	}
	p, err := producer.New(producer.Config{}, js, layout, catalogue, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		log.Fatal(err)
	}

	order := &event.Event{
		ID:              "order-4711",
		Source:          "/shop/berlin",
		Type:            "com.example.orders.created",
		DataContentType: "application/json",
		Data:            []byte(`{"total": 12}`),
	}
	receipt, err := p.Publish(ctx, order)
	fmt.Println(receipt.Stream, receipt.Sequence, receipt.Duplicate, err)

	// Once more, perhaps because the first answer was lost.
	receipt, err = p.Publish(ctx, order)
	fmt.Println(receipt.Stream, receipt.Sequence, receipt.Duplicate, err)

	order.ID, order.Data = "order-4712", []byte(`{"total": "a lot"}`)
	_, err = p.Publish(ctx, order)
	fmt.Println(err)

	// Output:
	// EVENTS_orders 1 false <nil>
	// EVENTS_orders 1 true <nil>
	// publish event "order-4712" of type "com.example.orders.created": validate com.example.orders.created: /data/total must be an integer, is a string
}

// Many events are faster when none waits for the receipt of the one before.
func ExampleProducer_PublishAsync() {
	publish := func(ctx context.Context, p *producer.Producer, events []*event.Event) error {
		pending := make([]*producer.Pending, 0, len(events))
		for _, e := range events {
			sent, err := p.PublishAsync(ctx, e)
			if err != nil {
				return err
			}
			pending = append(pending, sent)
		}
		for _, sent := range pending {
			if _, err := sent.Wait(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	_ = publish
}

// runServer starts a server with an empty store.
func runServer() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "jetpost-example-")
	if err != nil {
		log.Fatal(err)
	}
	server, err := embedded.Start(embedded.Config{Dir: dir}, zap.NewNop())
	if err != nil {
		log.Fatal(err)
	}
	return server.URL(), func() {
		_ = server.Stop(context.Background())
		_ = os.RemoveAll(dir)
	}
}
