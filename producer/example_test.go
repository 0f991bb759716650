package producer_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing/fstest"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// A service of yours connects to the NATS server that jetpost uses and publishes
// the events of its own domain.
func Example() {
	ctx := context.Background()
	url, stop := runServer() // yours is running already, and jetpost made the event log
	defer stop()

	nc, err := nats.Connect(url, producer.ConnectOptions(nil)...)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, err := producer.JetStream(nc)
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
	p, err := producer.New(producer.Config{}, js, catalogue, nil, nil)
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
	ctx := context.Background()
	p, stop := newProducer()
	defer stop()

	var pending []*producer.Pending
	for n := range 3 {
		sent, err := p.PublishAsync(ctx, &event.Event{
			ID: fmt.Sprintf("order-%d", n), Source: "/shop/berlin", Type: "com.example.orders.created",
			DataContentType: "application/json", Data: []byte(`{"total": 12}`),
		})
		if err != nil {
			log.Fatal(err)
		}
		pending = append(pending, sent)
	}
	for _, sent := range pending {
		receipt, err := sent.Wait(ctx)
		fmt.Println(receipt.Stream, receipt.Sequence, err)
	}
	// Output:
	// EVENTS_orders 1 <nil>
	// EVENTS_orders 2 <nil>
	// EVENTS_orders 3 <nil>
}

// A program can take events over HTTP as "jetpost serve" does. Who may publish is for it
// to say.
func ExampleProducer_Handler() {
	p, stop := newProducer()
	defer stop()

	server := httptest.NewServer(p.Handler())
	defer server.Close()
	for _, total := range []string{`12`, `"a lot"`} {
		body := `{"specversion": "1.0", "id": "order-4711", "source": "/shop/berlin", "type": "com.example.orders.created", "data": {"total": ` + total + `}}`
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		resp, err := server.Client().Do(req)
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
		fmt.Println(resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	// Output:
	// 201 application/json
	// 400 application/problem+json
}
