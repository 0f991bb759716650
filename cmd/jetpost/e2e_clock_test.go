package main

import (
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// startClocked runs a server whose clock the test can set, and with it that of the NATS
// server inside.
func startClocked(t *testing.T) (*server, *setClock) {
	t.Helper()
	clock := newClock(t)
	s := prepareServerIn(t, filepath.Join(t.TempDir(), "data"), "--allow-target", "127.0.0.0/8")
	s.clock = clock
	s.restart(t)
	return s, clock
}

// onSecond fails the first attempt of each delivery.
func onSecond(w http.ResponseWriter, _ *http.Request, a *arrival) {
	if a.nth == 1 {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// The clock of the machine is set back by hours: whatever waits by it, in NATS or for a
// sender, comes in the time it would have come.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-2 * time.Hour, -20 * time.Minute} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			s, clock := startClocked(t)
			timer, short, ordered := startCatcher(t, onSecond), startCatcher(t, onSecond), startCatcher(t, onSecond)
			down := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
				if a.nth == 1 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			s.subscribe(t, "timer", timer.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s", "12s"))})
			s.subscribe(t, "short", short.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s", "5s"))})
			terms := withoutBreaker(retrying(0, "0s", "12s"))
			terms["ordered"] = true
			s.subscribe(t, "ordered", ordered.URL, []string{"artifact.*"}, object{"delivery": terms})
			probed := retrying(0, "0s", "11s", "11s")
			probed["breaker"] = object{"failures": 1}
			s.subscribe(t, "down", down.URL, []string{"artifact.*"}, object{"delivery": probed})
			js := s.jetStream(t)
			for _, id := range []string{"short", "ordered"} {
				shortAckWait(t, js, "DELIVERIES_"+id, "sender") // or it is a minute late
			}
			s.publish(t, deployed("one", "libs"))
			for _, c := range []*catcher{timer, short, ordered, down} {
				c.waitFor(t, 1)
			}
			clock.set(t, by)
			for name, c := range map[string]*catcher{"timer": timer, "short": short, "ordered": ordered, "down": down} {
				if !holdsWithin(t.Context(), factDeadline, func() bool { return c.count() >= 2 }) {
					t.Errorf("the second attempt of %s has not been made", name)
				}
			}
			s.publish(t, deployed("two", "libs")) // and things go on
			for name, c := range map[string]*catcher{"timer": timer, "short": short, "ordered": ordered, "down": down} {
				if !holdsWithin(t.Context(), factDeadline, func() bool { return c.count() >= 4 }) {
					t.Errorf("of %s there are %d attempts, want 4", name, c.count())
				}
			}
		})
	}
}

// Set forward, nothing comes much sooner than it would have, and nothing is taken for
// older than it is.
func TestClockSetForward(t *testing.T) {
	t.Parallel()
	s, clock := startClocked(t)
	timer := startCatcher(t, onSecond)
	s.subscribe(t, "timer", timer.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s", "40s"))})
	soon := startCatcher(t, onSecond) // fires while the clock is being set
	s.subscribe(t, "soon", soon.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s", "11s"))})
	s.publish(t, deployed("one", "libs"))
	timer.waitFor(t, 1)
	soon.waitFor(t, 1)
	eventually(t, "the timers are stored", func() bool { return len(s.attempts(t, "timer")) == 1 && len(s.attempts(t, "soon")) == 1 })
	clock.set(t, 2*time.Hour)
	soon.waitFor(t, 2)
	got := timer.waitFor(t, 2)
	if wait := got[1].at.Sub(got[0].at); wait < 35*time.Second {
		t.Errorf("the second attempt was made after %s, want 40s", wait)
	}
}

// The clock was set back while nothing was running: what was stored before is of the
// future, and comes as if the time in between had not been.
func TestClockSetBackWhileStopped(t *testing.T) {
	t.Parallel()
	s, clock := startClocked(t)
	c := startCatcher(t, onSecond)
	s.subscribe(t, "timer", c.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s", "12s"))})
	const n = 5
	for i := range n {
		s.publish(t, deployed(strconv.Itoa(i), "libs"))
	}
	c.waitFor(t, n)
	eventually(t, "they are recorded", func() bool { return len(s.attempts(t, "timer")) == n })
	s.kill()
	clock.set(t, -3*time.Hour)
	s.restart(t)
	c.waitFor(t, 2*n)
}
