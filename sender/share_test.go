package sender_test

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/sender"
)

// Two senders share the work; each delivery is made once, and never more at a
// time than the subscription allows.
func TestTwoSenders(t *testing.T) {
	t.Parallel()
	const n, limit = 400, 5
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if k, _ := strconv.Atoi(got.note()); k%4 == 0 { // some take their time
			testkit.Pause(t.Context(), 3*time.Millisecond)
		}
		w.WriteHeader(http.StatusOK)
	})
	sub := to("hook", rc.URL)
	sub.Delivery.MaxInFlight = limit
	sub = r.subscribe(sub)
	senders := []*running{r.send(), r.send()}
	r.queue(sub, 0, n)
	rc.await(n)
	r.awaitSettled(sub)
	rc.wantOnce(0, n)
	rc.mu.Lock()
	most := rc.most
	rc.mu.Unlock()
	if most > limit {
		t.Errorf("%d requests were under way at a time, want at most %d", most, limit)
	}
	for i, service := range senders {
		service.stop()
		if counter(t, service.reg, "jetpost_sender_attempts_total", "delivered") == 0 {
			t.Errorf("sender %d has done nothing", i)
		}
	}
	if got := len(r.attempts(sub)); got != n {
		t.Errorf("%d attempts are recorded, want %d", got, n)
	}
}

// The limit holds over failures, too: what waits to be tried again soon counts.
func TestInFlightLimitWhileFailing(t *testing.T) {
	t.Parallel()
	const n, limit = 30, 3
	r := newRig(t)
	var mu sync.Mutex
	requests := make(map[string]int)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		mu.Lock()
		defer mu.Unlock()
		if requests[got.note()]++; requests[got.note()] < 3 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := withoutBreaker(to("hook", rc.URL, 0, 0, 0))
	sub.Delivery.MaxInFlight = limit
	sub = r.subscribe(sub)
	r.send()
	r.send()
	r.queue(sub, 0, n)
	rc.await(3 * n)
	r.awaitSettled(sub)
	rc.mu.Lock()
	most := rc.most
	rc.mu.Unlock()
	if most > limit {
		t.Errorf("%d requests were under way at a time, want at most %d", most, limit)
	}
	numbers := make(map[string]string)
	for _, a := range r.attempts(sub) {
		numbers[a.Event.ID] += strconv.Itoa(a.Attempt)
	}
	for i := range n {
		if got := numbers[strconv.Itoa(i)]; got != "123" {
			t.Errorf("note %d has attempts %q, want 1, 2 and 3, whichever sender made them", i, got)
		}
	}
	if deadLetters := r.deadLetters("hook"); len(deadLetters) > 0 {
		t.Errorf("got %d dead letters, want none", len(deadLetters))
	}
}

// A receiver that never answers does not delay the deliveries of others.
func TestHangingReceiverDelaysNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	hanging := receive(t, func(_ http.ResponseWriter, got *request) {
		select {
		case <-done:
		case <-got.Context().Done():
		}
	})
	swift := receive(t, nil)
	slow := to("slow", hanging.URL, 0, time.Hour)
	slow.Endpoint.Timeout = subscription.Duration(30 * time.Second)
	slow = r.subscribe(slow)
	other := r.subscribe(to("swift", swift.URL))
	r.send(func(c *sender.Config) { c.Grace = time.Second })
	r.queue(slow, 0, 500)
	hanging.await(subscription.DefaultMaxInFlight)
	began := time.Now()
	r.queue(other, 0, 200)
	swift.await(200)
	r.awaitSettled(other)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("beside a receiver that hangs, 200 deliveries took %s", took)
	}
	if got := len(hanging.all()); got != subscription.DefaultMaxInFlight {
		t.Errorf("%d requests hang, want %d", got, subscription.DefaultMaxInFlight)
	}
}

// The queue of a paused subscription waits untouched, and goes on when it is
// resumed.
func TestPaused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("hook", rc.URL))
	r.send()
	r.queue(sub, 0, 20)
	rc.await(20)
	r.awaitSettled(sub)
	r.change("hook", func(s *subscription.Subscription) { s.State = subscription.Paused })
	r.queue(sub, 20, 100)
	// Another subscription shows that the sender has had time to do wrong.
	witness := r.subscribe(to("witness", rc.URL))
	for n := 1000; n < 1050; n++ {
		r.queue(witness, n, 1)
	}
	rc.await(70)
	r.awaitSettled(witness)
	eventually(t, func() (bool, string) {
		info, err := r.consumer(sub)
		if err != nil {
			return false, err.Error()
		}
		return info.NumWaiting == 0, fmt.Sprintf("%d pulls wait on a paused queue", info.NumWaiting)
	})
	if got := len(rc.all()); got != 70 {
		t.Errorf("%d requests were made, want 70: none for the paused subscription", got)
	}
	r.change("hook", func(s *subscription.Subscription) { s.State = subscription.Active })
	rc.await(170)
	r.awaitSettled(sub)
	rc.mu.Lock()
	rc.requests = rc.requests[:20:20] // without the witness's
	rc.mu.Unlock()
	if n := len(r.attempts(sub)); n != 120 {
		t.Errorf("%d attempts are recorded, want 120", n)
	}
}

