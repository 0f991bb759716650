package main

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
)

// lateness is how much later than planned an attempt may begin on a machine under
// load. The server looks at what is due a few times a second.
const lateness = 3 * time.Second

// checkSchedule compares the attempts of one delivery with its schedule: numbered
// from 1, planned within the jitter, and made when they were planned.
func checkSchedule(t *testing.T, attempts []delivery.Attempt, jitter float64, schedule ...time.Duration) {
	t.Helper()
	if len(attempts) != len(schedule) {
		t.Fatalf("%d attempts, want %d: %+v", len(attempts), len(schedule), attempts)
	}
	for i, a := range attempts {
		if a.Attempt != i+1 || a.DeliveryID != attempts[0].DeliveryID {
			t.Errorf("the attempt in place %d has number %d, of %s", i+1, a.Attempt, a.DeliveryID)
		}
		if i == 0 {
			continue
		}
		if attempts[i-1].NextAttempt == nil {
			t.Fatalf("attempt %d has another one behind it, and does not say when", i)
		}
		planned, ended := *attempts[i-1].NextAttempt, attempts[i-1].At.Add(time.Duration(attempts[i-1].Duration))
		delay, spread := schedule[i], time.Duration(jitter*float64(schedule[i]))
		// It is planned a moment after the request has ended.
		if got := planned.Sub(ended); got < delay-spread-time.Millisecond || got > delay+spread+lateness {
			t.Errorf("attempt %d was planned %v after the one before, want %v ± %v", a.Attempt, got, delay, spread)
		}
		if late := a.At.Sub(planned); late < -50*time.Millisecond || late > lateness {
			t.Errorf("attempt %d began %v after it was due", a.Attempt, late)
		}
	}
}

// Three failures of different kinds, then success: every attempt is numbered and
// recorded, and comes when the schedule says. A receiver may ask for patience.
func TestRetriedThenDelivered(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		switch a.nth {
		case 1:
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("out of order"))
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	})
	const jitter = 0.2
	sub := s.subscribe(t, "patient", c.URL, []string{"artifact.*"}, object{"delivery": retrying(jitter, "0s", "1s", "1500ms", "300ms", "1h")})
	s.publish(t, deployed("one", "libs"))
	got := c.waitFor(t, 4)
	for i, a := range got {
		if a.id() != got[0].id() || a.attempt() != strconv.Itoa(i+1) {
			t.Errorf("request %d is attempt %s of %s", i+1, a.attempt(), a.id())
		}
		if err := a.verify(sub.Secret); err != nil {
			t.Errorf("attempt %d: %v", i+1, err)
		}
		if string(a.body) != string(got[0].body) {
			t.Errorf("attempt %d has another body: %s", i+1, a.body)
		}
	}
	var attempts []delivery.Attempt
	eventually(t, "four attempts are recorded", func() bool {
		attempts = s.attempts(t, "patient")
		return len(attempts) == 4
	})
	for i, want := range []struct {
		outcome delivery.Outcome
		status  int
		body    string
		failed  bool
	}{
		{delivery.Retry, http.StatusInternalServerError, "out of order", false},
		{delivery.Retry, 0, "", true},
		{delivery.Retry, http.StatusTooManyRequests, "", false},
		{delivery.Delivered, http.StatusAccepted, "", false},
	} {
		if a := attempts[i]; a.Outcome != want.outcome || a.Status != want.status || a.ResponseBody != want.body || (a.Error != "") != want.failed {
			t.Errorf("attempt %d: got %+v, want %+v", i+1, a, want)
		}
	}
	// Retry-After is longer than the schedule's last delay.
	checkSchedule(t, attempts[:3], jitter, 0, time.Second, 1500*time.Millisecond)
	if got := attempts[2].NextAttempt.Sub(attempts[2].At); got < 2*time.Second || got > 2*time.Second+lateness {
		t.Errorf("after Retry-After: 2 the next attempt was planned %v later", got)
	}
	if late := attempts[3].At.Sub(*attempts[2].NextAttempt); late < -50*time.Millisecond || late > lateness {
		t.Errorf("the attempt after Retry-After began %v after it was due", late)
	}
	if letters := s.letters(t, "patient"); len(letters) > 0 {
		t.Errorf("there are dead letters: %+v", letters)
	}
}

