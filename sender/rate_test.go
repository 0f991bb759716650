package sender_test

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// mostWithin is the largest number of requests in any window of that length.
func mostWithin(requests []*request, window time.Duration) int {
	at := make([]time.Time, len(requests))
	for i, r := range requests {
		at[i] = r.at
	}
	slices.SortFunc(at, time.Time.Compare)
	most, first := 0, 0
	for last := range at {
		for at[last].Sub(at[first]) >= window {
			first++
		}
		most = max(most, last-first+1)
	}
	return most
}

// wantTogether checks the rate over all senders, as the receiver has seen it.
//
// A sender does not make up for slots that it has missed. But requests that it has
// begun are seen late when the machine stands still, so what may come on top of the
// rate is what each sender has begun by then, a fifth of a second's worth, and as much
// again from the next reservation.
func (rc *receiver) wantTogether(rate float64, senders int) {
	rc.t.Helper()
	block := int(math.Ceil(rate / 5))
	limit := int(math.Ceil(rate)) + 1 + 2*senders*block
	if got := mostWithin(rc.all(), time.Second); got > limit {
		rc.t.Errorf("%d requests came within a second, want at most %d", got, limit)
	}
}

// wantSpread checks that requests were not made faster than their rate. n slots
// have n-1 intervals between them, whatever the machine does: only the first request
// may come late, and a quarter of the time is for that.
func (rc *receiver) wantSpread(requests []*request, rate float64) {
	rc.t.Helper()
	n := len(requests)
	least := time.Duration(float64(n-1) / rate * 0.75 * float64(time.Second))
	if took := requests[n-1].at.Sub(requests[0].at); took < least {
		rc.t.Errorf("%d requests at %v per second took %s", n, rate, took)
	}
}

// atRate is a subscription with a rate.
func atRate(id, url string, rate float64) *subscription.Subscription {
	sub := to(id, url)
	sub.Delivery.Rate = rate
	return sub
}

// The rate holds over both senders together; each delivery is made once.
func TestRateOfTwoSenders(t *testing.T) {
	t.Parallel()
	const n, rate = 150, 50
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(atRate("hook", rc.URL, rate))
	senders := []*running{r.send(), r.send()}
	r.queue(sub, 0, n)
	rc.await(n)
	r.awaitSettled(sub)
	rc.wantOnce(0, n)
	rc.wantTogether(rate, len(senders))
	requests := rc.all()
	rc.wantSpread(requests, rate)
	for i, service := range senders {
		service.stop()
		if counter(t, service.reg, "jetpost_sender_attempts_total", "delivered") == 0 {
			t.Errorf("sender %d has done nothing", i)
		}
	}
	for _, a := range r.attempts(sub) {
		if a.Attempt != 1 || a.Redelivered {
			t.Errorf("got attempt %+v, want the first", a)
		}
	}
}

// Deliveries that wait longer than the server's patience stay with the sender that
// holds them.
func TestSlowRateHolds(t *testing.T) {
	t.Parallel()
	const n = 5
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(atRate("hook", rc.URL, 0.4))
	r.send()
	r.queue(sub, 0, n)
	requests := rc.await(n)
	r.awaitSettled(sub)
	rc.wantOnce(0, n)
	if took := requests[n-1].at.Sub(requests[0].at); took < stream.AckWait {
		t.Errorf("%d deliveries took %s: nothing had to be held", n, took)
	}
	for _, a := range r.attempts(sub) {
		if a.Redelivered {
			t.Errorf("note %s was handed out again", a.Event.ID)
		}
	}
}

