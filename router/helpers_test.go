package router_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/router"
)

// patience is longer than anything here takes on a loaded machine.
const patience = 30 * time.Second

// A rig is an installation with the domain notes, without services.
type rig struct {
	t      testing.TB
	server *streamtest.Server
	layout stream.Layout
	js     jetstream.JetStream
	store  *subscription.Store
	log    *zap.Logger
	logged *observer.ObservedLogs
	events *operational.Publisher // of the routers; nil: none
	// Of the routers, for events and for what they publish; nil: any amount.
	memory, publishing *budget.Budget
	// connect makes a connection for a process of its own.
	connect func(...nats.Option) *nats.Conn
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{t: tb, server: streamtest.New(tb)}
	r.layout, r.connect = r.server.Layout, r.server.Connect
	r.prepare(r.server.Conn())
	return r
}

// prepare makes what there is of an installation.
func (r *rig) prepare(nc *nats.Conn) {
	tb := r.t
	tb.Helper()
	var err error
	if r.js, err = stream.JetStream(nc); err != nil {
		tb.Fatal(err)
	}
	if err := r.layout.Ensure(tb.Context(), r.js, []string{"notes"}); err != nil {
		tb.Fatal(err)
	}
	keyring, err := keyring.Load(filepath.Join(tb.TempDir(), "keyset.json"))
	if err != nil {
		tb.Fatal(err)
	}
	core, logged := observer.New(zap.InfoLevel)
	r.log, r.logged = zap.New(core), logged
	r.store = subscription.NewStore(r.js, r.layout, keyring, zap.NewNop())
}

// wants is a subscription to types, with filters.
func wants(id string, types []string, filters ...filter.Filter) *subscription.Subscription {
	return &subscription.Subscription{
		ID: id, Types: types, Filters: filters, Endpoint: subscription.Endpoint{URL: "https://example.com/" + id},
	}
}

// subscribe creates a subscription with a queue of its own.
func (r *rig) subscribe(sub *subscription.Subscription) *subscription.Subscription {
	r.t.Helper()
	sub.Queue = r.layout.QueueFor(sub.ID)
	if err := r.layout.EnsureQueue(r.t.Context(), r.js, sub.ID, sub.Queue, 64); err != nil {
		r.t.Fatal(err)
	}
	created, err := r.store.Create(r.t.Context(), sub)
	if err != nil {
		r.t.Fatal(err)
	}
	return created
}

// A running router, in a process of its own as far as NATS can tell.
type running struct {
	nc  *nats.Conn
	reg *prometheus.Registry
	// stop ends it, and waits until it has.
	stop func()
}

// route starts a router.
func (r *rig) route(domains ...string) *running {
	r.t.Helper()
	nc, reg := r.connect(nats.ReconnectBufSize(-1)), prometheus.NewRegistry()
	js, err := stream.JetStream(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	view := subscription.NewView(subscription.ViewConfig{}, js, r.layout, nil, r.log)
	if len(domains) == 0 {
		domains = []string{"notes"}
	}
	service, err := router.New(router.Config{
		Domains: domains, Grace: 2 * time.Second, Events: r.events, Memory: r.memory, Publishing: r.publishing,
	}, nc, r.layout, view, r.log, reg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	viewing, stopView := context.WithCancel(r.t.Context())
	var view1 sync.WaitGroup
	view1.Go(func() { _ = view.Run(viewing) }) // fails where the test closes the connection
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
				r.t.Errorf("router: %v", err)
			}
		case <-testkit.Timeout():
			r.t.Error("the router does not stop")
		}
		stopView()
		view1.Wait()
	})
	r.t.Cleanup(stop)
	return &running{nc: nc, reg: reg, stop: stop}
}

// note is the note number n, which no encoder would write like this.
func note(n int) *event.Event {
	return &event.Event{
		ID: strconv.Itoa(n), Source: "/notes", Type: "notes.added", Subject: fmt.Sprintf("größe %d %%", n),
		DataContentType: "application/json", Data: fmt.Appendf(nil, `{"n" : %d.0,"big":12345678901234567890}`, n),
	}
}

func message(e *event.Event) *nats.Msg {
	m := nats.NewMsg("events.notes.added")
	e.SetHeader(m.Header)
	m.Header[stream.HeaderMessageID] = []string{e.Source + e.ID}
	m.Data = e.Data
	return m
}

// publish stores events, one after the other, and returns the last ack.
func (r *rig) publish(events ...*event.Event) *jetstream.PubAck {
	r.t.Helper()
	var last *jetstream.PubAck
	for _, e := range events {
		ack, err := r.js.PublishMsg(r.t.Context(), message(e))
		if err != nil {
			r.t.Fatal(err)
		}
		last = ack
	}
	return last
}

