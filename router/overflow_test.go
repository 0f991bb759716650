package router_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/schemas"
)

// publishOperational makes the routers to come publish operational events.
func (r *rig) publishOperational() {
	r.t.Helper()
	if err := r.layout.EnsureEventLog(r.t.Context(), r.js, stream.OperationalDomain); err != nil {
		r.t.Fatal(err)
	}
	js, err := stream.JetStream(r.server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.events, err = operational.NewPublisher(operational.Config{}, js, r.layout, zap.NewNop(), prometheus.NewRegistry()); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.events.Run(ctx) }()
	r.t.Cleanup(func() { cancel(); <-done })
}

// What a queue has no room for is counted in an event, for each subscription but
// observers.
func TestOverflowIsSaid(t *testing.T) {
	t.Parallel()
	const n, room = 20, 3
	r := newRig(t)
	r.publishOperational()
	subs := []string{"full", "observer"}
	for _, id := range subs {
		types := []string{"notes.*"}
		if id == "observer" {
			types = append(types, "jetpost.*")
		}
		sub := r.subscribe(wants(id, types))
		cfg := r.layout.QueueConfig(id, sub.Queue)
		cfg.MaxMsgs = room
		if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	r.publishMany(0, n)
	running := r.route()
	deadLetters := delivery.NewDeadLetters(r.js, r.layout)
	ids := map[string]bool{}
	for _, id := range subs {
		testkit.Until(t, func() (bool, string) {
			all, err := deadLetters.Latest(t.Context(), id, 0, n)
			for _, deadLetter := range all {
				ids[deadLetter.DeliveryID] = true
			}
			return err == nil && len(all) == n-room, fmt.Sprintf("%s has %d dead letters: %v", id, len(all), err)
		})
	}
	r.awaitRouted()
	running.stop() // what was counted is published by then

	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	count, events := 0, 0
	testkit.Until(t, func() (bool, string) {
		count, events = 0, 0
		for _, e := range r.server.Events(stream.OperationalDomain) {
			events++
			if err := catalogue.Validate(e); err != nil {
				t.Error(err)
			}
			var data struct {
				Count      int    `json:"count"`
				DeliveryID string `json:"delivery_id"`
			}
			if err := json.Unmarshal(e.Data, &data); err != nil || e.Type != "jetpost.queue.overflow" || e.Subject != "full" || !ids[data.DeliveryID] {
				t.Errorf("error %v, got %s of %s: %s", err, e.Type, e.Subject, e.Data)
			}
			count += data.Count
		}
		return count >= n-room, fmt.Sprintf("%d deliveries are counted", count)
	})
	// One event, or, where the machine is so slow that they took a second, another one
	// when the router ended.
	if count != n-room || events > 2 {
		t.Errorf("%d deliveries are counted in %d events, want %d in 1", count, events, n-room)
	}
}
