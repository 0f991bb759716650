package sender_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/sender"
)

// ordered has the deliveries of a subscription made in order.
func ordered(sub *subscription.Subscription) *subscription.Subscription {
	sub.Delivery.Ordered, sub.Delivery.MaxInFlight, sub.Delivery.Senders = true, 1, 2
	return sub
}

// oftenRechecked does not leave what waits in peace for long.
func oftenRechecked(c *sender.Config) { c.OrderedRecheck = 50 * time.Millisecond }

// numbers are the notes of requests, in their order.
func numbers(t *testing.T, requests []*request) []int {
	t.Helper()
	notes := make([]int, len(requests))
	for i, r := range requests {
		var err error
		if notes[i], err = strconv.Atoi(r.note()); err != nil {
			t.Fatalf("a request has no note: %s", r.body)
		}
	}
	return notes
}

// wantNumbered checks that the attempts of each delivery are numbered from 1 without
// a gap, in the log and for the receiver.
func (r *rig) wantNumbered(rc *receiver, sub *subscription.Subscription) {
	r.t.Helper()
	logged, sent := make(map[string][]int), make(map[string][]int)
	for _, a := range r.attempts(sub) {
		logged[a.DeliveryID] = append(logged[a.DeliveryID], a.Attempt)
	}
	for _, got := range rc.all() {
		n, _ := strconv.Atoi(got.Header.Get("Jetpost-Attempt"))
		sent[got.Header.Get("Webhook-Id")] = append(sent[got.Header.Get("Webhook-Id")], n)
	}
	if diff := cmp.Diff(logged, sent); diff != "" {
		r.t.Errorf("numbers in the log, and those that the receiver saw (-log +receiver):\n%s", diff)
	}
	for id, numbers := range logged {
		for i, n := range numbers {
			if n != i+1 {
				r.t.Errorf("attempts of %s are numbered %v", id, numbers)
				break
			}
		}
	}
}

// With two senders, and whatever fails, no delivery is attempted before all in front
// of it have succeeded; with a rate too.
func TestOrderedRetries(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []float64{0, 200} {
		t.Run(fmt.Sprint("rate ", perSecond), func(t *testing.T) {
			t.Parallel()
			const n = 60
			r := newRig(t)
			var tries [n]atomic.Int64
			rc := receive(t, func(w http.ResponseWriter, got *request) {
				note, _ := strconv.Atoi(got.note())
				if tries[note].Add(1) <= int64(note%4) {
					w.WriteHeader([]int{0, http.StatusBadRequest, http.StatusInternalServerError, http.StatusTooManyRequests}[note%4])
					return
				}
				w.WriteHeader(http.StatusNoContent)
			})
			sub := withoutBreaker(ordered(to("hook", rc.URL, 0, time.Millisecond, 20*time.Millisecond, time.Millisecond)))
			sub.Delivery.Rate = perSecond
			sub = r.subscribe(sub)
			r.send()
			r.send()
			r.queue(sub, 0, n)
			r.awaitSettled(sub)
			var want []int
			for note := range n {
				want = append(want, slices.Repeat([]int{note}, note%4+1)...)
			}
			if diff := cmp.Diff(want, numbers(t, rc.all())); diff != "" {
				t.Errorf("notes in the order of their requests (-want +got):\n%s", diff)
			}
			r.wantNumbered(rc, sub)
		})
	}
}

