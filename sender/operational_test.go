package sender_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/schemas"
	"github.com/jetpost/jetpost/sender"
)

// withEvents makes a sender publish operational events, by a publisher of its own.
func (r *rig) withEvents() func(*sender.Config) {
	r.t.Helper()
	if err := r.layout.EnsureEventLog(r.t.Context(), r.js, stream.OperationalDomain); err != nil {
		r.t.Fatal(err)
	}
	js, err := stream.JetStream(r.server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := operational.NewPublisher(operational.Config{}, js, r.layout, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	r.t.Cleanup(func() { cancel(); <-done })
	return func(c *sender.Config) { c.Events = p }
}

// A said is an operational event.
type said struct {
	kind string // its type without the prefix
	data object
}

type object = map[string]any

// said are the operational events so far, oldest first, which fit their schemas.
func (r *rig) said() (all []said) {
	r.t.Helper()
	catalogue, err := schemas.Load()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range r.server.Events(stream.OperationalDomain) {
		if err := catalogue.Validate(e); err != nil {
			r.t.Error(err)
		}
		if strings.Contains(string(e.Data), secret) {
			r.t.Errorf("%s has the secret: %s", e.Type, e.Data)
		}
		one := said{kind: strings.TrimPrefix(e.Type, "jetpost.")}
		if err := json.Unmarshal(e.Data, &one.data); err != nil {
			r.t.Fatal(err)
		}
		if one.data["subscription_id"] != e.Subject {
			r.t.Errorf("%s has the subject %s: %s", e.Type, e.Subject, e.Data)
		}
		all = append(all, one)
	}
	return all
}

// awaitSaid waits until there are n operational events.
func (r *rig) awaitSaid(n int) (all []said) {
	r.t.Helper()
	eventually(r.t, func() (bool, string) {
		all = r.said()
		return len(all) >= n, fmt.Sprintf("%d operational events, want %d: %v", len(all), n, all)
	})
	return all
}

// wantKinds checks which events there are, in their order.
func wantKinds(t *testing.T, all []said, kinds ...string) {
	t.Helper()
	var got []string
	for _, one := range all {
		got = append(got, one.kind)
	}
	if diff := cmp.Diff(kinds, got); diff != "" {
		t.Errorf("operational events (-want +got):\n%s", diff)
	}
}

// wantFields checks some fields of an event.
func (s said) wantFields(t *testing.T, want object) {
	t.Helper()
	for name, value := range want {
		if diff := cmp.Diff(value, s.data[name]); diff != "" {
			t.Errorf("%s, field %s (-want +got):\n%s", s.kind, name, diff)
		}
	}
}

// A delivery that fails is spoken of once while there is hope, and once when it is
// given up. A manual attempt changes nothing.
func TestFailingIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusBadGateway) })
	short := 20 * time.Millisecond
	sub := withoutBreaker(to("hook", rc.URL, 0, short, short, short, short))
	sub.Labels = map[string]string{"team": "anvil"}
	sub = r.subscribe(sub)
	r.send(r.withEvents())
	r.queue(sub, 1, 1)
	deadLetter := r.awaitDeadLetters("hook", 1)[0]
	e := object{"id": "1", "source": "/notes", "type": "notes.added", "subject": "note 1", "stream": "EVENTS_notes", "sequence": 1.0}
	all := r.awaitSaid(2)
	wantKinds(t, all, "delivery.failing", "delivery.exhausted")
	common := object{
		"subscription_id": "hook", "labels": object{"team": "anvil"}, "delivery_id": deadLetter.DeliveryID, "event": e,
		"endpoint_host": strings.TrimPrefix(rc.URL, "http://"), "status": 502.0,
	}
	for _, one := range all {
		one.wantFields(t, common)
	}
	all[0].wantFields(t, object{"attempt": 3.0, "attempts": 5.0})
	all[1].wantFields(t, object{"attempts": 5.0, "reason": "exhausted"})

	manual := &delivery.Delivery{
		ID: deadLetter.DeliveryID, SubscriptionID: "hook", Event: newEvent(1), Origin: delivery.Origin("EVENTS_notes", 1, time.Unix(1, 0), "hook"), Accepted: time.Now(), Attempt: 1,
	}
	if _, err := r.js.PublishMsg(t.Context(), manual.ManualRetry(sub.Queue.Subject, sub.Queue.Stream, "by hand")); err != nil {
		t.Fatal(err)
	}
	r.awaitAttempts(sub, 6)
	r.awaitSettled(sub)
	r.queue(sub, 2, 1) // and what is said about another delivery is said after it
	r.awaitDeadLetters("hook", 2)
	wantKinds(t, r.awaitSaid(4), "delivery.failing", "delivery.exhausted", "delivery.failing", "delivery.exhausted")
}

