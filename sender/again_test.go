package sender_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/sender"
)

// put stores a message in its stream.
func (r *rig) put(m *nats.Msg) {
	r.t.Helper()
	if _, err := r.js.PublishMsg(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

// redrive puts a dead letter back on its queue, as an admin does.
func (r *rig) redrive(sub *subscription.Subscription, sequence uint64) {
	r.t.Helper()
	deadLetters := delivery.NewDeadLetters(r.js, r.layout)
	deadLetter, err := deadLetters.Get(r.t.Context(), sequence)
	if err != nil {
		r.t.Fatal(err)
	}
	r.put(deadLetter.Redriven(sub.Queue.Subject, sub.Queue.Stream, time.Now()))
	if err := deadLetters.Remove(r.t.Context(), sequence); err != nil {
		r.t.Fatal(err)
	}
}

// A delivery that is redriven has its whole schedule, and its age from then on.
func TestRedrivenSchedule(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusInternalServerError) })
	sub := to("redriven", rc.URL, 0, 50*time.Millisecond, 100*time.Millisecond)
	sub.Delivery.MaxAge = subscription.Duration(time.Minute)
	sub = r.subscribe(sub)
	r.put(queued(sub, newEvent(1), time.Now().Add(-time.Hour))) // too old
	r.send()
	deadLetter := r.awaitDeadLetters(sub.ID, 1)[0]
	if deadLetter.Reason != delivery.ReasonExpired || deadLetter.Attempts != 0 {
		t.Fatalf("got %+v", deadLetter)
	}
	for round := 1; round <= 2; round++ {
		r.redrive(sub, deadLetter.Sequence)
		next := r.awaitDeadLetters(sub.ID, 1)[0]
		if next.Reason != delivery.ReasonExhausted || next.Attempts != 3*round || next.Sequence == deadLetter.Sequence {
			t.Fatalf("after redrive %d: %+v", round, next)
		}
		deadLetter = next
	}
	for i, a := range r.awaitAttempts(sub, 6) {
		if last := i%3 == 2; a.Attempt != i+1 || (a.Outcome == delivery.Exhausted) != last || (a.NextAttempt == nil) != last {
			t.Errorf("attempt in place %d: %+v", i+1, a)
		}
	}
	for i, got := range rc.all() {
		if got.Header.Get(wire.HeaderAttempt) != strconv.Itoa(i+1) {
			t.Errorf("request %d says it is attempt %s", i+1, got.Header.Get(wire.HeaderAttempt))
		}
	}
}

// What is given up again without another request is a dead letter again, though
// the first one had the same number of attempts a moment ago.
func TestRedrivenAndRejected(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := r.subscribe(to("rejected", "http://127.0.0.1:1/", 0))
	e := newEvent(1)
	e.DataContentType, e.Data = "text/plain", []byte("no JSON") // which profile standard cannot carry
	r.put(queued(sub, e, time.Now()))
	r.send()
	deadLetter := r.awaitDeadLetters(sub.ID, 1)[0]
	if deadLetter.Reason != delivery.ReasonRejected || deadLetter.Attempts != 0 {
		t.Fatalf("got %+v", deadLetter)
	}
	r.redrive(sub, deadLetter.Sequence)
	r.awaitSettled(sub)
	if deadLetters := r.deadLetters(sub.ID); len(deadLetters) != 1 || deadLetters[0].Reason != delivery.ReasonRejected {
		t.Errorf("after it was redriven: %+v, want one letter", deadLetters)
	}
	// One more attempt of it leaves its reason in the log, and no other dead letter.
	r.manual(sub, e)
	a := r.awaitAttempts(sub, 1)[0]
	if !a.Manual || a.Outcome != delivery.Rejected || a.Error == "" || a.Status != 0 {
		t.Errorf("got %+v", a)
	}
	r.awaitSettled(sub)
	if deadLetters := r.deadLetters(sub.ID); len(deadLetters) != 1 {
		t.Errorf("dead letters: %+v, want the one there was", deadLetters)
	}
}

