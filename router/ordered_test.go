package router_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/testkit"
)

// ordered has the deliveries of a subscription made in order.
func ordered(sub *subscription.Subscription) *subscription.Subscription {
	sub.Delivery.Ordered = true
	return sub
}

// sequences are the places in the log of what is in a queue, in its order.
func (r *rig) sequences(sub *subscription.Subscription) []uint64 {
	r.t.Helper()
	var sequences []uint64
	for _, m := range r.queued(sub) {
		from, err := delivery.ParseOrigin(m.Header.Get(stream.HeaderOrigin))
		if err != nil {
			r.t.Fatal(err)
		}
		sequences = append(sequences, from.Sequence)
	}
	return sequences
}

// wantInOrder checks that a queue has the events of these sequences, in this order,
// and each once.
func (r *rig) wantInOrder(sub *subscription.Subscription, want []uint64) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.sequences(sub)); diff != "" {
		r.t.Errorf("queue of %s (-want +got):\n%s", sub.ID, diff)
	}
}

// from returns the numbers from first to last.
func from(first, last uint64) (numbers []uint64) {
	for n := first; n <= last; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

func without(numbers []uint64, dropped ...uint64) []uint64 {
	return slices.DeleteFunc(numbers, func(n uint64) bool { return slices.Contains(dropped, n) })
}

// odd wants the notes whose text ends so.
func odd() filter.Filter {
	var filters []filter.Filter
	for _, digit := range []string{"1", "3", "5", "7", "9"} {
		filters = append(filters, filter.Suffix(map[string]string{"id": digit}))
	}
	return filter.Any(filters...)
}

// handOut takes n events as a router would that then does nothing.
func (r *rig) handOut(n int) []jetstream.Msg {
	r.t.Helper()
	c, err := r.js.Consumer(r.t.Context(), r.layout.EventLog("notes"), stream.RouterConsumer)
	if err != nil {
		r.t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		r.t.Fatal(err)
	}
	var msgs []jetstream.Msg
	for m := range batch.Messages() {
		msgs = append(msgs, m)
	}
	if len(msgs) != n {
		r.t.Fatalf("got %d events, want %d: %v", len(msgs), n, batch.Error())
	}
	return msgs
}

func (r *rig) erase(sequences ...uint64) {
	r.t.Helper()
	log, err := r.js.Stream(r.t.Context(), r.layout.EventLog("notes"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, sequence := range sequences {
		if err := log.SecureDeleteMsg(r.t.Context(), sequence); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Two routers alternate in batches, and events of all kinds; every ordered queue is
// in the order of the log.
func TestOrderedByTwoRouters(t *testing.T) {
	t.Parallel()
	const events = 3000
	r := newRig(t)
	all, some := r.subscribe(ordered(wants("all", []string{"notes.*"}))), r.subscribe(ordered(wants("some", []string{"notes.*"}, odd())))
	free := r.subscribe(wants("free", []string{"notes.*"}))
	r.publishMany(0, events/2) // note n is event n+1
	first, second := r.route(), r.route()
	r.publishMany(events/2, events/2)
	r.awaitRouted()
	r.wantInOrder(all, from(1, events))
	r.wantInOrder(some, slices.DeleteFunc(from(1, events), func(n uint64) bool { return n%2 == 1 }))
	r.wantQueued(free, upTo(events)...)
	for _, running := range []*running{first, second} {
		if testkit.Metric(t, running.reg, "jetpost_router_events_total") == 0 {
			t.Error("a router had nothing to do")
		}
	}
}

// A router that dies with events in hand holds up those behind them, until they come
// back to another one; what was kept for too long, and came back, is queued once.
func TestOrderedRouterDies(t *testing.T) {
	t.Parallel()
	const events = 2000
	r := newRig(t)
	r.setAckWait(2 * time.Second) // so that events are redelivered that wait for their predecessors
	sub := r.subscribe(ordered(wants("hook", []string{"notes.*"})))
	r.publishMany(0, events)
	dies := r.route()
	r.route()
	r.awaitQueued(sub, 200)
	dies.nc.Close()
	r.awaitRouted()
	r.wantInOrder(sub, from(1, events))
}

// One event that is not settled holds up what is ordered, and nothing else. When it
// has come back, all goes on; and who is stopped meanwhile hands back what waits.
func TestOrderedWaitsForOthers(t *testing.T) {
	t.Parallel()
	const events = 600
	r := newRig(t)
	inOrder, free := r.subscribe(ordered(wants("in-order", []string{"notes.*"}))), r.subscribe(wants("free", []string{"notes.*"}))
	r.publishMany(0, events)
	held := r.handOut(2)
	stops := r.route()
	r.awaitQueued(free, events-2)
	testkit.Until(t, func() (bool, string) {
		waiting := testkit.Metric(t, stops.reg, "jetpost_router_ordered_waiting")
		return waiting == events-2, fmt.Sprintf("%v events wait, want %d", waiting, events-2)
	})
	r.wantInOrder(inOrder, nil)

	r.route()
	stops.stop()
	r.wantInOrder(inOrder, nil)
	if err := held[1].Nak(); err != nil { // not the first one
		t.Fatal(err)
	}
	r.awaitQueued(free, events-1)
	r.wantInOrder(inOrder, nil)
	if err := held[0].Nak(); err != nil {
		t.Fatal(err)
	}
	r.awaitRouted()
	r.wantInOrder(inOrder, from(1, events))
	r.wantQueued(free, upTo(events)...)
}

// Events that were erased, or are too old, are not waited for: before they were
// handed out, in the hands of a router, and in front of one that comes back.
func TestOrderedErasedEvents(t *testing.T) {
	t.Parallel()
	const events = 40
	r := newRig(t)
	r.setAckWait(2 * time.Second)
	sub := r.subscribe(ordered(wants("hook", []string{"notes.*"})))
	r.publishMany(0, events)
	erased := []uint64{1, 2, 10, 20, 21, 22, 23, 39}
	r.erase(erased...)
	running := r.route()
	r.awaitRouted()
	want := without(from(1, events), erased...)
	r.wantInOrder(sub, want)
	running.stop()

	// 42 comes back with nothing in front of it but what was erased.
	r.publishMany(events, 2)
	r.erase(41)
	r.handOut(1)
	running = r.route()
	r.awaitRouted()
	want = append(want, 42)
	r.wantInOrder(sub, want)
	running.stop()

	// 43 and 44 are erased while a sender has them.
	r.publishMany(events+2, 4)
	r.handOut(3)
	r.erase(43, 44)
	r.route()
	r.awaitRouted()
	r.wantInOrder(sub, append(want, 45, 46))
}

// On a cluster whose leaders change, of the log, the queue and the routers' consumer,
// nothing is overtaken either.
func TestOrderedOverLeaderChange(t *testing.T) {
	t.Parallel()
	const events = 300
	cluster := streamtest.NewCluster(t)
	node := 0
	r := &rig{t: t, layout: cluster.Layout, connect: func(opts ...nats.Option) *nats.Conn {
		node++
		return cluster.Connect(node%3, opts...)
	}}
	r.prepare(cluster.Conn())
	r.setAckWait(2 * time.Second) // acks are lost with a leader
	sub := r.subscribe(ordered(wants("hook", []string{"notes.*"})))
	r.route()
	r.route()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; n < events && t.Context().Err() == nil; {
			if _, err := r.js.PublishMsg(t.Context(), message(note(n))); err == nil {
				n++
			}
		}
	}()
	for i, step := range []func(){
		func() { cluster.StepDown(r.layout.EventLog("notes")) },
		func() { cluster.StepDown(sub.Queue.Stream) },
		func() {
			subject := "$JS.API.CONSUMER.LEADER.STEPDOWN." + r.layout.EventLog("notes") + "." + stream.RouterConsumer
			_, _ = cluster.Conn().Request(subject, nil, time.Second) // it changes or not
		},
	} {
		r.awaitQueued(sub, (i+1)*events/5)
		step()
	}
	<-done
	r.awaitRouted()
	got := r.sequences(sub)
	seen := make(map[uint64]bool, events)
	first := slices.DeleteFunc(slices.Clone(got), func(n uint64) bool {
		again := seen[n]
		seen[n] = true
		return again
	})
	if len(first) < events || !slices.IsSorted(first) {
		t.Errorf("%d events are queued, want %d: %v", len(first), events, got)
	}
}

// A full queue costs an ordered subscription dead letters, as it does others, and a
// missing one holds up what is ordered until it is there again.
func TestOrderedTrouble(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	full, inOrder := r.subscribe(ordered(wants("full", []string{"notes.*"}))), r.subscribe(ordered(wants("in-order", []string{"notes.*"})))
	lost, free := r.subscribe(wants("lost", []string{"notes.*"}, filter.Exact(map[string]string{"id": "3"}))), r.subscribe(wants("free", []string{"notes.*"}))
	cfg := r.layout.QueueConfig("full", full.Queue)
	cfg.MaxMsgs = 2
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := r.layout.DeleteQueue(t.Context(), r.js, lost.Queue); err != nil {
		t.Fatal(err)
	}
	r.route()
	for n := range 8 {
		r.publish(note(n))
	}
	r.awaitQueued(free, 8)
	r.awaitQueued(inOrder, 4) // event 4 is published, and settled when its other queue is there
	r.wantInOrder(inOrder, from(1, 4))
	if err := r.layout.EnsureQueue(t.Context(), r.js, lost.ID, lost.Queue, 1); err != nil {
		t.Fatal(err)
	}
	r.awaitRouted()
	r.wantInOrder(inOrder, from(1, 8))
	r.wantInOrder(full, from(1, 2))
	deadLetters, err := delivery.NewDeadLetters(r.js, r.layout).Latest(t.Context(), "full", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var overflown []string
	for _, deadLetter := range slices.Backward(deadLetters) {
		overflown = append(overflown, deadLetter.Event.ID)
	}
	if diff := cmp.Diff([]string{"2", "3", "4", "5", "6", "7"}, overflown); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// Order can be switched on and off: each event goes as it was when it was published.
func TestOrderSwitched(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(wants("hook", []string{"notes.*"}))
	r.route()
	for step := range 6 {
		_, err := r.store.Change(t.Context(), sub.ID, func(s *subscription.Subscription) error {
			s.Delivery.Ordered = step%2 == 0
			s.Delivery.MaxInFlight = 1
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			r.publish(note(10*step + i))
		}
		r.awaitRouted()
	}
	r.wantQueued(sub, upTo(60)...)
	if got := r.sequences(sub); !slices.IsSorted(got[:10]) || !slices.IsSorted(got[20:30]) || !slices.IsSorted(got[40:50]) {
		t.Errorf("the queue has %v", got)
	}
}

// How many events per second one domain can route, with what is ordered and what is
// not.
func BenchmarkOrdered(b *testing.B) {
	for _, inOrder := range []bool{false, true} {
		b.Run("ordered="+strconv.FormatBool(inOrder), func(b *testing.B) {
			r := newRig(b)
			sub := wants("hook", []string{"notes.*"})
			sub.Delivery.Ordered = inOrder
			r.subscribe(sub)
			r.publishMany(0, b.N)
			b.ResetTimer()
			r.route()
			r.awaitRouted()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
