package sender_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender"
)

func TestNew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	view := subscription.NewView(subscription.ViewConfig{}, r.js, r.layout, r.keyring, r.log)
	if _, err := sender.New(sender.Config{}, r.server.Conn(), r.layout, view, r.store, r.log, prometheus.NewRegistry()); err == nil {
		t.Error("a sender is made that may call any address")
	}
	reg, cfg := prometheus.NewRegistry(), sender.Config{Egress: loopback(t)}
	if _, err := sender.New(cfg, r.server.Conn(), r.layout, view, r.store, r.log, reg); err != nil {
		t.Error(err)
	}
	if _, err := sender.New(cfg, r.server.Conn(), r.layout, view, r.store, r.log, reg); err == nil {
		t.Error("two senders share a registry")
	}
}

// recorded compares an attempt with what it must say, but for the times.
func recorded(t *testing.T, got, want delivery.Attempt) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(delivery.Attempt{}, "At", "Duration", "NextAttempt", "Sequence")); diff != "" {
		t.Errorf("attempt %d differs (-want +got):\n%s", want.Attempt, diff)
	}
}

func TestDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte("größe"))
	})
	sub := to("hook", rc.URL+"/in/a%2Fb", 0)
	sub.Endpoint.Method = http.MethodPut
	sub.Endpoint.Query = keyring.NewSecret("token=a%20b&x")
	sub.Endpoint.Headers = map[string]string{"X-Team": "notes"}
	sub.Endpoint.SecretHeaders = map[string]keyring.Secret{"authorization": keyring.NewSecret("Bearer abc")}
	sub = r.subscribe(sub)
	service := r.send(func(c *sender.Config) { c.UserAgent = "jetpost/test" })
	began := time.Now()
	r.queue(sub, 1, 1)
	got := rc.await(1)[0]
	a := r.awaitAttempts(sub, 1)[0]
	r.awaitSettled(sub)

	if got.Method != http.MethodPut || got.RequestURI != "/in/a%2Fb?token=a%20b&x" || got.Host != strings.TrimPrefix(rc.URL, "http://") {
		t.Errorf("got %s %s of %s", got.Method, got.RequestURI, got.Host)
	}
	body := `{"type":"notes.added","timestamp":"2026-03-01T12:30:00Z","data":` + string(newEvent(1).Data) + `}`
	if string(got.body) != body || got.ContentLength != int64(len(body)) {
		t.Errorf("got body %s of %d bytes, want %s", got.body, got.ContentLength, body)
	}
	header := got.Header.Clone()
	for _, name := range []string{"Webhook-Timestamp", "Webhook-Signature"} { // checked below
		header.Del(name)
	}
	id := delivery.ID("hook", "/notes", "1")
	if diff := cmp.Diff(http.Header{
		"User-Agent": {"jetpost/test"}, "Content-Length": {header.Get("Content-Length")}, "Content-Type": {"application/json"},
		"Jetpost-Subscription": {"hook"}, "Jetpost-Attempt": {"1"}, "Webhook-Id": {id}, "X-Team": {"notes"}, "Authorization": {"Bearer abc"},
	}, header); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	verifier, err := webhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(got.body, got.Header); err != nil {
		t.Error(err)
	}

	recorded(t, a, delivery.Attempt{
		DeliveryID: id, SubscriptionID: "hook",
		Event:   delivery.EventRef{ID: "1", Source: "/notes", Type: "notes.added", Subject: "note 1", Stream: "EVENTS_notes", Sequence: 1, Stored: storedAt(1)},
		Attempt: 1, Outcome: delivery.Delivered, Method: "PUT", URL: rc.URL + "/in/a%2Fb?…", Status: 202,
		ResponseBody: "größe", RequestBytes: len(body),
	})
	if a.At.Before(began.Add(-time.Millisecond)) || a.At.After(got.at) || a.Duration <= 0 || time.Duration(a.Duration) > time.Since(began) {
		t.Errorf("got an attempt at %s that took %s, want it between %s and now", a.At, time.Duration(a.Duration), began)
	}
	lines := r.logged.FilterMessage("attempt").All()
	if len(lines) != 1 || lines[0].Level != zap.InfoLevel {
		t.Fatalf("got %d lines about attempts, want one", len(lines))
	}
	fields := lines[0].ContextMap()
	delete(fields, "latency")
	if diff := cmp.Diff(map[string]any{
		"subscription_id": "hook", "delivery_id": id, "event_id": "1", "event_type": "notes.added", "attempt": int64(1),
		"outcome": "delivered", "status": int64(202), "endpoint_host": strings.TrimPrefix(rc.URL, "http://"), "seq": uint64(1),
	}, fields); diff != "" {
		t.Errorf("fields of the line differ (-want +got):\n%s", diff)
	}
	service.stop()
	if got := counter(t, service.reg, "jetpost_sender_attempts_total", "delivered"); got != 1 {
		t.Errorf("%v attempts are counted as delivered, want 1", got)
	}
}

