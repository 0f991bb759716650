// A program of another module, which publishes to the NATS server that jetpost uses.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// counts receives the results of publishing.
type counts struct{ stored, failed int }

func (c *counts) Stored(string)        { c.stored++ }
func (c *counts) Failed(string, error) { c.failed++ }

// classes knows the class of one repository.
type classes struct{}

func (classes) Len() int { return 1 }

func (classes) ClassOf(key string) (string, bool) { return "local", key == "libs" }

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	nc, err := nats.Connect(url, producer.ConnectOptions(nil)...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := producer.JetStream(nc)
	if err != nil {
		return err
	}
	shipped, err := schemas.Load()
	if err != nil {
		return err
	}
	// Domains that are registered while it runs are known at once.
	live, err := schemas.NewLive(shipped, js, prefix, nil)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- live.Run(following) }()
	defer func() {
		stop()
		<-ended
	}()

	health := &counts{}
	p, err := producer.New(producer.Config{Prefix: prefix, Health: health, Repositories: classes{}}, js, live, nil, nil)
	if err != nil {
		return err
	}
	deleted := &event.Event{
		ID: "1", Source: "/outside", Type: "artifact.deleted", DataContentType: "application/json",
		Data: []byte(`{"repo_key": "libs", "path": "a/b", "name": "b", "sha256": "x", "size": 0}`),
	}
	receipt, err := p.Publish(ctx, deleted)
	if err != nil {
		return err
	}
	fmt.Println(receipt.Stream, receipt.Sequence, receipt.Duplicate)

	deleted.ID, deleted.Data = "2", []byte(`{}`)
	_, err = p.Publish(ctx, deleted)
	invalid, ok := errors.AsType[*schemas.ValidationError](err)
	if !ok {
		return fmt.Errorf("published what breaks its schema: %w", err)
	}
	fmt.Println(invalid.Type, len(invalid.Problems) > 0, health.stored, health.failed)
	return nil
}