// A head that has to wait for long holds up those behind it, and its attempts are
// numbered on over restarts of everything, when the log of attempts has forgotten
// them too. Who changes the subscription need not wait, and loses no attempt of the
// schedule by that.
func TestOrderedWaitsLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var up atomic.Bool
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if !up.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := r.subscribe(withoutBreaker(ordered(to("hook", rc.URL, 0, time.Hour, time.Hour))))
	running := r.send(oftenRechecked)
	r.queue(sub, 0, 3)
	first := r.awaitAttempts(sub, 1)[0]
	if first.NextAttempt == nil || first.NextAttempt.Sub(first.At) < 40*time.Minute {
		t.Fatalf("the next attempt is due at %v", first.NextAttempt)
	}
	r.awaitHandedOut(sub, 4) // it was looked at, and left to wait
	running.stop()
	running = r.send(oftenRechecked)
	r.awaitHandedOut(sub, 8)
	running.stop()

	r.forgetAttempts()
	r.send(oftenRechecked)
	r.send(oftenRechecked)
	for n := 2; n <= 4; n++ { // more than the schedule has
		r.change(sub.ID, func(s *subscription.Subscription) { s.Description = fmt.Sprint("repaired, part ", n) })
		a := r.awaitAttempts(sub, n-1)[n-2]
		if a.Attempt != n || a.Outcome != delivery.Retry || a.NextAttempt == nil || a.NextAttempt.Sub(*first.NextAttempt).Abs() > 10*time.Minute {
			t.Errorf("attempt %d: got %+v, want it again at %s", n, a, first.NextAttempt)
		}
		if a.Redelivered {
			t.Errorf("attempt %d may be a repetition", n)
		}
	}
	up.Store(true)
	r.change(sub.ID, func(s *subscription.Subscription) { s.Description = "repaired" })
	r.awaitSettled(sub)
	if diff := cmp.Diff([]int{0, 0, 0, 0, 0, 1, 2}, numbers(t, rc.all())); diff != "" {
		t.Errorf("notes in the order of their requests (-want +got):\n%s", diff)
	}
	if last := rc.all()[4].Header.Get("Jetpost-Attempt"); last != "5" {
		t.Errorf("the last attempt has number %s", last)
	}
}

// awaitHandedOut waits until a queue has handed out something so many times.
func (r *rig) awaitHandedOut(sub *subscription.Subscription, times uint64) {
	r.t.Helper()
	eventually(r.t, func() (bool, string) {
		info, err := r.consumer(sub)
		if err != nil {
			return false, err.Error()
		}
		return info.Delivered.Consumer >= times, fmt.Sprintf("%d deliveries were handed out, want %d", info.Delivered.Consumer, times)
	})
}

// forgetAttempts takes the log of attempts and what it remembers of their ids.
func (r *rig) forgetAttempts() {
	r.t.Helper()
	log, err := r.js.Stream(r.t.Context(), r.layout.Attempts())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := log.Purge(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.server.Restart()
	eventually(r.t, func() (bool, string) {
		_, err := r.js.AccountInfo(r.t.Context())
		return err == nil, fmt.Sprint("the server does not answer: ", err)
	})
}

// A retry is not made before it is due, however often the head is looked at.
func TestOrderedIsNotEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.Header.Get("Jetpost-Attempt") == "1" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := ordered(to("hook", rc.URL, 0, 3*time.Second))
	sub.Delivery.Jitter = 0
	sub = r.subscribe(sub)
	r.send(func(c *sender.Config) { c.OrderedRecheck = 300 * time.Millisecond })
	r.queue(sub, 0, 1)
	got := rc.await(2)
	if waited := got[1].at.Sub(got[0].at); waited < 2*time.Second { // the server knows seconds
		t.Errorf("the second attempt was made %s after the first, want 3s", waited)
	}
	r.awaitSettled(sub)
}

// A delivery that is given up makes room for the next: when its schedule is used up,
// when it is refused for good, and when it is too old.
func TestOrderedGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.note() == "1" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := r.subscribe(withoutBreaker(ordered(to("hook", rc.URL, 0, 20*time.Millisecond, 20*time.Millisecond))))
	old := newEvent(3)
	r.queue(sub, 0, 3)
	if _, err := r.js.PublishMsg(t.Context(), queued(sub, old, time.Now().Add(-400*time.Hour))); err != nil {
		t.Fatal(err)
	}
	r.queue(sub, 4, 2)
	r.send()
	r.awaitSettled(sub)
	if diff := cmp.Diff([]int{0, 1, 1, 1, 2, 4, 5}, numbers(t, rc.all())); diff != "" {
		t.Errorf("notes in the order of their requests (-want +got):\n%s", diff)
	}
	var got []string
	for _, deadLetter := range slices.Backward(r.deadLetters(sub.ID)) {
		got = append(got, fmt.Sprintf("%s %s after %d", deadLetter.Event.ID, deadLetter.Reason, deadLetter.Attempts))
	}
	if diff := cmp.Diff([]string{"1 exhausted after 3", "3 expired after 0"}, got); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	r.wantNumbered(rc, sub)
}

