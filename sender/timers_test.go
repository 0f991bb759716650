package sender_test

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

// timer publishes the retry of a note, as a sender does; see stored.
func (r *rig) timer(sub *subscription.Subscription, n, attempt int, due time.Time) {
	r.t.Helper()
	m := queued(sub, newEvent(n), time.Now())
	d, err := delivery.FromMessage(sub.ID, m.Header, m.Data)
	if err != nil {
		r.t.Fatal(err)
	}
	d.Attempt, d.FirstAttempt = attempt, time.Now()
	shard := sub.Queue.RetryShard
	timer := d.Timer(r.layout.RetryAt(shard, sub.ID, d.TimerKey()), r.layout.RetryDue(shard, sub.ID), due)
	r.unstored = append(r.unstored, r.publisher().Send(timer))
}

// stored waits until the timers are stored.
func (r *rig) stored() {
	r.t.Helper()
	r.awaitStored(r.unstored)
	r.unstored = nil
}

// timers is how many timers a subscription has.
func (r *rig) timers(sub *subscription.Subscription) (n uint64) {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), r.layout.RetryStream(sub.Queue.RetryShard))
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := s.Info(r.t.Context(), jetstream.WithSubjectFilter(r.layout.RetryAt(sub.Queue.RetryShard, sub.ID, "*")))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, messages := range info.State.Subjects {
		n += messages
	}
	return n
}

// handOut takes what waits on a queue, as often as it says, and hands it back: a sender
// that was killed with it leaves it like that.
func (r *rig) handOut(sub *subscription.Subscription, messages int) {
	r.t.Helper()
	c, err := r.js.Consumer(r.t.Context(), sub.Queue.Stream, sub.Queue.Consumer)
	if err != nil {
		r.t.Fatal(err)
	}
	batch, err := c.Fetch(messages, jetstream.FetchMaxWait(patience))
	if err != nil {
		r.t.Fatal(err)
	}
	got := 0
	for m := range batch.Messages() {
		got++
		if err := m.Nak(); err != nil {
			r.t.Fatal(err)
		}
	}
	if got != messages {
		r.t.Fatalf("%d messages were handed out, want %d", got, messages)
	}
}

// answers waits until a server that was restarted answers to what is asked of it.
func (r *rig) answers() {
	r.t.Helper()
	eventually(r.t, func() (bool, string) {
		for _, name := range []string{r.layout.Attempts(), r.layout.DeadLetters()} {
			if _, err := r.js.Stream(r.t.Context(), name); err != nil {
				return false, err.Error()
			}
		}
		return true, ""
	})
}

// A sender stores the timer of a delivery and is killed before it acknowledges it. What is
// handed out again is not attempted: the timer is what is left of it, whether it waits or
// has fired. Another delivery, without a timer, is attempted.
func TestTimerOfKilledSender(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(withoutBreaker(to("hook", rc.URL, 0, time.Hour)))
	r.queue(sub, 1, 3)
	r.handOut(sub, 3)
	r.timer(sub, 1, 2, time.Now().Add(time.Hour)) // waits
	r.timer(sub, 2, 2, time.Now())                // fires
	r.stored()
	r.send()
	attempts := r.awaitAttempts(sub, 2)
	r.awaitSettled(sub)
	for _, a := range attempts {
		switch {
		case a.Event.ID == "2" && a.Attempt == 2 && !a.Redelivered:
		case a.Event.ID == "3" && a.Redelivered:
		default:
			t.Errorf("got attempt %d of note %s, redelivered %v, want the second of 2 and one of 3", a.Attempt, a.Event.ID, a.Redelivered)
		}
	}
	if got := r.timers(sub); got != 1 {
		t.Errorf("%d timers are left, want the one that waits", got)
	}
	if got := rc.notes(); got["1"] != 0 || got["2"] != 1 || got["3"] != 1 {
		t.Errorf("requests by note: %v, want one for 2 and 3", got)
	}
}

// What another sender had in hand is retried at once, and then later: that it may have
// left a timer does not cost the one that is stored now.
func TestRetriedAtOnceAfterKill(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusBadRequest) })
	sub := r.subscribe(withoutBreaker(to("hook", rc.URL, 0, 0, time.Hour)))
	const deliveries = 10
	r.queue(sub, 1, deliveries)
	r.handOut(sub, deliveries)
	r.send()
	r.awaitAttempts(sub, 2*deliveries)
	r.awaitSettled(sub)
	if got := r.timers(sub); got != deliveries {
		t.Errorf("%d timers wait, want one for each of %d deliveries", got, deliveries)
	}
}