// A receiver that is gone disables its subscription, by jetpost and not by a person.
func TestGoneIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusGone) })
	sub := r.subscribe(to("hook", rc.URL, 0, time.Hour))
	r.send(r.withEvents())
	r.queue(sub, 1, 1)
	all := r.awaitSaid(2)
	wantKinds(t, all, "subscription.disabled", "delivery.exhausted")
	all[0].wantFields(t, object{"actor": "jetpost", "was": "active", "reason": "receiver answered 410 Gone"})
	all[1].wantFields(t, object{"reason": "gone", "attempts": 1.0, "status": 410.0})
}

// Two senders meet an endpoint that is down: its breaker opens once and closes once.
func TestBreakerIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receiveBroken(t, http.StatusServiceUnavailable)
	sub := guarded("hook", rc.URL, 5)
	sub.Delivery.Retry = []subscription.Duration{0, subscription.Duration(time.Millisecond)} // a failed retry is the last
	sub.Delivery.Senders = 2
	sub = r.subscribe(sub)
	for range 2 {
		r.send(byTest, r.withEvents())
	}
	r.queue(sub, 0, 30)
	opened := r.awaitState("hook", breaker.Open)
	rc.up.Store(true)
	r.probe("hook")
	r.awaitState("hook", breaker.Closed)
	r.awaitSettled(sub)
	var all []said
	eventually(t, func() (bool, string) {
		all = nil
		for _, one := range r.said() {
			if strings.HasPrefix(one.kind, "breaker.") {
				all = append(all, one)
			}
		}
		return len(all) >= 2, fmt.Sprintf("%d events about the breaker", len(all))
	})
	wantKinds(t, all, "breaker.opened", "breaker.closed")
	all[0].wantFields(t, object{"status": 503.0, "failures": float64(opened.Failures), "opened": 1.0, "reason": opened.Reason})
	all[1].wantFields(t, object{"reason": "the endpoint is up again", "actor": "jetpost", "down_since": opened.DownSince.UTC().Format(time.RFC3339Nano)})
}

// lagging makes senders look at queues often.
func lagging(after time.Duration) func(*sender.Config) {
	return func(c *sender.Config) { c.LaggingAfter, c.LookEvery = after, 50*time.Millisecond }
}

// A backlog that is held back is spoken of once, although two senders see it and
// others come after them, until it is gone; then it may be again.
func TestLaggingIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receiveBroken(t, http.StatusServiceUnavailable)
	sub := guarded("hook", rc.URL, 5)
	sub.Delivery.Senders = 2
	sub = r.subscribe(sub)
	r.open(sub)
	const limit = time.Second
	first, second := r.send(byTest, lagging(limit), r.withEvents()), r.send(byTest, lagging(limit), r.withEvents())
	r.queue(sub, 0, 3)
	all := r.awaitSaid(1)
	all[0].wantFields(t, object{"subscription_id": "hook", "waiting": 3.0, "breaker": "open", "limit_seconds": 1.0})
	if age := all[0].data["age_seconds"].(float64); age < 1 {
		t.Errorf("the age is %v s", age)
	}
	lags := func() bool {
		_, err := r.state().Get(t.Context(), stream.StateLagging("hook"))
		return err == nil
	}
	eventually(t, func() (bool, string) { // the other one has noticed, too
		return r.logged.FilterMessage("deliveries wait too long").Len() >= 1 && lags(), "it was not logged"
	})
	oldest := func(s *running) int { return gauge(t, s.reg, "jetpost_sender_oldest_waiting_seconds") }
	eventually(t, func() (bool, string) {
		return oldest(first) > 0 && oldest(second) > 0, fmt.Sprintf("the gauges show %v and %v", oldest(first), oldest(second))
	})
	first.stop()
	third := r.send(byTest, lagging(limit), r.withEvents()) // comes in the middle
	eventually(t, func() (bool, string) { return oldest(third) > 0, "the third does not see it" })
	wantKinds(t, r.said(), "backlog.lagging")

	rc.up.Store(true)
	r.probe("hook")
	r.awaitSettled(sub)
	eventually(t, func() (bool, string) { return !lags(), "the episode does not end" })
	eventually(t, func() (bool, string) { return oldest(third) == 0, "the gauge is not 0" })
	rc.up.Store(false)
	r.open(sub)
	r.queue(sub, 3, 1)
	var lagged []said
	eventually(t, func() (bool, string) {
		lagged = nil
		for _, one := range r.said() {
			if one.kind == "backlog.lagging" {
				lagged = append(lagged, one)
			}
		}
		return len(lagged) >= 2, "there is no second episode"
	})
	if len(lagged) != 2 {
		t.Errorf("%d episodes, want 2", len(lagged))
	}
}