// While a breaker is open the head is probed with, and nothing else. Its probes do
// not use up its schedule, and when the endpoint is back it is the first.
func TestOrderedProbes(t *testing.T) {
	t.Parallel()
	const probes, n = 12, 20
	r := newRig(t)
	rc := receiveBroken(t, http.StatusServiceUnavailable)
	sub := ordered(guarded("hook", rc.URL, 1))
	sub.Delivery.Retry = subscription.Schedule{0, subscription.Duration(time.Hour)}
	sub.Delivery.MaxInFlight = 1
	sub = r.subscribe(sub)
	r.send(soon, oftenRechecked)
	r.send(soon, oftenRechecked)
	r.queue(sub, 0, n)
	rc.await(1 + probes)
	r.awaitState(sub.ID, breaker.Open)
	for _, note := range numbers(t, rc.all()) {
		if note != 0 {
			t.Errorf("note %d was sent before the first one was accepted", note)
		}
	}
	rc.up.Store(true)
	r.awaitDelivered(sub, n)
	r.awaitState(sub.ID, breaker.Closed)
	if got := numbers(t, rc.all()); !slices.IsSorted(got) {
		t.Errorf("notes in the order of their requests: %v", got)
	}
	r.wantNumbered(rc.receiver, sub)
	if deadLetters := r.deadLetters(sub.ID); len(deadLetters) > 0 {
		t.Errorf("given up: %+v", deadLetters)
	}
}

// Who closes a breaker by hand need not wait for the next attempt of the head.
func TestOrderedBreakerReset(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receiveBroken(t, http.StatusServiceUnavailable)
	sub := ordered(guarded("hook", rc.URL, 2))
	sub.Delivery.Retry = subscription.Schedule{0, subscription.Duration(10 * time.Millisecond), subscription.Duration(time.Hour)}
	sub = r.subscribe(sub)
	r.send(byTest, oftenRechecked)
	r.queue(sub, 0, 3)
	r.awaitState(sub.ID, breaker.Open)
	rc.up.Store(true)
	r.changeBreaker(sub.ID, func(b breaker.Record) breaker.Record { return b.Close(time.Now(), "by hand") })
	r.awaitSettled(sub)
	if diff := cmp.Diff([]int{0, 0, 0, 1, 2}, numbers(t, rc.all())); diff != "" {
		t.Errorf("notes in the order of their requests (-want +got):\n%s", diff)
	}
	r.wantNumbered(rc.receiver, sub)
}

// A sender that cannot read the record lets the head wait; one that is of no use does
// no harm, nor does that of another delivery.
func TestOrderedRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var failures atomic.Int64
	failures.Store(1)
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if failures.Add(-1) >= 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := r.subscribe(withoutBreaker(ordered(to("hook", rc.URL, 0, 20*time.Millisecond))))
	r.queue(sub, 0, 2) // before there is a sender, so that it looks
	for _, value := range []string{`{"chain":"EVENTS_notes:7:hook","attempt":9,"delivered":3,"due":"2099-01-01T00:00:00Z"}`, `what is this`} {
		if _, err := r.state().Put(t.Context(), stream.StateOrder(sub.ID), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	r.send()
	r.awaitSettled(sub)
	if diff := cmp.Diff([]int{0, 0, 1}, numbers(t, rc.all())); diff != "" {
		t.Errorf("notes in the order of their requests (-want +got):\n%s", diff)
	}
	r.wantNumbered(rc, sub)
}