// What waits for its slot is handed back when the sender stops, without waiting
// for the slot; and slots that were not used are not lost.
func TestStopWhileWaiting(t *testing.T) {
	t.Parallel()
	const n = 10
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(atRate("hook", rc.URL, 0.01))
	service := r.send()
	r.queue(sub, 0, n)
	rc.await(1)
	eventually(t, func() (bool, string) {
		kv, err := r.js.KeyValue(t.Context(), r.layout.StateBucket())
		if err != nil {
			return false, err.Error()
		}
		e, err := kv.Get(t.Context(), stream.StateRate("hook"))
		return err == nil && e.Revision() >= 2, "the second slot is not reserved"
	})
	began := time.Now()
	service.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	r.change("hook", func(s *subscription.Subscription) { s.Delivery.Rate = 0 })
	r.send()
	rc.await(n)
	r.awaitSettled(sub)
	rc.wantOnce(0, n)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s until another sender had them", took)
	}
}

// A rate that is changed is kept from then on, also when the next slot was far.
func TestRateChanged(t *testing.T) {
	t.Parallel()
	const n, fast = 60, 100
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(atRate("hook", rc.URL, 0.01))
	r.send()
	r.send()
	r.queue(sub, 0, n)
	rc.await(1)
	r.change("hook", func(s *subscription.Subscription) { s.Delivery.Rate = fast })
	rc.await(n)
	r.awaitSettled(sub)
	rc.wantOnce(0, n)
	rc.wantTogether(fast, 2)
	// And none at all, and one again.
	r.change("hook", func(s *subscription.Subscription) { s.Delivery.Rate = 0 })
	r.queue(sub, n, n)
	rc.await(2 * n)
	r.change("hook", func(s *subscription.Subscription) { s.Delivery.Rate = fast })
	r.queue(sub, 2*n, n)
	rc.await(3 * n)
	r.awaitSettled(sub)
	rc.wantOnce(0, 3*n)
}

// Retries take slots like every other request.
func TestRateOfRetries(t *testing.T) {
	t.Parallel()
	const n, rate = 20, 25
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if strings.HasPrefix(got.Header.Get("Jetpost-Attempt"), "1") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := withoutBreaker(to("hook", rc.URL, 0, 0, 0, 0, 0))
	sub.Delivery.Rate = rate
	sub = r.subscribe(sub)
	r.send()
	r.queue(sub, 0, n)
	rc.await(2 * n)
	r.awaitSettled(sub)
	rc.wantTogether(rate, 1)
}

// A subscription without a rate needs nothing of the bucket.
func TestNoRateNoState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("hook", rc.URL))
	r.send()
	r.queue(sub, 0, 20)
	rc.await(20)
	r.awaitSettled(sub)
	s, err := r.js.Stream(t.Context(), r.layout.StateStream())
	if err != nil {
		t.Fatal(err)
	}
	if last := s.CachedInfo().State.LastSeq; last != 0 {
		t.Errorf("%d entries were written", last)
	}
}

// While the senders cannot agree nothing is sent, and nothing is lost.
func TestRateWithoutState(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	if err := r.js.DeleteKeyValue(t.Context(), r.layout.StateBucket()); err != nil {
		t.Fatal(err)
	}
	sub := r.subscribe(atRate("hook", rc.URL, 100))
	r.send()
	r.queue(sub, 0, 5)
	eventually(t, func() (bool, string) {
		return r.logged.FilterMessageSnippet("failed to reserve").Len() > 0, "nothing is said about the bucket"
	})
	if n := len(rc.all()); n > 0 {
		t.Errorf("%d requests were made without a slot", n)
	}
	if err := r.layout.Ensure(t.Context(), r.js, nil); err != nil {
		t.Fatal(err)
	}
	rc.await(5)
	r.awaitSettled(sub)
	rc.wantOnce(0, 5)
}

// The rate survives the server that keeps it.
func TestRateOverRestart(t *testing.T) {
	t.Parallel()
	const n, rate = 120, 40
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(atRate("hook", rc.URL, rate))
	r.send()
	r.send()
	r.queue(sub, 0, n)
	rc.await(n / 4)
	r.server.Restart()
	r.awaitSettled(sub)
	notes := rc.notes()
	if len(notes) != n {
		t.Errorf("%d notes have arrived, want %d", len(notes), n)
	}
	rc.wantTogether(rate, 2)
}
