package router_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// When a create or a change is answered, every event published afterwards is
// matched with it (design, section 5): on a router that learns of it over another
// connection, and that is busy.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	const creates, changes = 400, 100
	r := newRig(t)
	// All subscriptions share a queue, so that 500 of them are quickly made.
	shared := r.subscribe(wants("shared", []string{"none.*"}))
	bySubject := func(subject string) []filter.Filter {
		return []filter.Filter{filter.Exact(map[string]string{"subject": subject})}
	}
	r.route()
	stopLoad := r.load()

	publish := func(n int, subject string) {
		e := note(n)
		e.Subject = subject
		r.publish(e)
	}
	want := make(map[string]string) // event id to subscription
	for n := range creates {
		sub := wants("hook-"+strconv.Itoa(n), []string{"notes.added"}, bySubject(fmt.Sprint("created ", n))...)
		sub.Queue = shared.Queue
		if _, err := r.store.Create(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
		publish(n, fmt.Sprint("created ", n))
		want[strconv.Itoa(n)] = sub.ID
	}
	for n := creates; n < creates+changes; n++ {
		sub := wants("hook-"+strconv.Itoa(n), []string{"notes.added"}, bySubject("nothing")...)
		sub.Queue = shared.Queue
		created, err := r.store.Create(t.Context(), sub)
		if err != nil {
			t.Fatal(err)
		}
		created.Filters = bySubject(fmt.Sprint("changed ", n))
		if _, err := r.store.Update(t.Context(), created); err != nil {
			t.Fatal(err)
		}
		publish(n, fmt.Sprint("changed ", n))
		want[strconv.Itoa(n)] = sub.ID
	}
	stopLoad()
	r.awaitRouted()

	got := make(map[string]string)
	for _, m := range r.queued(shared) {
		d, err := delivery.FromMessage("", m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		from, err := delivery.ParseOrigin(d.Origin)
		id := from.Subscription
		if err != nil || got[d.Event.ID] != "" {
			t.Errorf("event %s is there for %q and %q, %v", d.Event.ID, got[d.Event.ID], id, err)
		}
		got[d.Event.ID] = id
	}
	for event, id := range want {
		if got[event] != id {
			t.Errorf("event %s went to %q, want %s", event, got[event], id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d events were matched, want %d", len(got), len(want))
	}
}

// load publishes events that match no subscription, until stop is called.
func (r *rig) load() (stop func()) {
	r.t.Helper()
	js, err := stream.JetStream(r.server.Connect())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	var publishers sync.WaitGroup
	publishers.Go(func() {
		under := make(chan struct{}, 50)
		for n := 1_000_000; ctx.Err() == nil; n++ {
			under <- struct{}{}
			future, err := js.PublishMsgAsync(message(note(n)), jetstream.WithStallWait(patience))
			if err != nil {
				r.t.Errorf("background load: %v", err)
				return
			}
			publishers.Go(func() {
				select {
				case <-future.Ok():
				case err := <-future.Err():
					r.t.Errorf("background load: %v", err)
				}
				<-under
			})
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		publishers.Wait()
	})
}