// When a rotation is answered, whatever is sent from then on verifies with the new
// secret, and while they overlap with the old one; on every sender, under load.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	const rotations = 8
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("hook", rc.URL))
	r.send()
	r.send()

	// secrets[k] signs what is queued in round k; the one before too in even rounds.
	secrets := []string{secret}
	for round := 1; round <= rotations; round++ {
		overlap := time.Duration(0)
		if round%2 == 0 {
			overlap = time.Hour
		}
		r.queue(sub, round*1_000_000, 150) // is being sent meanwhile
		changed := r.change("hook", func(s *subscription.Subscription) {
			if _, err := s.Rotate(subscription.StandardTraits(), time.Now(), overlap, keyring.Secret{}); err != nil {
				t.Error(err)
			}
		})
		secrets = append(secrets, changed.Secrets[0].Secret.Reveal())
		for n := range 10 {
			if _, err := r.js.PublishMsg(t.Context(), queued(sub, newEvent(round*1000+n), time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() (bool, string) {
			var got int
			for _, a := range rc.all() {
				if n, _ := strconv.Atoi(a.note()); n/1000 == round {
					got++
				}
			}
			return got == 10, fmt.Sprintf("%d deliveries of round %d have arrived", got, round)
		})
	}
	r.awaitSettled(sub)

	verifies := func(got *request, with string) bool {
		verifier, err := webhooks.NewWebhook(with)
		if err != nil {
			t.Fatal(err)
		}
		return verifier.Verify(got.body, got.Header) == nil
	}
	for _, got := range rc.all() {
		n, _ := strconv.Atoi(got.note())
		round := n / 1000
		if round > rotations { // the load is signed by whatever was right then
			continue
		}
		if !verifies(got, secrets[round]) {
			t.Errorf("round %d: a delivery does not verify with the secret of its round", round)
		}
		if old := verifies(got, secrets[round-1]); old != (round%2 == 0) {
			t.Errorf("round %d: it verifies with the secret before: %t", round, old)
		}
	}
}

// Requests under way when the sender is stopped end, are recorded and settled;
// nothing of them comes again.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	const n, limit = 60, 20
	r := newRig(t)
	release := make(chan struct{})
	var hold atomic.Bool
	hold.Store(true)
	rc := receive(t, func(_ http.ResponseWriter, _ *request) {
		if hold.Load() {
			<-release
		}
	})
	sub := to("hook", rc.URL)
	sub.Delivery.MaxInFlight = limit
	sub = r.subscribe(sub)
	service := r.send(func(c *sender.Config) { c.Grace = patience })
	r.queue(sub, 0, n)
	rc.await(limit)
	stopped := make(chan struct{})
	go func() { service.stop(); close(stopped) }()
	eventually(t, func() (bool, string) {
		info, err := r.consumer(sub)
		if err != nil {
			return false, err.Error()
		}
		return info.NumWaiting == 0, "the sender still pulls"
	})
	hold.Store(false)
	close(release)
	select {
	case <-stopped:
	case <-testkit.Timeout():
		t.Fatal("the sender does not stop")
	}
	first := r.attempts(sub)
	if len(first) != limit || len(rc.all()) != limit {
		t.Errorf("%d requests, %d records, want %d of each: what was under way", len(rc.all()), len(first), limit)
	}
	for _, a := range first {
		if a.Outcome != delivery.Delivered {
			t.Errorf("note %s: got %s, want delivered", a.Event.ID, a.Outcome)
		}
	}
	r.send()
	rc.await(n)
	r.awaitSettled(sub)
	rc.wantOnce(0, n)
}

