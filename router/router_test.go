package router_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/router"
)

func TestNew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	view := subscription.NewView(subscription.ViewConfig{}, r.js, r.layout, nil, r.log)
	if _, err := router.New(router.Config{}, r.server.Conn(), r.layout, view, r.log, prometheus.NewRegistry()); err == nil {
		t.Error("a router without domains is made")
	}
	reg := prometheus.NewRegistry()
	cfg := router.Config{Domains: []string{"notes"}}
	if _, err := router.New(cfg, r.server.Conn(), r.layout, view, r.log, reg); err != nil {
		t.Error(err)
	}
	if _, err := router.New(cfg, r.server.Conn(), r.layout, view, r.log, reg); err == nil {
		t.Error("two routers share a registry")
	}
}

func TestFanOut(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	added := []string{"notes.added"}
	state := func(s *subscription.Subscription, state subscription.State) *subscription.Subscription {
		s.State = state
		return s
	}
	get := []*subscription.Subscription{
		r.subscribe(wants("exact-type", []string{"other.type", "notes.added"})),
		r.subscribe(wants("whole-domain", []string{"notes.*"})),
		r.subscribe(wants("filtered", added, filter.Exact(map[string]string{"subject": note(1).Subject}))),
		r.subscribe(wants("filtered-by-data", added, filter.Exact(map[string]string{"data.big": "12345678901234567890"}))),
		r.subscribe(state(wants("is-paused", added), subscription.Paused)),
	}
	miss := []*subscription.Subscription{
		r.subscribe(wants("other-type", []string{"notes.removed"})),
		r.subscribe(wants("other-domain", []string{"orders.*"})),
		r.subscribe(wants("other-subject", added, filter.Exact(map[string]string{"subject": "x"}))),
		r.subscribe(state(wants("is-disabled", added), subscription.Disabled)),
	}
	running := r.route()
	e := note(1)
	ack := r.publish(e)
	r.awaitRouted()

	log, err := r.js.Stream(t.Context(), "EVENTS_notes")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := log.GetMsg(t.Context(), ack.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range get {
		msgs := r.queued(sub)
		if len(msgs) != 1 {
			t.Errorf("queue of %s has %d deliveries, want 1", sub.ID, len(msgs))
			continue
		}
		origin := fmt.Sprintf("EVENTS_notes:1@%d:%s", kept.Time.UnixNano(), sub.ID)
		want := &delivery.Delivery{
			ID: delivery.ID(sub.ID, e.Source, e.ID), SubscriptionID: sub.ID, Event: e, Origin: origin,
			Accepted: kept.Time, Attempt: 1,
		}
		got, err := delivery.FromMessage(sub.ID, msgs[0].Header, msgs[0].Data)
		if err != nil {
			t.Errorf("queue of %s: %v", sub.ID, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("delivery of %s differs (-want +got):\n%s", sub.ID, diff)
		}
		for name, value := range map[string]string{"Nats-Msg-Id": origin, "Nats-Expected-Stream": "DELIVERIES_" + sub.ID} {
			if got := msgs[0].Header.Get(name); got != value {
				t.Errorf("delivery of %s: got %s %q, want %q", sub.ID, name, got, value)
			}
		}
		if msgs[0].Subject != "deliveries."+sub.ID {
			t.Errorf("delivery of %s is on subject %s", sub.ID, msgs[0].Subject)
		}
	}
	for _, sub := range miss {
		r.wantQueued(sub)
	}
	for name, want := range map[string]float64{
		"jetpost_router_events_total": 1, "jetpost_router_deliveries_total": 5, "jetpost_router_events_unmatched_total": 0,
	} {
		if got := testkit.Metric(t, running.reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestNoMatch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	running := r.route()
	r.publishMany(0, 300)
	r.awaitRouted()
	running.stop()
	if got := testkit.Metric(t, running.reg, "jetpost_router_events_unmatched_total"); got != 300 {
		t.Errorf("%v events are counted as unmatched, want 300", got)
	}
	if entries := r.logged.FilterLevelExact(zap.WarnLevel).All(); len(entries) > 0 {
		t.Errorf("got warnings %v, want none", entries)
	}
}

// What is no event is kept where a person can find it, and does not stop those
// behind it.
func TestUnreadableEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(wants("hook", []string{"notes.*"}))
	running := r.route()
	r.publish(note(0))
	odd := &nats.Msg{Subject: "events.notes.added", Header: nats.Header{"ce-id": {"%C0%A0"}, "Nats-Msg-Id": {"odd"}}, Data: []byte{0, 0xff}}
	if _, err := r.js.PublishMsg(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.Publish(t.Context(), "events.notes.added", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	r.publish(note(1))
	r.awaitRouted()
	r.wantQueued(sub, 0, 1)

	deadLetters, err := delivery.NewDeadLetters(r.js, r.layout).Latest(t.Context(), stream.InvalidLetters, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []delivery.EventRef
	for _, deadLetter := range deadLetters {
		got = append(got, deadLetter.Event)
		if deadLetter.Reason != delivery.ReasonUnreadable || !strings.Contains(deadLetter.Error, "not a valid CloudEvent") {
			t.Errorf("got reason %s and error %q, want it unreadable and why", deadLetter.Reason, deadLetter.Error)
		}
	}
	bySequence := cmpopts.SortSlices(func(a, b delivery.EventRef) bool { return a.Sequence < b.Sequence })
	want := []delivery.EventRef{
		{Stream: "EVENTS_notes", Sequence: 2, Stored: r.storedAt(2)}, {Stream: "EVENTS_notes", Sequence: 3, Stored: r.storedAt(3)},
	}
	if diff := cmp.Diff(want, got, bySequence); diff != "" {
		t.Errorf("dead letters are about others (-want +got):\n%s", diff)
	}
	if got := testkit.Metric(t, running.reg, "jetpost_router_events_unreadable_total"); got != 2 {
		t.Errorf("%v events are counted as unreadable, want 2", got)
	}
	if got := r.logged.FilterLevelExact(zap.ErrorLevel).Len(); got != 2 {
		t.Errorf("got %d errors in the log, want 2", got)
	}
}

// What a producer of an earlier version has stored is routed, although no producer would
// take it today. Messages of others are held against the rules, and only against those.
func TestEventsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(wants("hook", []string{"notes.*"}))
	old := note(0)
	old.Source, old.DataSchema, old.DataContentType = "/my notes/%zz", "notes.json", "json"
	if err := old.Validate(); err == nil {
		t.Fatal("the event is valid today: the test shows nothing")
	}
	stored := message(old)
	stored.Header.Set(stream.HeaderMessageID, old.MessageID())
	raw := message(old)
	raw.Header.Set(stream.HeaderMessageID, "raw")
	unencoded := message(note(1))
	unencoded.Header["ce-subject"] = []string{"100% \"now\""}
	for _, m := range []*nats.Msg{stored, raw, unencoded} {
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	r.route()
	r.awaitRouted()
	r.wantQueued(sub, 0, 1)
	for _, m := range r.queued(sub) {
		d, err := delivery.FromMessage(sub.ID, m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if d.Event.ID == "0" && d.Event.Source != old.Source || d.Event.ID == "1" && d.Event.Subject != `100% "now"` {
			t.Errorf("queued %+v", d.Event)
		}
	}
	deadLetters, err := delivery.NewDeadLetters(r.js, r.layout).Latest(t.Context(), stream.InvalidLetters, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(deadLetters) != 1 || deadLetters[0].Event.Sequence != 2 || !strings.Contains(deadLetters[0].Error, "source is not a URI reference") {
		t.Errorf("got dead letters %+v, want one of the second message", deadLetters)
	}
}

// A queue that is full costs its own subscription a dead letter for each
// delivery, and the others nothing.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	full, free := r.subscribe(wants("full", []string{"notes.*"})), r.subscribe(wants("free", []string{"notes.*"}))
	cfg := r.layout.QueueConfig("full", full.Queue)
	cfg.MaxMsgsPerSubject = 2
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	running := r.route()
	for n := range 5 {
		r.publish(note(n))
		r.awaitQueued(free, n+1)
	}
	r.awaitRouted()
	r.wantQueued(free, upTo(5)...)
	r.wantQueued(full, 0, 1)

	deadLetters, err := delivery.NewDeadLetters(r.js, r.layout).Latest(t.Context(), "full", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(deadLetters) != 3 {
		t.Fatalf("got %d dead letters, want 3", len(deadLetters))
	}
	for _, deadLetter := range deadLetters {
		n := int(deadLetter.Event.Sequence) - 1 //nolint:gosec // small
		want := delivery.DeadLetter{
			DeliveryID: delivery.ID("full", "/notes", fmt.Sprint(n)), SubscriptionID: "full", Reason: delivery.ReasonOverflow,
			Event: delivery.EventRef{
				ID: fmt.Sprint(n), Source: "/notes", Type: "notes.added", Subject: note(n).Subject, Stream: "EVENTS_notes", Sequence: uint64(n) + 1, //nolint:gosec // small
				Stored: r.storedAt(deadLetter.Event.Sequence),
			},
		}
		if diff := cmp.Diff(want, deadLetter, cmpopts.IgnoreFields(delivery.DeadLetter{}, "At", "Sequence")); diff != "" {
			t.Errorf("the dead letter differs (-want +got):\n%s", diff)
		}
		record, err := stream.Get(t.Context(), r.js, r.layout.DeadLetters(), deadLetter.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		if string(record.Data) != string(note(n).Data) {
			t.Errorf("the dead letter has data %s, want %s", record.Data, note(n).Data)
		}
	}
	if got := testkit.Metric(t, running.reg, "jetpost_router_overflow_total"); got != 3 {
		t.Errorf("%v deliveries are counted as overflowing, want 3", got)
	}
}

// A queue that is missing holds up its own deliveries only, until it is there
// again.
func TestMissingQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	broken, sound := r.subscribe(wants("broken", []string{"notes.*"})), r.subscribe(wants("sound", []string{"notes.*"}))
	r.route()
	r.publish(note(0))
	r.awaitRouted()
	if err := r.layout.DeleteQueue(t.Context(), r.js, broken.Queue); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 20; n++ {
		r.publish(note(n))
	}
	r.awaitQueued(sound, 20)
	r.wantQueued(sound, upTo(20)...)
	if err := r.layout.EnsureQueue(t.Context(), r.js, "broken", broken.Queue, 64); err != nil {
		t.Fatal(err)
	}
	r.awaitRouted()
	r.wantQueued(broken, upTo(20)[1:]...)
	r.wantQueued(sound, upTo(20)...)
}

// A subscription that is deleted takes with it what it has not got yet.
func TestDeletedSubscription(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	doomed, other := r.subscribe(wants("doomed", []string{"notes.*"})), r.subscribe(wants("other", []string{"notes.*"}))
	running := r.route()
	if err := r.layout.DeleteQueue(t.Context(), r.js, doomed.Queue); err != nil {
		t.Fatal(err)
	}
	r.publish(note(0)) // matched while the subscription exists
	r.awaitQueued(other, 1)
	if err := r.store.Delete(t.Context(), "doomed", 0); err != nil {
		t.Fatal(err)
	}
	r.publish(note(1)) // and not any more
	r.awaitRouted()
	r.wantQueued(other, 0, 1)
	if got := testkit.Metric(t, running.reg, "jetpost_router_overflow_total"); got != 0 {
		t.Errorf("%v deliveries are counted as overflowing, want none", got)
	}
}

// A router may be started before the event log is made.
func TestWaitsForEventLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(wants("hook", []string{"later.*"}))
	r.route("later", "notes")
	testkit.Until(t, func() (bool, string) {
		return r.logged.FilterMessageSnippet("failed to pull events").Len() > 0, "nothing is said about the missing stream"
	})
	if err := r.layout.EnsureEventLog(t.Context(), r.js, "later"); err != nil {
		t.Fatal(err)
	}
	e := note(0)
	e.Type = "later.added"
	m := message(e)
	m.Subject = "events.later.added"
	if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r.awaitQueued(sub, 1)
	r.wantQueued(sub, 0)
}

// An event that is handed out again, because a router died before it could
// acknowledge it, is stored once.
func TestRoutedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.subscribe(wants("a", []string{"notes.*"})), r.subscribe(wants("b", []string{"notes.*"}))
	r.publishMany(0, 50)
	log, err := r.js.Stream(t.Context(), "EVENTS_notes")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 25 { // what the dead router has stored
		kept, err := log.GetMsg(t.Context(), uint64(n)+1) //nolint:gosec // small
		if err != nil {
			t.Fatal(err)
		}
		origin := delivery.Origin("EVENTS_notes", kept.Sequence, kept.Time, "a")
		if _, err := r.js.PublishMsg(t.Context(), delivery.Queued(note(n), a.Queue.Subject, a.Queue.Stream, origin, kept.Time)); err != nil {
			t.Fatal(err)
		}
	}
	r.route()
	r.awaitRouted()
	r.wantQueued(a, upTo(50)...)
	r.wantQueued(b, upTo(50)...)
}

// A router that loses its connection for good in the middle of its work loses
// nothing.
func TestRouterDies(t *testing.T) {
	t.Parallel()
	const n = 1000
	r := newRig(t)
	r.setAckWait(2 * time.Second)
	a, b := r.subscribe(wants("a", []string{"notes.*"})), r.subscribe(wants("b", []string{"notes.*"}))
	dying := r.route()
	r.publishMany(0, n)
	r.awaitQueued(a, 100)
	dying.nc.Close()
	r.route()
	r.awaitRouted()
	r.wantQueued(a, upTo(n)...)
	r.wantQueued(b, upTo(n)...)
}

// Nothing stays with a router that has stopped, to come back after AckWait only.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	const n = 1000
	r := newRig(t)
	r.setAckWait(time.Hour)
	sub := r.subscribe(wants("hook", []string{"notes.*"}))
	first := r.route()
	r.publishMany(0, n)
	r.awaitQueued(sub, 100)
	began := time.Now()
	first.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	r.route()
	r.awaitRouted()
	r.wantQueued(sub, upTo(n)...)
}

func TestServerRestart(t *testing.T) {
	t.Parallel()
	const n = 1000
	r := newRig(t)
	r.setAckWait(2 * time.Second) // what was on its way comes back then
	a, b := r.subscribe(wants("a", []string{"notes.*"})), r.subscribe(wants("b", []string{"notes.*"}))
	r.publishMany(0, n)
	r.route()
	r.awaitQueued(a, 100)
	r.server.Restart()
	r.awaitRouted()
	r.wantQueued(a, upTo(n)...)
	r.wantQueued(b, upTo(n)...)
}

func TestTwoRouters(t *testing.T) {
	t.Parallel()
	const n = 2000
	r := newRig(t)
	sub := r.subscribe(wants("hook", []string{"notes.*"}))
	routers := []*running{r.route(), r.route()}
	r.publishMany(0, n)
	r.awaitRouted()
	r.wantQueued(sub, upTo(n)...)
	var sum float64
	for _, running := range routers {
		running.stop()
		routed := testkit.Metric(t, running.reg, "jetpost_router_events_total")
		if routed == 0 {
			t.Error("one router has done nothing")
		}
		sum += routed
	}
	if sum != n {
		t.Errorf("the routers have routed %v events, want %d", sum, n)
	}
}

// A router can be stopped while NATS is away.
func TestStopWithoutServer(t *testing.T) {
	t.Parallel()
	const n = 1000
	r := newRig(t)
	r.setAckWait(2 * time.Second)
	sub := r.subscribe(wants("hook", []string{"notes.*"}))
	running := r.route()
	r.publishMany(0, n)
	r.awaitQueued(sub, 50)
	r.server.Stop()
	began := time.Now()
	running.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	r.server.Start()
	r.route()
	r.awaitRouted()
	r.wantQueued(sub, upTo(n)...)
}

// An event that may have been routed before a NATS server crashed says so in its
// deliveries, for the queues do not know any more: here the consumer has handed it out
// before, or the router has connected since.
func TestMarksWhatMayRepeat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(wants("marked", []string{"notes.*"}))
	r.publish(note(0)) // before the router connects
	r.route("notes")
	r.awaitQueued(sub, 1)
	r.publish(note(1))
	r.awaitQueued(sub, 2)
	for i, want := range []bool{true, false} {
		if got := delivery.MayBeMade(r.queued(sub)[i].Header); got != want {
			t.Errorf("note %d is marked: %t, want %t", i, got, want)
		}
	}
}