// A manual attempt that succeeds ends the retry that
// waits; one that fails leaves it alone.
func TestManualSuccessCancelsTimer(t *testing.T) {
	t.Parallel()
	for status, left := range map[int]uint64{http.StatusNoContent: 0, http.StatusInternalServerError: 1} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(status) })
			sub := r.subscribe(to("hook", rc.URL, 0, time.Hour))
			r.timer(sub, 1, 2, time.Now().Add(time.Hour))
			r.timer(sub, 2, 2, time.Now().Add(time.Hour))
			r.stored()
			r.send()
			r.manual(sub, newEvent(1))
			r.awaitAttempts(sub, 1)
			r.awaitSettled(sub)
			if got := r.timers(sub); got != left+1 {
				t.Errorf("%d timers are left, want %d", got, left+1)
			}
		})
	}
}

// A timer and a dead letter that cannot be stored: their deliveries are held, and not
// requested again, until they can be.
func TestNothingCanBeStored(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusInternalServerError) })
	later, never := r.subscribe(withoutBreaker(to("later", rc.URL, 0, time.Hour))), r.subscribe(withoutBreaker(to("never", rc.URL, 0)))
	for _, name := range []string{r.layout.RetryStream(later.Queue.RetryShard), r.layout.DeadLetters()} {
		if err := r.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	r.send()
	r.queue(later, 0, 3)
	r.queue(never, 0, 3)
	eventually(t, func() (bool, string) {
		timers := r.logged.FilterMessage("failed to store retry timer, its delivery is held and not settled").Len()
		deadLetters := r.logged.FilterMessage("failed to store dead letter, its delivery is held and not settled").Len()
		return timers == 3 && deadLetters == 3, fmt.Sprintf("%d timers and %d dead letters are held, want 3 and 3", timers, deadLetters)
	})
	if err := r.layout.Ensure(t.Context(), r.js, nil); err != nil {
		t.Fatal(err)
	}
	r.awaitDeadLetters("never", 3)
	r.awaitSettled(later)
	r.awaitSettled(never)
	if got := r.timers(later); got != 3 {
		t.Errorf("%d timers, want 3", got)
	}
	if got := len(rc.all()); got != 6 {
		t.Errorf("%d requests were made, want one for each delivery: 6", got)
	}
}

// A new URL is used by the retries that wait already.
func TestWaitingRetryUsesNewURL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before, after := receive(t, nil), receive(t, nil)
	sub := r.subscribe(to("hook", before.URL, 0, time.Hour))
	r.send()
	const n = 5
	due := time.Now().Add(2 * time.Second)
	for i := range n {
		r.timer(sub, i, 2, due)
	}
	r.stored()
	r.change("hook", func(s *subscription.Subscription) { s.Endpoint.URL = after.URL })
	changed := time.Now()
	for _, a := range r.awaitAttempts(sub, n) {
		if a.Attempt != 2 || a.Outcome != delivery.Delivered {
			t.Errorf("got %+v", a)
		}
	}
	late := 0 // on a machine that took more than two seconds for that
	if changed.After(due) {
		late = n
	}
	if got := len(before.all()); got > late {
		t.Errorf("%d retries went to the old URL", got)
	}
}

// The delays that a user sees are those of the schedule, within its jitter, although
// the NATS server and the sender are stopped and started in the middle of every wait;
// and no attempt is made before its time. A second stands for minutes.
func TestScheduleOverRestarts(t *testing.T) {
	t.Parallel()
	schedule := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second}
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusServiceUnavailable) })
	sub := withoutBreaker(to("hook", rc.URL, schedule...))
	const jitter = 0.2
	sub.Delivery.Jitter = jitter
	sub = r.subscribe(sub)
	const deliveries = 3
	r.queue(sub, 0, deliveries)
	for n := range schedule {
		running := r.send()
		r.awaitAttempts(sub, (n+1)*deliveries)
		running.stop()
		r.server.Restart()
		r.answers()
	}
	r.send()
	r.awaitDeadLetters("hook", deliveries)
	byDelivery := make(map[string][]delivery.Attempt)
	for _, a := range r.attempts(sub) {
		byDelivery[a.DeliveryID] = append(byDelivery[a.DeliveryID], a)
	}
	if len(byDelivery) != deliveries || len(rc.all()) != deliveries*len(schedule) {
		t.Errorf("%d requests for %d deliveries, want %d for %d", len(rc.all()), len(byDelivery), deliveries*len(schedule), deliveries)
	}
	for id, attempts := range byDelivery {
		wantSchedule(t, id, attempts, schedule, jitter)
	}
}