// Failures are numbered, recorded with what follows them, and repeated under the
// same id at the time that was recorded.
func TestRetried(t *testing.T) {
	t.Parallel()
	const delay, jitter = 2 * time.Second, 0.25
	r := newRig(t)
	answers := []int{http.StatusInternalServerError, http.StatusForbidden, http.StatusOK}
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		n := int(got.Header.Get("Jetpost-Attempt")[0] - '1')
		w.WriteHeader(answers[n])
	})
	sub := to("hook", rc.URL, 0, delay, 0, time.Hour)
	sub.Delivery.Jitter = jitter
	sub = r.subscribe(sub)
	r.send()
	r.queue(sub, 1, 1)
	attempts := r.awaitAttempts(sub, 3)
	r.awaitSettled(sub)
	requests := rc.all()
	if len(requests) != 3 {
		t.Fatalf("got %d requests, want 3", len(requests))
	}
	for i, got := range attempts {
		outcome := delivery.Retry
		if i == 2 {
			outcome = delivery.Delivered
		}
		recorded(t, got, delivery.Attempt{
			DeliveryID: requests[i].Header.Get("Webhook-Id"), SubscriptionID: "hook",
			Event:   delivery.EventRef{ID: "1", Source: "/notes", Type: "notes.added", Subject: "note 1", Stream: "EVENTS_notes", Sequence: 1, Stored: storedAt(1)},
			Attempt: i + 1, Outcome: outcome, Method: "POST", URL: rc.URL, Status: answers[i], RequestBytes: len(requests[i].body),
		})
		if requests[i].Header.Get("Webhook-Id") != requests[0].Header.Get("Webhook-Id") {
			t.Errorf("attempt %d has another id", i+1)
		}
	}
	first := attempts[0]
	if first.NextAttempt == nil || attempts[1].NextAttempt == nil || attempts[2].NextAttempt != nil {
		t.Fatalf("got next attempts %v, %v, %v, want two and none", first.NextAttempt, attempts[1].NextAttempt, attempts[2].NextAttempt)
	}
	ended := first.At.Add(time.Duration(first.Duration))
	wait := first.NextAttempt.Sub(ended)
	if shortest, longest := delay*3/4, delay*5/4+time.Second; wait < shortest || wait > longest {
		t.Errorf("after the first the next is due in %s, want %s to %s", wait, shortest, longest)
	}
	if early := first.NextAttempt.Sub(attempts[1].At); early > 50*time.Millisecond {
		t.Errorf("the second attempt was made %s before it was due", early)
	}
	if late := attempts[1].At.Sub(*first.NextAttempt); late > 5*time.Second {
		t.Errorf("the second attempt was made %s late", late)
	}
}

