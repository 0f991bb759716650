package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
)

// shortAckWait has the server take who was killed for dead after a second.
func shortAckWait(t *testing.T, js jetstream.JetStream, streamName, consumer string) {
	t.Helper()
	c, err := js.Consumer(t.Context(), streamName, consumer)
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.CachedInfo().Config
	cfg.AckWait = time.Second
	if _, err := js.UpdateConsumer(t.Context(), streamName, cfg); err != nil {
		t.Fatal(err)
	}
}

// With two routers and two senders, of which one after the other is killed, and a
// receiver that fails every sixth request, events are accepted in the order of their
// log. What comes again has been accepted before.
func TestOrdered(t *testing.T) {
	t.Parallel()
	const events = 500
	sp := startSplit(t)
	routers, senders := []*server{sp.router, sp.join(t, "router")}, []*server{sp.sender, sp.join(t, "sender")}
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		if rand.N(6) == 0 { //nolint:gosec // a receiver as they are
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	schedule := append([]string{"0s"}, slices.Repeat([]string{"5ms"}, 49)...)
	terms := withoutBreaker(retrying(0, schedule...))
	terms["ordered"], terms["senders"] = true, 2
	sp.subscribe(t, "ledger", c.URL, []string{"artifact.*"}, object{"delivery": terms})
	// Another one, which no order holds up, keeps routers busy with the same events.
	free := startCatcher(t, nil)
	sp.subscribe(t, "free", free.URL, []string{"artifact.*"}, nil)
	js := sp.jetStream(t)
	shortAckWait(t, js, "EVENTS_artifact", "router")
	shortAckWait(t, js, "DELIVERIES_ledger", "sender")

	ids := numbered("event", events)
	place := make(map[string]int, events)
	published := make(chan error, 1)
	go func() {
		last := uint64(0)
		for _, id := range ids {
			got, err := sp.tryPublish(t.Context(), deployed(id, "libs"))
			if err == nil && got.Sequence <= last {
				err = fmt.Errorf("%s is number %d of the log, behind %d", id, got.Sequence, last)
			}
			if err != nil {
				published <- err
				return
			}
			last = got.Sequence
		}
		published <- nil
	}()
	for i, id := range ids {
		place[delivery.ID("ledger", "/artifactory/e2e", id)] = i
	}
	for i, victim := range []*server{routers[0], senders[0], routers[1], senders[1]} {
		eventually(t, "deliveries are made", func() bool { return c.deliveries() >= (i+1)*events/5 })
		victim.kill()
		victim.restart(t)
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}

	var accepted, repeats, failed int
	eventually(t, "all events are accepted", func() bool {
		accepted, repeats, failed = 0, 0, 0
		for _, a := range c.arrivals() {
			at, known := place[a.id()]
			switch {
			case !known:
				t.Fatalf("%s is not one of the deliveries", a.id())
			case at > accepted:
				t.Fatalf("event %d arrives when %d have been accepted", at, accepted)
			case at < accepted:
				repeats++
			case a.status/100 == 2:
				accepted++
			case a.status != 0:
				failed++
			}
		}
		return accepted == events
	})
	t.Logf("%d requests failed, %d repeated what had been accepted", failed, repeats)
	eventually(t, "the others have arrived", func() bool { return free.deliveries() == events })
	if letters := sp.letters(t, "ledger"); len(letters) > 0 {
		t.Errorf("given up: %+v", letters)
	}
}