// wantSchedule checks the attempts of one delivery that was given up after the last.
func wantSchedule(t *testing.T, id string, attempts []delivery.Attempt, schedule []time.Duration, jitter float64) {
	t.Helper()
	for i, a := range attempts {
		if a.Attempt != i+1 {
			t.Errorf("%s: attempt %d is number %d", id, i+1, a.Attempt)
		}
		if i+1 == len(schedule) {
			if a.Outcome != delivery.Exhausted || a.NextAttempt != nil {
				t.Errorf("%s: the last attempt: %+v", id, a)
			}
			continue
		}
		planned := a.NextAttempt.Sub(a.At) - time.Duration(a.Duration)
		spread := time.Duration(jitter * float64(schedule[i+1]))
		const rounding = time.Microsecond
		if off := (planned - schedule[i+1]).Abs(); off > spread+rounding {
			t.Errorf("%s: after attempt %d a wait of %s was planned, want %s ± %s", id, i+1, planned, schedule[i+1], spread)
		}
		if i+1 < len(attempts) {
			if early := a.NextAttempt.Sub(attempts[i+1].At); early > 0 {
				t.Errorf("%s: attempt %d was made %s before its time", id, i+2, early)
			}
		}
	}
}

// Thousands of retries wait: the queue is free for others meanwhile. They fall due at
// once: all arrive, once, and no more at a time than the subscription allows. With
// JETPOST_TIMERS=100000 it says what that many cost.
func TestManyTimers(t *testing.T) {
	t.Parallel()
	many := 3000
	if text := os.Getenv("JETPOST_TIMERS"); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t)
	var retries atomic.Int64
	all := make(chan struct{})
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if got.Header.Get("Jetpost-Attempt") != "1" && retries.Add(1) == int64(many) {
			close(all)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	sub := to("hook", rc.URL, 0, time.Hour)
	sub.Delivery.MaxInFlight = 8
	sub = r.subscribe(sub)
	r.send()
	before := heap()
	began := time.Now()
	for i := range many {
		r.timer(sub, i, 2, time.Now().Add(time.Hour))
	}
	r.stored()
	t.Logf("%d timers are stored in %s, the heap has grown by %d MB", many, time.Since(began).Round(time.Millisecond), (heap()-before)>>20)
	const others = 200
	r.queue(sub, many, others)
	r.awaitSettled(sub)
	info, err := r.consumer(sub)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.timers(sub); got != uint64(many) || info.NumAckPending > 0 { //nolint:gosec // positive
		t.Errorf("%d timers wait, %d deliveries are pending, want %d and none", got, info.NumAckPending, many)
	}
	rc.wantOnce(many, others)

	began = time.Now()
	due := began.Add(time.Second)
	for i := range many { // each takes the place of the one before
		r.timer(sub, i, 3, due)
	}
	r.stored()
	r.queue(sub, many+others, others)
	select {
	case <-all:
	case <-testkit.TimeoutAfter(patience + time.Duration(many)*10*time.Millisecond):
		t.Fatalf("%d of %d retries have arrived", retries.Load(), many)
	}
	r.awaitSettled(sub)
	rc.wantOnce(0, many+2*others)
	rc.mu.Lock()
	if rc.most > 8 {
		t.Errorf("%d requests were made at a time, want at most 8", rc.most)
	}
	rc.mu.Unlock()
	if got := r.timers(sub); got > 0 {
		t.Errorf("%d timers are left", got)
	}
	t.Logf("set again, fired and delivered in %s, the heap has grown by %d MB", time.Since(began).Round(time.Millisecond), (heap()-before)>>20)
}

// heap is what is in use of it, the NATS server's included.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // it fits
}

// The retries of a subscription that was lost, with the bucket perhaps, are kept like its
// queue, and made when it is created again. Those of one that was deleted go with it.
func TestRetriesOfLostSubscription(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	hook := receive(t, nil)
	lost, deleted := r.subscribe(to("lost", hook.URL, 0, time.Hour)), r.subscribe(to("deleted", hook.URL, 0, time.Hour))
	for _, sub := range []*subscription.Subscription{lost, deleted} {
		if err := r.store.Delete(t.Context(), sub.ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.js.DeleteStream(t.Context(), deleted.Queue.Stream); err != nil {
		t.Fatal(err)
	}
	const n = 5
	for i := range n {
		r.timer(lost, i, 2, time.Now())
		r.timer(deleted, i, 2, time.Now())
	}
	r.stored()
	r.send()
	eventually(t, func() (bool, string) {
		left := uint64(0)
		for _, sub := range []*subscription.Subscription{lost, deleted} {
			s, err := r.js.Stream(t.Context(), r.layout.RetryStream(sub.Queue.RetryShard))
			if err != nil {
				return false, err.Error()
			}
			left += s.CachedInfo().State.Msgs
		}
		return left == 0, fmt.Sprintf("%d retries are not settled", left)
	})
	r.subscribe(to("lost", hook.URL, 0, time.Hour))
	hook.await(n)
	for _, a := range r.awaitAttempts(lost, n) {
		if a.Attempt != 2 || a.Outcome != delivery.Delivered {
			t.Errorf("got %+v", a)
		}
	}
}