// Waits of more than ten seconds are timers on a stream of their own. They make
// room in the queue, and are as exact.
func TestLongDelay(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		switch {
		case a.nth == 1 && a.attempt() == "1":
			w.Header().Set("Retry-After", time.Now().Add(12*time.Second).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
	more := object{"delivery": retrying(0, "0s", "11s")}
	more["delivery"].(object)["max_in_flight"] = 1
	s.subscribe(t, "timers", c.URL, []string{"artifact.*"}, more)
	const deliveries = 3 // all of them wait at the same time
	for _, id := range numbered("late", deliveries) {
		s.publish(t, deployed(id, "libs"))
	}
	js := s.jetStream(t)
	eventually(t, "all retries are timers", func() bool { return retryTimers(t, js) == deliveries })
	eventually(t, "all are delivered", func() bool { return len(s.attempts(t, "timers")) == 2*deliveries })
	byDelivery := make(map[string][]delivery.Attempt)
	for _, a := range s.attempts(t, "timers") {
		byDelivery[a.DeliveryID] = append(byDelivery[a.DeliveryID], a)
	}
	for id, attempts := range byDelivery {
		// The date in the header is of whole seconds.
		if got := attempts[0].NextAttempt.Sub(attempts[0].At); got < 11*time.Second-50*time.Millisecond || got > 12*time.Second+lateness {
			t.Errorf("%s: the next attempt was planned %v later", id, got)
		}
		if late := attempts[1].At.Sub(*attempts[0].NextAttempt); late < -50*time.Millisecond || late > lateness {
			t.Errorf("%s: attempt 2 began %v after it was due", id, late)
		}
		if attempts[1].Attempt != 2 || attempts[1].Outcome != delivery.Delivered {
			t.Errorf("%s: got %+v", id, attempts[1])
		}
	}
	for _, a := range c.arrivals()[deliveries:] {
		if a.attempt() != "2" {
			t.Errorf("%s came back as attempt %s", a.id(), a.attempt())
		}
	}
	eventually(t, "no timer is left", func() bool { return retryTimers(t, js) == 0 })
}

// What fails to the end of its schedule is kept as a dead letter.
func TestExhausted(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		w.WriteHeader(http.StatusBadGateway)
	})
	s.subscribe(t, "exhausted", c.URL, []string{"artifact.*"}, object{"delivery": retrying(0, "0s", "100ms", "1s")})
	h := deployed("one", "libs")
	stored := s.publish(t, h)
	var letters []delivery.DeadLetter
	eventually(t, "there is a dead letter", func() bool {
		letters = s.letters(t, "exhausted")
		return len(letters) == 1
	})
	letter := letters[0]
	if letter.DeliveryID != delivery.ID("exhausted", h.source, h.id) || letter.Reason != delivery.ReasonExhausted || letter.Attempts != 3 ||
		letter.Status != http.StatusBadGateway || letter.Event.ID != "one" || letter.Event.Sequence != stored.Sequence {
		t.Errorf("got %+v", letter)
	}
	attempts := s.attempts(t, "exhausted")
	checkSchedule(t, attempts, 0, 0, 100*time.Millisecond, time.Second)
	for i, want := range []delivery.Outcome{delivery.Retry, delivery.Retry, delivery.Exhausted} {
		if attempts[i].Outcome != want {
			t.Errorf("attempt %d: got %s, want %s", i+1, attempts[i].Outcome, want)
		}
	}
	if got := c.count(); got != 3 {
		t.Errorf("%d requests, want 3", got)
	}
	if got := s.subscription(t, "exhausted").State; got != "active" {
		t.Errorf("the subscription is %s", got)
	}
}

// 410 Gone disables the subscription: nothing more is sent, what comes later does
// not match, and what waited is kept until it is resumed.
func TestGone(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	back := make(chan struct{})
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		select {
		case <-back:
			w.WriteHeader(http.StatusOK)
		default:
			w.WriteHeader(http.StatusGone)
		}
	})
	other := startCatcher(t, nil)
	more := object{"delivery": object{"max_in_flight": 1}}
	s.subscribe(t, "leaver", c.URL, []string{"artifact.*"}, more)
	s.subscribe(t, "stayer", other.URL, []string{"artifact.*"}, nil)
	s.call(t, http.MethodPost, "/v1/subscriptions/leaver/pause", nil, nil)
	s.publish(t, deployed("a-gone", "libs"))
	s.publish(t, deployed("b-waits", "libs"))
	other.exactly(t, 2)
	s.call(t, http.MethodPost, "/v1/subscriptions/leaver/resume", nil, nil)
	eventually(t, "the subscription is disabled", func() bool {
		sub := s.subscription(t, "leaver")
		return sub.State == "disabled" && sub.StateReason == "receiver answered 410 Gone"
	})
	s.publish(t, deployed("c-too-late", "libs"))
	other.exactly(t, 3)
	eventually(t, "there is a dead letter", func() bool { return len(s.letters(t, "leaver")) == 1 })
	if letter := s.letters(t, "leaver")[0]; letter.Reason != delivery.ReasonGone || letter.Event.ID != "a-gone" || letter.Attempts != 1 {
		t.Errorf("got %+v", letter)
	}
	if attempts := s.attempts(t, "leaver"); len(attempts) != 1 || attempts[0].Outcome != delivery.Gone || c.count() != 1 {
		t.Errorf("%d requests, attempts %+v, want one", c.count(), attempts)
	}
	close(back)
	s.call(t, http.MethodPost, "/v1/subscriptions/leaver/resume", nil, nil)
	s.publish(t, deployed("d-new", "libs"))
	got := c.waitFor(t, 3)
	if ids := eventIDs(t, got[1:]); len(ids) != 2 || ids[0] != "b-waits" || ids[1] != "d-new" {
		t.Errorf("after resuming %v arrived, want b-waits and d-new", ids)
	}
}