// publishMany stores the notes from first on, n of them, as fast as it can. What is not
// acknowledged, as the client library reports of everything under way while it reconnects to a
// server that has started again, is published again: the notes have ids.
func (r *rig) publishMany(first, n int) {
	r.t.Helper()
	publisher := stream.NewPublisher(stream.PublisherConfig{Stall: patience, Pause: time.Millisecond}, r.js)
	under := make([]stream.Publication, n)
	for i := range under {
		under[i] = publisher.Send(message(note(first + i)))
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for i := range under {
		if _, err := under[i].Wait(ctx, time.Time{}); err != nil {
			r.t.Fatalf("note %d is not stored: %v, after %v", first+i, err, under[i].Last())
		}
	}
}

func (r *rig) state(name string) jetstream.StreamState {
	r.t.Helper()
	var state jetstream.StreamState
	testkit.Until(r.t, func() (bool, string) { // a server that restarts does not answer
		s, err := r.js.Stream(r.t.Context(), name)
		if err != nil {
			return false, err.Error()
		}
		state = s.CachedInfo().State
		return true, ""
	})
	return state
}

// storedAt is when the log stored the event at a place.
func (r *rig) storedAt(sequence uint64) time.Time {
	r.t.Helper()
	record, err := stream.Get(r.t.Context(), r.js, "EVENTS_notes", sequence)
	if err != nil {
		r.t.Fatal(err)
	}
	return record.Time.UTC()
}

// awaitQueued waits until at least n deliveries are in a queue.
func (r *rig) awaitQueued(sub *subscription.Subscription, n int) {
	r.t.Helper()
	testkit.Until(r.t, func() (bool, string) {
		have := r.state(sub.Queue.Stream).Msgs
		return have >= uint64(n), fmt.Sprintf("queue of %s has %d deliveries, want %d", sub.ID, have, n) //nolint:gosec // small
	})
}

// awaitRouted waits until all events are settled.
func (r *rig) awaitRouted() {
	r.t.Helper()
	testkit.Until(r.t, func() (bool, string) {
		c, err := r.js.Consumer(r.t.Context(), r.layout.EventLog("notes"), stream.RouterConsumer)
		if err != nil {
			return false, err.Error()
		}
		log, err := r.js.Stream(r.t.Context(), r.layout.EventLog("notes"))
		if err != nil {
			return false, err.Error()
		}
		// Not the number of those that wait: it is a moment behind what is stored.
		info, last := c.CachedInfo(), log.CachedInfo().State.LastSeq
		return info.AckFloor.Stream >= last && info.NumAckPending == 0, fmt.Sprintf("routed up to event %d of %d, %d are in work", info.AckFloor.Stream, last, info.NumAckPending)
	})
}

// queued are the messages in a queue, oldest first.
func (r *rig) queued(sub *subscription.Subscription) []*jetstream.RawStreamMsg {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), sub.Queue.Stream)
	if err != nil {
		r.t.Fatal(err)
	}
	state := s.CachedInfo().State
	var msgs []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		m, err := s.GetMsg(r.t.Context(), seq)
		if err != nil {
			r.t.Fatal(err)
		}
		msgs = append(msgs, m)
	}
	return msgs
}

// wantQueued checks that exactly these notes are in a queue, each once.
func (r *rig) wantQueued(sub *subscription.Subscription, notes ...int) {
	r.t.Helper()
	got := make(map[string]int)
	for _, m := range r.queued(sub) {
		d, err := delivery.FromMessage(sub.ID, m.Header, m.Data)
		if err != nil {
			r.t.Errorf("queue of %s: %v", sub.ID, err)
			continue
		}
		got[d.Event.ID]++
	}
	for _, n := range notes {
		if times := got[strconv.Itoa(n)]; times != 1 {
			r.t.Errorf("queue of %s has note %d %d times, want once", sub.ID, n, times)
		}
	}
	if len(got) != len(notes) {
		r.t.Errorf("queue of %s has %d notes, want %d", sub.ID, len(got), len(notes))
	}
}

// setAckWait changes after what time an event that no router has settled is
// handed out again.
func (r *rig) setAckWait(wait time.Duration) {
	r.t.Helper()
	cfg := r.layout.RouterConsumerConfig()
	cfg.AckWait = wait
	if _, err := r.js.UpdateConsumer(r.t.Context(), r.layout.EventLog("notes"), cfg); err != nil {
		r.t.Fatal(err)
	}
}

// upTo is 0, 1, … n-1.
func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}