// Requests that do not end within the grace period are broken off, and another
// sender makes them again at once, whatever the schedule says.
func TestStopWithHangingReceiver(t *testing.T) {
	t.Parallel()
	const n = 5
	r := newRig(t)
	var free atomic.Bool
	rc := receive(t, func(_ http.ResponseWriter, got *request) {
		if !free.Load() {
			<-got.Context().Done()
		}
	})
	sub := to("hook", rc.URL, 0, time.Hour) // in an hour, or never after the last
	sub.Endpoint.Timeout = subscription.Duration(30 * time.Second)
	last := to("last", rc.URL, 0)
	last.Endpoint.Timeout = sub.Endpoint.Timeout
	sub, last = r.subscribe(sub), r.subscribe(last)
	service := r.send(func(c *sender.Config) { c.Grace = 300 * time.Millisecond })
	r.queue(sub, 0, n)
	r.queue(last, n, 1)
	rc.await(n + 1)
	began := time.Now()
	service.stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	free.Store(true)
	r.send()
	rc.await(2 * (n + 1))
	r.awaitSettled(sub)
	r.awaitSettled(last)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %s until they were made again", took)
	}
	for _, s := range []*subscription.Subscription{sub, last} {
		got := make(map[string][]delivery.Attempt)
		for _, a := range r.attempts(s) {
			got[a.Event.ID] = append(got[a.Event.ID], a)
		}
		for note, attempts := range got {
			if len(attempts) != 2 || attempts[0].Outcome != delivery.Retry || attempts[1].Outcome != delivery.Delivered || attempts[1].Attempt != 2 {
				t.Errorf("note %s of %s: got %+v, want one that was broken off and one that delivered", note, s.ID, attempts)
				continue
			}
			if a := attempts[0]; a.NextAttempt == nil || time.Until(*a.NextAttempt) > 0 || a.Error != "broken off: the sender was stopped" {
				t.Errorf("note %s of %s: the next attempt is due at %v, error %q, want at once", note, s.ID, a.NextAttempt, a.Error)
			}
		}
		if deadLetters := r.deadLetters(s.ID); len(deadLetters) > 0 {
			t.Errorf("%s has dead letters %+v, want none", s.ID, deadLetters)
		}
	}
}

// The NATS server goes away in the middle of the work: everything arrives, and no
// more comes twice than was under way.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	const n, limit = 2000, 64
	r := newRig(t)
	rc := receive(t, nil)
	sub := to("hook", rc.URL)
	sub.Delivery.MaxInFlight = limit
	sub = r.subscribe(sub)
	cfg := r.layout.SenderConsumerConfig(limit)
	cfg.AckWait = 4 * time.Second // so that what was lost on the way comes back soon
	if _, err := r.js.UpdateConsumer(t.Context(), sub.Queue.Stream, cfg); err != nil {
		t.Fatal(err)
	}
	r.queue(sub, 0, n)
	r.send()
	r.send()
	rc.await(n / 4)
	r.server.Restart()
	r.awaitSettled(sub)
	notes, repeats := rc.notes(), 0
	for i := range n {
		times := notes[strconv.Itoa(i)]
		if times == 0 {
			t.Errorf("note %d has not arrived", i)
		}
		repeats += max(0, times-1)
	}
	if repeats > limit {
		t.Errorf("%d deliveries were repeated, want at most the %d that may be under way", repeats, limit)
	}
	// Repeats are recognisable, and every request is on record.
	ids := make(map[string]string)
	for _, got := range rc.all() {
		if id := ids[got.note()]; id != "" && id != got.Header.Get("Webhook-Id") {
			t.Errorf("note %s came with ids %s and %s", got.note(), id, got.Header.Get("Webhook-Id"))
		}
		ids[got.note()] = got.Header.Get("Webhook-Id")
	}
	if records := len(r.attempts(sub)); records < n || records > len(rc.all()) {
		t.Errorf("%d attempts are recorded of %d requests", records, len(rc.all()))
	}
}

// A subscription that is deleted is not called any more.
func TestDeletedSubscription(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(to("hook", rc.URL))
	r.send()
	r.queue(sub, 0, 1)
	rc.await(1)
	r.awaitSettled(sub)
	if err := r.store.Delete(t.Context(), "hook", 0); err != nil {
		t.Fatal(err)
	}
	r.queue(sub, 1, 5)
	if err := r.layout.DeleteQueue(t.Context(), r.js, sub.Queue); err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Get(t.Context(), "hook"); !errors.Is(err, subscription.ErrNotFound) {
		t.Fatal(err)
	}
	again := r.subscribe(to("hook", rc.URL))
	r.queue(again, 10, 1)
	rc.await(2)
	r.awaitSettled(again)
	got := rc.notes()
	if len(got) != 2 || got["0"] != 1 || got["10"] != 1 {
		t.Errorf("got notes %v, want that before and that after the deletion", got)
	}
}

// A sender can be stopped while NATS is away. What it could not record is made
// again.
func TestStopWithoutServer(t *testing.T) {
	t.Parallel()
	const n = 5
	r := newRig(t)
	release := make(chan struct{})
	rc := receive(t, func(_ http.ResponseWriter, _ *request) { <-release })
	sub := r.subscribe(to("hook", rc.URL))
	cfg := r.layout.SenderConsumerConfig(subscription.DefaultMaxInFlight)
	cfg.AckWait = time.Second
	service := r.send(func(c *sender.Config) { c.Grace = 300 * time.Millisecond })
	r.queue(sub, 0, n)
	rc.await(n)
	r.server.Stop()
	close(release)
	began := time.Now()
	service.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	r.server.Start()
	eventually(t, func() (bool, string) {
		_, err := r.js.UpdateConsumer(t.Context(), sub.Queue.Stream, cfg)
		return err == nil, fmt.Sprint(err)
	})
	r.send()
	r.awaitSettled(sub)
	for note, times := range rc.notes() {
		if times != 2 {
			t.Errorf("note %s was sent %d times, want once by each sender", note, times)
		}
	}
}