// An episode whose end was not seen does not hide the next one.
func TestLaggingAfterAGap(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(guarded("hook", "http://127.0.0.1:1", 5))
	if _, err := r.state().Create(t.Context(), stream.StateLagging("hook"), nil); err != nil {
		t.Fatal(err)
	}
	r.open(sub)
	r.queue(sub, 0, 1)
	r.send(byTest, lagging(50*time.Millisecond), r.withEvents())
	wantKinds(t, r.awaitSaid(1), "backlog.lagging")
}

// Deliveries that wait for the receiver's consent wait like others.
func TestLaggingWithoutConsent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusForbidden) })
	sub := to("hook", rc.URL)
	sub.Handshake = subscription.Handshake{Mode: subscription.HandshakeRequired}
	sub = r.subscribe(sub)
	r.send(lagging(50*time.Millisecond), r.withEvents())
	rc.await(1) // asked, and denied
	r.queue(sub, 0, 2)
	all := r.awaitSaid(1)
	wantKinds(t, all[:1], "backlog.lagging")
}

// Nothing is asked about queues in which nothing happens.
func TestIdleQueuesAreNotLookedAt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("hook", rc.URL))
	asked := make(chan *nats.Msg, 1000)
	watch, err := r.server.Conn().ChanSubscribe("$JS.API.STREAM.INFO."+sub.Queue.Stream, asked)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Unsubscribe() }()
	if err := r.server.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	busy := r.subscribe(guarded("busy", "http://127.0.0.1:1", 5)) // by which rounds are counted
	r.open(busy)
	rounds := make(chan *nats.Msg, 1000)
	if _, err := r.server.Conn().ChanSubscribe("$JS.API.STREAM.INFO."+busy.Queue.Stream, rounds); err != nil {
		t.Fatal(err)
	}
	if err := r.server.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	r.send(byTest, lagging(time.Hour), r.withEvents())
	await := func(n int) {
		t.Helper()
		for range n {
			select {
			case <-rounds:
			case <-testkit.Timeout():
				t.Fatal("no queue is looked at")
			}
		}
	}
	await(5)
	if len(asked) > 0 {
		t.Errorf("an idle queue was looked at %d times", len(asked))
	}
	if _, err := r.js.PublishMsg(t.Context(), queued(sub, newEvent(1), time.Now())); err != nil {
		t.Fatal(err)
	}
	rc.await(1)
	r.awaitAttempts(sub, 1)
	select {
	case <-asked: // once it was used
	case <-testkit.Timeout():
		t.Error("a queue that was used is not looked at")
	}
}

// Of observers nothing is said, whatever becomes of their deliveries; of operational
// events to others neither.
func TestObserversAreNotSpokenOf(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusBadGateway) })
	observer := guarded("observer", rc.URL, 2)
	observer.Types, observer.Delivery.Retry = []string{"jetpost.*"}, []subscription.Duration{0, subscription.Duration(time.Millisecond)}
	observer = r.subscribe(observer)
	other := withoutBreaker(to("other", rc.URL, 0, time.Millisecond))
	other = r.subscribe(other)
	r.send(soon, lagging(time.Millisecond), r.withEvents())
	r.queue(observer, 1, 10)
	r.awaitDeadLetters("observer", 10)
	operationalEvent := newEvent(11)
	operationalEvent.Type = "jetpost.breaker.opened"
	if _, err := r.js.PublishMsg(t.Context(), queued(other, operationalEvent, time.Now())); err != nil {
		t.Fatal(err)
	}
	r.awaitDeadLetters("other", 1)
	r.queue(other, 12, 1) // what is said about it comes after all else
	var kinds []said
	eventually(t, func() (bool, string) {
		kinds = nil
		for _, one := range r.said() {
			if one.kind != "backlog.lagging" || one.data["subscription_id"] == "observer" { // the other one may lag
				kinds = append(kinds, one)
			}
		}
		return len(kinds) >= 2, fmt.Sprintf("said: %v", kinds)
	})
	wantKinds(t, kinds, "delivery.failing", "delivery.exhausted")
	for _, one := range kinds {
		one.wantFields(t, object{"subscription_id": "other"})
	}
}