// queueLength is how many deliveries are on a queue.
func (r *rig) queueLength(sub *subscription.Subscription) uint64 {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), sub.Queue.Stream)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// manual asks for one attempt of the delivery of an event.
func (r *rig) manual(sub *subscription.Subscription, e *event.Event) {
	r.t.Helper()
	m := queued(sub, e, time.Now().Add(-time.Hour)) // older than any may be
	d, err := delivery.FromMessage(sub.ID, m.Header, m.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	r.put(d.ManualRetry(sub.Queue.Subject, sub.Queue.Stream, "one"))
}

// An attempt that was asked for is made once, whatever comes of it, and leaves
// nothing but its record.
func TestManualAttempt(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNoContent, http.StatusInternalServerError, http.StatusGone} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(status) })
			sub := to("manual", rc.URL, 0, 50*time.Millisecond)
			sub.Delivery.MaxAge = subscription.Duration(time.Minute)
			sub = r.subscribe(sub)
			r.manual(sub, newEvent(1))
			r.send()
			a := r.awaitAttempts(sub, 1)[0]
			want := map[int]delivery.Outcome{http.StatusNoContent: delivery.Delivered, http.StatusInternalServerError: delivery.Exhausted, http.StatusGone: delivery.Gone}[status]
			if !a.Manual || a.Attempt != 1 || a.Outcome != want || a.NextAttempt != nil {
				t.Errorf("got %+v", a)
			}
			r.awaitSettled(sub)
			if deadLetters := r.deadLetters(sub.ID); len(deadLetters) > 0 {
				t.Errorf("dead letters: %+v", deadLetters)
			}
			if got := rc.all(); len(got) != 1 || got[0].Header.Get("Webhook-Id") != a.DeliveryID {
				t.Errorf("%d requests, want 1", len(got))
			}
			stored, err := r.store.Get(t.Context(), sub.ID)
			if err != nil || (stored.State == subscription.Disabled) != (status == http.StatusGone) {
				t.Errorf("the subscription is %s, error %v", stored.State, err)
			}
		})
	}
}

// One that is broken off, because its sender is stopped, is made by another.
func TestManualAttemptBrokenOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	release := make(chan struct{})
	var held atomic.Bool
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if held.CompareAndSwap(false, true) {
			<-release
		}
		w.WriteHeader(http.StatusNoContent)
	})
	t.Cleanup(func() { close(release) }) // before the receiver is closed, which waits for its answers
	sub := r.subscribe(to("broken", rc.URL, 0, time.Hour))
	r.manual(sub, newEvent(1))
	first := r.send(func(c *sender.Config) { c.Grace = 100 * time.Millisecond })
	rc.await(1)
	first.stop()
	r.send()
	got := r.awaitAttempts(sub, 2)
	for i, want := range []delivery.Outcome{delivery.Retry, delivery.Delivered} {
		if a := got[i]; !a.Manual || a.Attempt != i+1 || a.Outcome != want {
			t.Errorf("attempt %d: %+v", i+1, a)
		}
	}
	r.awaitSettled(sub)
	if deadLetters := r.deadLetters(sub.ID); len(deadLetters) > 0 {
		t.Errorf("dead letters: %+v", deadLetters)
	}
}

// A manual attempt that succeeds ends the schedule: no retry follows, be it one that is due
// soon, at this sender or another, or one that waits for long.
func TestManualSuccessEndsSchedule(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		another bool // the sender that made the manual attempt is gone when the retry is due
		delay   time.Duration
	}{
		{"the retry waits for a short time", false, 4 * time.Second},
		{"the retry comes to another sender", true, 4 * time.Second},
		{"the retry is far away", false, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			var up atomic.Bool
			rc := receive(t, func(w http.ResponseWriter, _ *request) {
				w.WriteHeader(map[bool]int{true: http.StatusNoContent, false: http.StatusInternalServerError}[up.Load()])
			})
			sub := r.subscribe(withoutBreaker(to("manual", rc.URL, 0, test.delay, test.delay)))
			service := r.send()
			r.queue(sub, 1, 1)
			r.awaitAttempts(sub, 1)
			up.Store(true)
			r.manual(sub, newEvent(1))
			if a := r.awaitAttempts(sub, 2)[1]; !a.Manual || a.Outcome != delivery.Delivered {
				t.Fatalf("got %+v, want the manual attempt, delivered", a)
			}
			if test.another {
				service.stop()
				r.send()
			}
			r.awaitSettled(sub)
			if n := len(rc.all()); n != 2 {
				t.Errorf("%d requests were made, want 2: the first and the manual one", n)
			}
			if n := r.timers(sub); n > 0 {
				t.Errorf("%d timers are left", n)
			}
			// A redrive is a wish of its own, which is later.
			first := r.attempts(sub)[0]
			d, err := delivery.FromMessage(sub.ID, queued(sub, newEvent(1), time.Now()).Header, newEvent(1).Data)
			if err != nil {
				t.Fatal(err)
			}
			deadLetter := &delivery.StoredDeadLetter{DeadLetter: delivery.DeadLetter{Sequence: 7, Attempts: first.Attempt}, Delivery: d, Data: d.Event.Data}
			r.put(deadLetter.Redriven(sub.Queue.Subject, sub.Queue.Stream, time.Now()))
			r.awaitAttempts(sub, 3)
			r.awaitSettled(sub)
		})
	}
}