// A wait that is too long for the queue is a timer, which puts the delivery back.
// Two events with the same id are two deliveries, each with its own.
func TestRetriedMuchLater(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.Header.Get("Jetpost-Attempt") == "1" {
			w.Header().Set("Retry-After", "11")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	sub := r.subscribe(to("hook", rc.URL, 0, time.Second))
	r.send()
	for sequence := range uint64(2) {
		m := delivery.Queued(newEvent(1), sub.Queue.Subject, sub.Queue.Stream, delivery.Origin("EVENTS_notes", sequence, time.Unix(1, 0), "hook"), time.Now())
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	first := make(map[uint64]delivery.Attempt) // by event
	for _, a := range r.awaitAttempts(sub, 2) {
		first[a.Event.Sequence] = a
		if wait := a.NextAttempt.Sub(a.At); wait < 11*time.Second || wait > 13*time.Second {
			t.Errorf("the next attempt is due after %s, want what the receiver asked for", wait)
		}
	}
	r.awaitSettled(sub) // while they wait they block no other delivery
	for _, second := range r.awaitAttempts(sub, 4)[2:] {
		if early := first[second.Event.Sequence].NextAttempt.Sub(second.At); early > 0 {
			t.Errorf("the second attempt was made %s before it was due", early)
		}
		if second.Attempt != 2 || second.Outcome != delivery.Delivered || second.Redelivered {
			t.Errorf("got %+v, want a second attempt that delivered", second)
		}
		delete(first, second.Event.Sequence)
	}
	if len(first) > 0 {
		t.Errorf("%d deliveries have not come back", len(first))
	}
	r.awaitSettled(sub)
}

// What comes back from a timer passes the subscription as it is now.
func TestTimerFired(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	paused := to("is-paused", rc.URL)
	paused.State = subscription.Paused
	paused, active := r.subscribe(paused), r.subscribe(to("is-active", rc.URL))
	fire := func(id string, n int) {
		e := newEvent(n)
		d := &delivery.Delivery{
			ID: delivery.ID(id, e.Source, e.ID), SubscriptionID: id, Event: e, Origin: delivery.Origin("EVENTS_notes", uint64(n), time.Unix(1, 0), id), //nolint:gosec // small
			Accepted: time.Now(), FirstAttempt: time.Now(), Attempt: 4,
		}
		m := d.Requeued(r.layout.RetryDue(r.layout.QueueFor(id).RetryShard, id), "")
		m.Header.Del("Nats-Expected-Stream")
		if _, err := r.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	for n, id := range []string{"is-deleted", "is-paused", "is-active", "is-paused", "is-active"} {
		fire(id, n)
	}
	junk := r.layout.RetryDue(active.Queue.RetryShard, "is-active")
	if _, err := r.js.Publish(t.Context(), junk, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	r.send()
	for _, a := range r.awaitAttempts(active, 2) {
		if a.Attempt != 4 || a.Outcome != delivery.Delivered {
			t.Errorf("got attempt %d, %s, want 4, delivered", a.Attempt, a.Outcome)
		}
	}
	r.awaitDeadLetters("_invalid", 1)
	for _, shard := range r.layout.RetryShards() {
		eventually(t, func() (bool, string) {
			s, err := r.js.Stream(t.Context(), r.layout.RetryStream(shard))
			if err != nil {
				return false, err.Error()
			}
			return s.CachedInfo().State.Msgs == 0, "retries are left on shard " + shard
		})
	}
	info, err := r.consumer(paused)
	if err != nil {
		t.Fatal(err)
	}
	if info.NumPending != 2 || len(rc.all()) != 2 {
		t.Errorf("%d deliveries wait for the paused subscription, %d were sent, want 2 and 2", info.NumPending, len(rc.all()))
	}
}

func TestGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusGone) })
	sub := to("hook", rc.URL)
	sub.Delivery.MaxInFlight = 1
	sub = r.subscribe(sub)
	service := r.send()
	r.queue(sub, 1, 5)
	deadLetter := r.awaitDeadLetters("hook", 1)[0]
	if deadLetter.Reason != delivery.ReasonGone || deadLetter.Status != http.StatusGone || deadLetter.Attempts != 1 || deadLetter.DeliveryID != delivery.ID("hook", "/notes", "1") {
		t.Errorf("got dead letter %+v, want the first delivery, gone", deadLetter)
	}
	r.wantDeadLetterData(deadLetter, newEvent(1))
	stored, err := r.store.Get(t.Context(), "hook")
	if err != nil {
		t.Fatal(err)
	}
	if stored.State != subscription.Disabled || !strings.Contains(stored.StateReason, "410") {
		t.Errorf("the subscription is %s because %q, want it disabled by the 410", stored.State, stored.StateReason)
	}
	service.stop()
	// The rest of the queue is kept until it is enabled again.
	if info, err := r.consumer(sub); err != nil || int(info.NumPending)+info.NumAckPending < 4 || len(rc.all()) != 1 { //nolint:gosec // small
		t.Errorf("%+v wait, error %v, %d requests were made, want 4 kept and 1", info, err, len(rc.all()))
	}
	if got := r.attempts(sub)[0]; got.Outcome != delivery.Gone || got.NextAttempt != nil {
		t.Errorf("got attempt %s, next %v, want gone and none", got.Outcome, got.NextAttempt)
	}
}

