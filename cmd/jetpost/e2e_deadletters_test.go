package main

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
)

// switched is a receiver that fails until it is repaired.
func switched(tb testing.TB) (c *catcher, repaired *atomic.Bool) {
	tb.Helper()
	repaired = new(atomic.Bool)
	c = startCatcher(tb, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		if !repaired.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("down for <maintenance>"))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return c, repaired
}

// A receiver is down for longer than the schedule, and what was given up is made
// again when it is back: the whole schedule, the same ids, numbered on.
func TestRedriveJourney(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, repaired := switched(t)
	s.subscribe(t, "back", c.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s", "100ms"))})
	const many = 12
	for _, id := range numbered("lost", many) {
		s.publish(t, deployed(id, "libs"))
	}
	var letters []delivery.DeadLetter
	eventually(t, "all are dead letters", func() bool {
		letters = s.letters(t, "back")
		return len(letters) == many
	})
	shown := s.run(t, "deadletters", "show", strconv.FormatUint(letters[0].Sequence, 10))
	for _, want := range []string{"exhausted", letters[0].DeliveryID, "503", "down for <maintenance>", "artifact.deployed", `"repo_key"`} {
		if !strings.Contains(shown, want) {
			t.Errorf("the letter lacks %q:\n%s", want, shown)
		}
	}

	// Still down: it is given up again, after the whole schedule.
	first := letters[0]
	s.run(t, "deadletters", "redrive", strconv.FormatUint(first.Sequence, 10))
	eventually(t, "it is a dead letter again", func() bool {
		letters = s.letters(t, "back")
		return len(letters) == many && slices.ContainsFunc(letters, func(l delivery.DeadLetter) bool {
			return l.DeliveryID == first.DeliveryID && l.Sequence > first.Sequence && l.Attempts == 4
		})
	})

	repaired.Store(true)
	before := c.count()
	if out := s.run(t, "deadletters", "redrive", "back", "--dry-run"); !strings.Contains(out, "12 dead letters") {
		t.Errorf("dry run: %s", out)
	}
	if out := s.run(t, "deadletters", "redrive", "--all"); !strings.Contains(out, "done: redriven 12 of 12, failed 0") {
		t.Errorf("redrive: %s", out)
	}
	if left := s.letters(t, "back"); len(left) > 0 {
		t.Errorf("letters are left: %+v", left)
	}
	c.waitFor(t, before+many)
	want := make(map[string]string) // the last attempt of each delivery
	for _, l := range letters {
		want[l.DeliveryID] = strconv.Itoa(l.Attempts + 1)
	}
	got := make(map[string]string)
	for _, a := range c.arrivals()[before:] {
		got[a.id()] = a.attempt()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempts of the deliveries that were redriven (-want +got):\n%s", diff)
	}
	// The log distinguishes the attempts.
	var attempts []delivery.Attempt
	eventually(t, "all attempts are recorded", func() bool {
		attempts = s.attempts(t, "back")
		return len(attempts) == 3*many+2
	})
	numbers := make(map[string][]int)
	for _, a := range attempts {
		numbers[a.DeliveryID] = append(numbers[a.DeliveryID], a.Attempt)
	}
	for id, got := range numbers {
		for i, n := range got {
			if n != i+1 {
				t.Errorf("%s: attempts %v", id, got)
				break
			}
		}
	}
	if out := s.run(t, "deadletters", "jobs"); !strings.Contains(out, "done") || !strings.Contains(out, "100/s") {
		t.Errorf("jobs: %s", out)
	}
}

// The server is killed in the middle of a job, twice. The job goes on, nothing is
// lost, and what arrives twice was in flight.
func TestRedriveSurvivesKill(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, repaired := switched(t)
	more := object{"delivery": withoutBreaker(retrying(0, "0s"))}
	more["delivery"].(object)["max_in_flight"] = 8
	s.subscribe(t, "back", c.URL, []string{"artifact.*"}, more)
	const many = 150
	for _, id := range numbered("lost", many) {
		s.publish(t, deployed(id, "libs"))
	}
	eventually(t, "all are dead letters", func() bool { return len(s.letters(t, "back")) == many })
	repaired.Store(true)
	before := c.count()
	var job v1.RedriveJob
	s.call(t, http.MethodPost, "/v1/redrives", object{"subscription": "back", "rate": 50}, &job)
	for _, part := range []int{many / 5, many / 2} {
		eventually(t, "a part is delivered", func() bool { return c.count()-before >= part })
		s.kill()
		s.restart(t)
	}
	eventuallyWithin(t, 2*factDeadline, "the job ends", func() bool {
		s.call(t, http.MethodGet, "/v1/redrives/"+job.ID, nil, &job)
		return job.State != "running"
	})
	if job.State != "done" || job.Done != many || job.Failed > 0 {
		t.Errorf("the job: %+v", job)
	}
	arrived := func() map[string]int {
		times := make(map[string]int)
		for _, a := range c.arrivals()[before:] {
			times[a.id()]++
		}
		return times
	}
	eventuallyWithin(t, 2*factDeadline, "all are delivered", func() bool { return len(arrived()) == many })
	if letters := s.letters(t, "back"); len(letters) > 0 {
		t.Errorf("letters are left: %+v", letters)
	}
	repeats := 0
	for n := range maps.Values(arrived()) {
		repeats += n - 1
	}
	if most := 2 * (8 + 1); repeats > most { // two kills, in each what was in flight, and one letter
		t.Errorf("%d repeats, want at most %d", repeats, most)
	}
	t.Logf("%d letters, 2 kills, %d repeats, %d deliveries in flight at a time", many, repeats, 8)
}

// While a delivery waits for its next attempt, an operator requests one more. One that
// fails changes nothing about the schedule; one that succeeds ends it.
func TestRedeliverWhileRetryWaits(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth != 3 { // the first of the schedule, and the first that is asked for
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	s.subscribe(t, "slow", c.URL, []string{"artifact.*"}, object{"delivery": retrying(0, "0s", "1h")}) // a timer
	s.publish(t, deployed("one", "libs"))
	js := s.jetStream(t)
	eventually(t, "the retry is a timer", func() bool { return retryTimers(t, js) == 1 })
	id := c.waitFor(t, 1)[0].id()

	failed := s.start(t, "redeliver", "slow", id)
	if code := failed.wait(t); code == 0 || !strings.Contains(failed.stdout.String(), "manual") || !strings.Contains(failed.stderr.String(), "has not accepted") {
		t.Errorf("exit code %d: %s%s", code, failed.stdout, failed.stderr)
	}
	if got := retryTimers(t, js); got != 1 {
		t.Errorf("%d timers after an attempt by hand that failed, want 1", got)
	}
	if out := s.run(t, "redeliver", "slow", id); !strings.Contains(out, "delivered") || !strings.Contains(out, "manual") {
		t.Errorf("got %s", out)
	}
	eventually(t, "the retry is cancelled", func() bool { return retryTimers(t, js) == 0 })
	if letters := s.letters(t, "slow"); len(letters) > 0 {
		t.Errorf("letters %+v, want none", letters)
	}
	got := c.waitFor(t, 3)
	if len(got) != 3 {
		t.Errorf("%d requests were made, want 3", len(got))
	}
	for i, a := range got {
		if a.id() != id || a.attempt() != "1" {
			t.Errorf("request %d is attempt %s of %s, want 1 of %s", i+1, a.attempt(), a.id(), id)
		}
	}
	var attempts []delivery.Attempt
	eventually(t, "three attempts are recorded", func() bool {
		attempts = s.attempts(t, "slow")
		return len(attempts) == 3
	})
	for i, want := range []struct {
		outcome delivery.Outcome
		manual  bool
	}{{delivery.Retry, false}, {delivery.Exhausted, true}, {delivery.Delivered, true}} {
		if a := attempts[i]; a.Attempt != 1 || a.Outcome != want.outcome || a.Manual != want.manual || a.DeliveryID != id {
			t.Errorf("attempt %d: got %+v, want %+v", i+1, a, want)
		}
		if attempts[i].Manual && attempts[i].NextAttempt != nil {
			t.Errorf("attempt %d was asked for, and has another behind it", i+1)
		}
	}
}

// Ctrl-C ends the command and not the job.
func TestRedriveInterrupted(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, repaired := switched(t)
	s.subscribe(t, "back", c.URL, []string{"artifact.*"}, object{"delivery": withoutBreaker(retrying(0, "0s"))})
	const many = 20
	for _, id := range numbered("lost", many) {
		s.publish(t, deployed(id, "libs"))
	}
	eventually(t, "all are dead letters", func() bool { return len(s.letters(t, "back")) == many })
	repaired.Store(true)
	before := c.count()
	p := s.start(t, "deadletters", "redrive", "back", "--rate", "2")
	c.waitFor(t, before+1)
	if code := p.stop(t); code != 0 || !strings.Contains(p.stderr.String(), "jetpost deadletters cancel rd-") {
		t.Errorf("exit code %d: %s%s", code, p.stdout, p.stderr)
	}
	c.waitFor(t, before+3) // it goes on
	_, rest, _ := strings.Cut(p.stderr.String(), "jetpost deadletters cancel ")
	id, _, _ := strings.Cut(rest, "\n")
	if out := s.run(t, "deadletters", "cancel", id); !strings.Contains(out, "cancelled") {
		t.Errorf("got %s", out)
	}
	if out := s.run(t, "deadletters", "jobs", id); !strings.Contains(out, "cancelled: redriven") {
		t.Errorf("got %s", out)
	}
	s.run(t, "deadletters", "discard", "back", "--why", "enough")
	eventually(t, "none is left", func() bool { return len(s.letters(t, "back")) == 0 })
	if got := c.count() - before; got >= many {
		t.Errorf("%d were redriven after all", got)
	}
}