// The manual attempt may succeed while an attempt of the schedule is under way, before that has
// stored the timer of its retry. Then that timer is not left.
func TestManualSuccessBeforeRetryIsPlanned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var up atomic.Bool
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		w.WriteHeader(map[bool]int{true: http.StatusNoContent, false: http.StatusInternalServerError}[up.Load()])
	})
	sub := r.subscribe(withoutBreaker(to("manual", rc.URL, 0, time.Hour)))
	shard := r.layout.RetryStreamConfig(sub.Queue.RetryShard)
	refuses := shard
	refuses.MaxMsgSize = 1
	if _, err := r.js.UpdateStream(t.Context(), refuses); err != nil {
		t.Fatal(err)
	}
	r.send()
	r.queue(sub, 1, 1)
	r.awaitAttempts(sub, 1)
	up.Store(true)
	r.manual(sub, newEvent(1))
	r.awaitAttempts(sub, 2)
	testkit.Until(t, func() (bool, string) {
		left := r.queueLength(sub)
		return left == 1, fmt.Sprintf("%d deliveries are left, want the one whose timer is refused", left)
	})
	if _, err := r.js.UpdateStream(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	r.awaitSettled(sub)
	if n := r.timers(sub); n > 0 || len(rc.all()) != 2 {
		t.Errorf("%d timers are left and %d requests were made, want none and 2", n, len(rc.all()))
	}
}

// Other senders note what they have made at the same time; only so many are kept.
func TestManualSuccessesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var up atomic.Bool
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		w.WriteHeader(map[bool]int{true: http.StatusNoContent, false: http.StatusInternalServerError}[up.Load()])
	})
	const deliveries = 8
	sub := r.subscribe(withoutBreaker(to("manual", rc.URL, 0, 8*time.Second)))
	r.send()
	r.send()
	r.queue(sub, 1, deliveries)
	r.awaitAttempts(sub, deliveries)
	up.Store(true)
	for n := range deliveries {
		r.manual(sub, newEvent(n+1))
	}
	r.awaitAttempts(sub, 2*deliveries)
	r.awaitSettled(sub)
	if n := len(rc.all()); n != 2*deliveries {
		t.Errorf("%d requests were made, want %d", n, 2*deliveries)
	}
}

// A retry that is back on its queue when the manual attempt succeeds is dropped too.
func TestManualSuccessDropsQueuedRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("manual", rc.URL))
	service := r.send()
	r.manual(sub, newEvent(1))
	r.awaitAttempts(sub, 1)
	r.awaitSettled(sub)
	service.stop()
	d, err := delivery.FromMessage(sub.ID, queued(sub, newEvent(1), time.Now()).Header, newEvent(1).Data)
	if err != nil {
		t.Fatal(err)
	}
	d.Attempt, d.FirstAttempt = 2, time.Now()
	r.put(d.Requeued(sub.Queue.Subject, sub.Queue.Stream)) // as the pump does with a timer that has fired
	r.queue(sub, 2, 1)
	r.send()
	r.awaitSettled(sub)
	if got := r.awaitAttempts(sub, 2); len(got) != 2 || got[1].Event.ID != "2" || len(rc.all()) != 2 {
		t.Errorf("got %+v, want the manual attempt and that of the other event", got)
	}
}