func TestExhausted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { http.Error(w, "no", http.StatusTeapot) })
	sub := to("hook", rc.URL, 0, 0, 0)
	sub.Profile = "cloudevents"
	sub = r.subscribe(sub)
	service := r.send()
	e := newEvent(1)
	e.DataContentType, e.Data = "application/octet-stream", []byte{0, 0xff, '\n'}
	if _, err := r.js.PublishMsg(t.Context(), queued(sub, e, time.Now())); err != nil {
		t.Fatal(err)
	}
	deadLetter := r.awaitDeadLetters("hook", 1)[0]
	r.awaitSettled(sub)
	want := delivery.DeadLetter{
		DeliveryID: delivery.ID("hook", "/notes", "1"), SubscriptionID: "hook", Reason: delivery.ReasonExhausted, Attempts: 3, Status: http.StatusTeapot, ResponseBody: "no\n",
		Event: delivery.EventRef{ID: "1", Source: "/notes", Type: "notes.added", Subject: "note 1", Stream: "EVENTS_notes", Sequence: 1, Stored: storedAt(1)},
	}
	if diff := cmp.Diff(want, deadLetter, cmpopts.IgnoreFields(delivery.DeadLetter{}, "At", "Sequence")); diff != "" {
		t.Errorf("the dead letter differs (-want +got):\n%s", diff)
	}
	r.wantDeadLetterData(deadLetter, e)
	var outcomes []string
	for _, a := range r.attempts(sub) {
		outcomes = append(outcomes, a.Outcome.String())
		if a.ResponseBody != "no\n" {
			t.Errorf("attempt %d keeps the answer %q, want it", a.Attempt, a.ResponseBody)
		}
	}
	if diff := cmp.Diff([]string{"retry", "retry", "exhausted"}, outcomes); diff != "" {
		t.Errorf("outcomes differ (-want +got):\n%s", diff)
	}
	service.stop()
	if got := counter(t, service.reg, "jetpost_sender_dead_letters_total", "exhausted"); got != 1 {
		t.Errorf("%v dead letters are counted as exhausted, want 1", got)
	}
}

