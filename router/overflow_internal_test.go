package router

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
)

// However many deliveries overflow, there is one event per subscription and minute,
// which counts those since the last one.
func TestOverflowsAreCountedByTheMinute(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	if err := server.Layout.EnsureEventLog(t.Context(), server.JS(), stream.OperationalDomain); err != nil {
		t.Fatal(err)
	}
	events, err := operational.NewPublisher(operational.Config{}, server.JS(), server.Layout, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	o := newOverflows(events, operational.Overflowed, overflowPause, overflowEvery)
	at, seq := time.Now(), uint64(0)
	overflow := func(id string, n int) {
		for range n {
			seq++
			e := &event.Event{ID: fmt.Sprint(seq), Source: "/notes", Type: "notes.added"}
			o.add(&subscription.Subscription{ID: id, Types: []string{"notes.*"}}, &delivery.Delivery{
				ID: delivery.ID(id, e.Source, e.ID), SubscriptionID: id, Event: e, Origin: delivery.Origin("EVENTS_notes", seq, at, id),
			})
		}
	}
	overflow("a", 3)
	if !o.flush(at) { // not due yet
		t.Error("nothing is pending")
	}
	overflow("a", 2)
	overflow("b", 1)
	at = time.Now().Add(overflowPause)
	o.flush(at) // a has 5, b has 1
	overflow("a", 4)
	o.flush(at.Add(overflowEvery - time.Second)) // not due yet
	overflow("a", 6)
	o.flush(at.Add(overflowEvery + time.Second)) // a has 10; b is done
	if !o.flush(at.Add(overflowEvery + 2*time.Second)) {
		t.Error("a is forgotten, and could have another event within the minute")
	}
	if o.flush(at.Add(3 * overflowEvery)) {
		t.Error("something is pending when all is said")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := events.Run(ended); err != nil { // publishes what waits
		t.Fatal(err)
	}
	got := map[string][]int{}
	for _, e := range server.Events(stream.OperationalDomain) {
		var data struct{ Count int }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		got[e.Subject] = append(got[e.Subject], data.Count)
	}
	if fmt.Sprint(got) != "map[a:[5 10] b:[1]]" {
		t.Errorf("counted %v, want 5 and 10 for a, 1 for b", got)
	}
}