// A redirect is a failure. The place it points to hears nothing.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	elsewhere := startCatcher(t, nil)
	c := startCatcher(t, func(w http.ResponseWriter, r *http.Request, a *arrival) {
		http.Redirect(w, r, elsewhere.URL, []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}[(a.nth-1)%4])
	})
	s.subscribe(t, "moved", c.URL, []string{"artifact.*"}, object{"delivery": retrying(0, "0s", "10ms", "10ms", "10ms")})
	s.publish(t, deployed("one", "libs"))
	eventually(t, "there is a dead letter", func() bool { return len(s.letters(t, "moved")) == 1 })
	attempts := s.attempts(t, "moved")
	if len(attempts) != 4 {
		t.Fatalf("got attempts %+v", attempts)
	}
	for i, want := range []int{301, 302, 307, 308} {
		if a := attempts[i]; a.Status != want || a.Error == "" || a.Outcome == delivery.Delivered {
			t.Errorf("attempt %d: got %+v, want a failure with status %d", i+1, a, want)
		}
	}
	if got := elsewhere.count(); got > 0 {
		t.Errorf("%d redirects were followed", got)
	}
}

// Retries that come to one sender now and to another one then are counted as one
// series: numbered without a gap, and given up after the last of the schedule.
func TestRetriesAcrossSenders(t *testing.T) {
	t.Parallel()
	sp := startSplit(t)
	second := sp.join(t, "sender")
	const fails = 7
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth <= fails {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	schedule := slices.Repeat([]string{"50ms"}, fails+2)
	schedule[0] = "0s"
	both := func(delivery object) object {
		delivery["senders"] = 2
		return object{"delivery": withoutBreaker(delivery)}
	}
	sp.subscribe(t, "recovers", c.URL, []string{"artifact.*"}, both(retrying(0, schedule...)))
	sp.subscribe(t, "gives-up", c.URL, []string{"artifact.*"}, both(retrying(0, schedule[:fails-1]...)))
	const events = 30
	for _, id := range numbered("event", events) {
		sp.publish(t, deployed(id, "libs"))
	}
	for id, want := range map[string]int{"recovers": fails + 1, "gives-up": fails - 1} {
		var attempts []delivery.Attempt
		eventually(t, id+": all attempts are recorded", func() bool {
			attempts = sp.attempts(t, id)
			return len(attempts) >= want*events
		})
		last := make(map[string]int)
		for _, a := range attempts {
			if a.Attempt != last[a.DeliveryID]+1 {
				t.Errorf("%s: attempt %d of %s follows attempt %d", id, a.Attempt, a.DeliveryID, last[a.DeliveryID])
			}
			last[a.DeliveryID] = a.Attempt
			if ended := a.Outcome != delivery.Retry; ended != (a.Attempt == want) {
				t.Errorf("%s: attempt %d of %s is %s", id, a.Attempt, a.DeliveryID, a.Outcome)
			}
		}
		for _, a := range c.arrivals() {
			if a.header.Get("Jetpost-Subscription") == id && a.attempt() != strconv.Itoa(a.nth) {
				t.Errorf("%s: request %d for %s says attempt %s", id, a.nth, a.id(), a.attempt())
			}
		}
		if len(attempts) != want*events || len(last) != events {
			t.Errorf("%s: %d attempts of %d deliveries, want %d of %d", id, len(attempts), len(last), want*events, events)
		}
	}
	eventually(t, "the others are dead letters", func() bool { return len(sp.letters(t, "gives-up")) == events })
	for _, letter := range sp.letters(t, "gives-up") {
		if letter.Attempts != fails-1 || letter.Reason != delivery.ReasonExhausted {
			t.Errorf("got %+v", letter)
		}
	}
	for _, sender := range []*server{sp.sender, second} {
		if len(sender.stderr.lines(`"msg":"attempt"`)) < events {
			t.Error("one sender has made nearly all requests: this proves nothing")
		}
	}
}