// What can never be sent is given up without a request, and does not stop what is
// behind it.
func TestNeverSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("hook", rc.URL))
	text := newEvent(2)
	text.DataContentType, text.Data = "text/plain", []byte("hello")
	if _, err := r.js.Publish(t.Context(), sub.Queue.Subject, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct {
		n        int
		accepted time.Time
	}{{1, time.Now().Add(-200 * time.Hour)}, {2, time.Now()}} {
		e := newEvent(m.n)
		if m.n == 2 {
			e = text
		}
		if _, err := r.js.PublishMsg(t.Context(), queued(sub, e, m.accepted)); err != nil {
			t.Fatal(err)
		}
	}
	r.queue(sub, 3, 1)
	r.send()
	rc.await(1)
	r.awaitSettled(sub)
	rc.wantOnce(3, 1)

	got := make(map[delivery.Reason]delivery.DeadLetter)
	for _, deadLetter := range append(r.deadLetters("hook"), r.deadLetters("_invalid")...) {
		deadLetter.At, deadLetter.Sequence = time.Time{}, 0
		if deadLetter.Reason == delivery.ReasonUnreadable {
			deadLetter.Event.Stored = time.Time{} // when the queue has stored it
		}
		got[deadLetter.Reason] = deadLetter
	}
	ref := func(n string, sequence uint64) delivery.EventRef {
		return delivery.EventRef{ID: n, Source: "/notes", Type: "notes.added", Subject: "note " + n, Stream: "EVENTS_notes", Sequence: sequence, Stored: storedAt(sequence)}
	}
	want := map[delivery.Reason]delivery.DeadLetter{
		delivery.ReasonExpired: {
			DeliveryID: delivery.ID("hook", "/notes", "1"), SubscriptionID: "hook", Reason: delivery.ReasonExpired, Event: ref("1", 1),
		},
		delivery.ReasonRejected: {
			DeliveryID: delivery.ID("hook", "/notes", "2"), SubscriptionID: "hook", Reason: delivery.ReasonRejected, Event: ref("2", 2),
			Error: "render: its data is not JSON, and this profile carries nothing else: use profile cloudevents or cloudevents-binary",
		},
		delivery.ReasonUnreadable: {
			Reason: delivery.ReasonUnreadable, Event: delivery.EventRef{Stream: "DELIVERIES_hook", Sequence: 1},
			Error: "not a readable delivery: not a valid CloudEvent: header ce-specversion is missing",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dead letters differ (-want +got):\n%s", diff)
	}
}

// A subscription that this version cannot serve waits, and the log says so.
func TestUnknownProfile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := to("hook", rc.URL)
	sub.Profile = "of-the-future"
	sub = r.subscribe(sub)
	r.send()
	r.queue(sub, 1, 1)
	eventually(t, func() (bool, string) {
		return r.logged.FilterMessageSnippet("cannot be served").FilterLevelExact(zap.ErrorLevel).Len() > 0, "nothing is said about the profile"
	})
	r.change("hook", func(s *subscription.Subscription) { s.Profile = "standard" })
	rc.await(1)
	r.awaitSettled(sub)
	if n := len(r.deadLetters("hook")); n > 0 {
		t.Errorf("%d dead letters were made of what could be sent later", n)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	other := receive(t, nil)
	for n, location := range []string{other.URL + "/elsewhere?q=1", "/relative", "", "http://[bad"} {
		rc := receive(t, func(w http.ResponseWriter, _ *request) {
			w.Header()["Location"] = []string{location}
			w.WriteHeader([]int{http.StatusFound, http.StatusPermanentRedirect}[n%2])
		})
		sub := r.subscribe(to("hook-"+string(rune('a'+n)), rc.URL, 0))
		r.queue(sub, 1, 1)
	}
	r.send()
	for _, id := range []string{"hook-a", "hook-b", "hook-c", "hook-d"} {
		deadLetter := r.awaitDeadLetters(id, 1)[0]
		a := r.attempts(&subscription.Subscription{ID: id})[0]
		if a.Outcome != delivery.Exhausted || a.Status/100 != 3 || !strings.Contains(a.Error, "redirects are not followed") {
			t.Errorf("%s: got %s, status %d, error %q, want it recorded as a redirect that was not followed", id, a.Outcome, a.Status, a.Error)
		}
		if deadLetter.Status != a.Status || deadLetter.Error != a.Error {
			t.Errorf("%s: got dead letter %+v, want the error of the attempt", id, deadLetter)
		}
	}
	if n := len(other.all()); n > 0 {
		t.Errorf("%d requests went where the redirect points", n)
	}
}

// A subscription that is changed is called as it is now, from the next attempt on.
func TestChangedEndpoint(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before, after := receive(t, nil), receive(t, nil)
	sub := r.subscribe(to("hook", before.URL))
	r.send()
	r.queue(sub, 0, 50)
	before.await(50)
	r.change("hook", func(s *subscription.Subscription) { s.Endpoint.URL = after.URL })
	r.queue(sub, 50, 50)
	after.await(50)
	r.awaitSettled(sub)
	before.wantOnce(0, 50)
	after.wantOnce(50, 50)
	// By the time of the request: records that are made at once may change places.
	last := slices.MaxFunc(r.attempts(sub), func(a, b delivery.Attempt) int { return a.At.Compare(b.At) })
	if u, err := url.Parse(last.URL); err != nil || "http://"+u.Host != after.URL {
		t.Errorf("the last attempt was made at %v, want %s", u, after.URL)
	}
}
