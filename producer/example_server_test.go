package producer_test

import (
	"context"
	"log"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// runServer starts a server with nothing but the event log of the domain orders.
func runServer() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "jetpost-example-")
	if err != nil {
		log.Fatal(err)
	}
	server, err := embedded.Start(embedded.Config{Dir: dir}, zap.NewNop())
	if err != nil {
		log.Fatal(err)
	}
	nc, js := connect(server.URL())
	defer nc.Close()
	layout, err := stream.NewLayout(stream.LayoutConfig{})
	if err != nil {
		log.Fatal(err)
	}
	if err := layout.EnsureEventLog(context.Background(), js, "orders"); err != nil {
		log.Fatal(err)
	}
	return server.URL(), func() {
		_ = server.Stop(context.Background())
		_ = os.RemoveAll(dir)
	}
}

// newProducer makes a producer that knows the domain orders, on a server of its own.
func newProducer() (p *producer.Producer, stop func()) {
	url, stopServer := runServer()
	nc, js := connect(url)
	catalogue, err := schemas.Load(domains())
	if err != nil {
		log.Fatal(err)
	}
	if p, err = producer.New(producer.Config{}, js, catalogue, nil, nil); err != nil {
		log.Fatal(err)
	}
	return p, func() {
		nc.Close()
		stopServer()
	}
}

func connect(url string) (*nats.Conn, jetstream.JetStream) {
	nc, err := nats.Connect(url, producer.ConnectOptions(nil)...)
	if err != nil {
		log.Fatal(err)
	}
	js, err := producer.JetStream(nc)
	if err != nil {
		log.Fatal(err)
	}
	return nc, js
}
