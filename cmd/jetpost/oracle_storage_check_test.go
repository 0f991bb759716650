package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// awaitLosses waits until jetpost has found what is lost, checks what it says, and accepts
// it, until it is ready and has found everything.
func (o *storageOracle) awaitLosses(t *testing.T, expected []expectedLoss) {
	t.Helper()
	found := map[string]bool{}
	eventuallyWithin(t, 2*factDeadline, "everything that is lost is found, and it is ready once that is accepted", func() bool {
		if r := o.do(t, http.MethodGet, "/v1/storage", nil); r.status == http.StatusServiceUnavailable {
			return false // it is starting
		}
		open := slices.DeleteFunc(o.storageOf(t).Losses, func(l inventory.Loss) bool { return !l.Open() })
		if len(open) == 0 {
			all := !slices.ContainsFunc(expected, func(e expectedLoss) bool { return len(e.kinds) > 0 && !e.maybe && !found[e.stream] })
			r := o.do(t, http.MethodGet, "/readyz", nil)
			return all && r.status == http.StatusOK
		}
		ready := o.do(t, http.MethodGet, "/readyz", nil)
		if ready.status != http.StatusServiceUnavailable {
			t.Errorf("/readyz is %d while this is lost: %+v", ready.status, open)
		}
		if slices.ContainsFunc(open, func(l inventory.Loss) bool { return !strings.Contains(string(ready.body), l.Stream) }) {
			return false // it says so once it has looked at everything
		}
		var names []string
		for _, l := range open {
			at := slices.IndexFunc(expected, func(e expectedLoss) bool { return e.stream == l.Stream })
			if at < 0 || !expected[at].allows(l) {
				t.Errorf("it says that this is lost: %+v, want %+v", l, expected)
			}
			found[l.Stream] = true
			names = append(names, l.Stream)
			if l.Kind == inventory.Missing && !strings.HasPrefix(l.Stream, "DELIVERIES_") && l.Stream != "KV_inventory" {
				o.wantRefused(t, l.Stream)
			}
		}
		if o.random.IntN(4) == 0 {
			o.stop(t)
			o.startHeld(t, "--accept-loss", strings.Join(names, ","))
			return false
		}
		if r := o.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": names, "reason": "test"}); r.status != http.StatusOK {
			t.Errorf("accept the loss of %s: %d %s", names, r.status, r.body)
		}
		return t.Failed()
	})
}

// wantRefused checks that nothing is accepted while a stream is missing that is needed.
func (o *storageOracle) wantRefused(t *testing.T, stream string) {
	t.Helper()
	body, header := happened("wanted", "refused", 10).binary()
	if r := o.do(t, http.MethodPost, "/v1/events", body, header...); r.status != http.StatusServiceUnavailable {
		t.Errorf("an event is answered with %d %s while %s is missing", r.status, r.body, stream)
	}
}

// allows reports whether a loss is the one that is expected.
func (e *expectedLoss) allows(l inventory.Loss) bool {
	is := func(got, want uint64) bool { return want == anyNumber || got == want }
	for unseen := range e.unseen + 1 {
		less := func(n uint64) uint64 {
			if n == anyNumber {
				return n
			}
			return n - unseen
		}
		if is(l.Was, less(e.was)) && is(l.Now, e.now) && is(l.Count, less(e.count)) {
			return slices.Contains(e.kinds, l.Kind)
		}
	}
	return false
}

// repair does what a person has to: subscriptions that are lost are created again, and
// what they were owed before that is looked for. What waits may go.
func (o *storageOracle) repair(t *testing.T, expected []expectedLoss) {
	t.Helper()
	for _, s := range o.subs {
		if r := o.do(t, http.MethodGet, "/v1/subscriptions/"+s.id, nil); r.status != http.StatusNotFound {
			continue
		}
		if !slices.ContainsFunc(expected, func(e expectedLoss) bool { return e.stream == "KV_subscriptions" }) {
			t.Errorf("subscription %s is gone", s.id)
		}
		o.make(t, s)
		var found struct{ Made uint64 }
		o.call(t, http.MethodPost, "/v1/subscriptions/"+s.id+"/reconcile", object{"since": o.began.UTC().Format(time.RFC3339)}, &found)
		o.remade += int(found.Made) //nolint:gosec // a count
	}
	o.call(t, http.MethodPost, "/v1/subscriptions/waiting/resume", nil, nil)
}

// check waits until all is delivered, and compares requests, records, dead letters and what
// jetpost says of its repairs with what they must be.
func (o *storageOracle) check(t *testing.T) {
	t.Helper()
	for _, s := range o.subs {
		if !holdsWithin(t.Context(), 2*factDeadline, func() bool { return len(o.missing(t, s)) == 0 }) {
			t.Errorf("%s does not get %v", s.id, o.missing(t, s))
		}
	}
	js := o.jetStream(t)
	eventually(t, "nothing waits any more", func() bool {
		left, err := waiting(t.Context(), js)
		return err == nil && left == ""
	})
	for _, s := range o.subs {
		requests := o.requestsOf(t, s)
		for id, n := range requests {
			switch {
			case s.times[id] == 0:
				t.Errorf("%s got %s, which was not published", s.id, id)
			case n > s.times[id] && s.again[id]:
				o.repeated += n - s.times[id]
				s.times[id], s.again[id] = n, false
				s.cameAgain++
			case n == s.times[id]+1 && o.routedAgain() && (s.id == "dead" || s.id == "later" && failsFirst(id)):
				// The log is routed again from the last place on that is known. What has
				// failed before is made again (ADR 28).
				o.repeated++
				s.times[id] = n
			case n > s.times[id]:
				t.Errorf("%s got %s %d times, want %d", s.id, id, n, s.times[id])
			}
		}
		for id := range s.maybe {
			if requests[id] < s.times[id] {
				o.given++
				s.times[id] = requests[id]
			}
		}
		clear(s.maybe)
		o.checkRecorded(t, s, requests)
	}
	o.checkLetters(t)
	if r := o.do(t, http.MethodGet, "/readyz", nil); r.status != http.StatusOK {
		t.Errorf("/readyz: %d %s", r.status, r.body)
	}
}

// routedAgain reports whether the last events of the log may be routed once more.
func (o *storageOracle) routedAgain() bool { _, is := o.lost["EVENTS_shop"]; return is }

// missing are the events that a subscription has still to get.
func (o *storageOracle) missing(t *testing.T, s *storageSub) (ids []string) {
	t.Helper()
	requests := o.requestsOf(t, s)
	for id, times := range s.times {
		if requests[id] < times && !s.maybe[id] {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// checkRecorded compares the requests with their records.
func (o *storageOracle) checkRecorded(t *testing.T, s *storageSub, requests map[string]int) {
	t.Helper()
	records := o.recordsOf(t, s)
	for id, n := range requests {
		lost := o.unrecorded[s.id+" "+id]
		if got := len(records[id]); got > n || got < n-lost {
			t.Errorf("%s: %d requests for %s have %d records, and those of %d were lost", s.id, n, id, got, lost)
		}
		for i, a := range records[id] {
			if lost == 0 && n <= 2 && a.Attempt != i+1 && !s.again[id] {
				t.Errorf("%s: record %d of %s is of attempt %d", s.id, i+1, id, a.Attempt)
			}
		}
	}
}

// checkLetters compares the dead letters with what must be one.
func (o *storageOracle) checkLetters(t *testing.T) {
	t.Helper()
	for _, s := range o.subs {
		got := map[string]int{}
		for _, letter := range o.letters(t, s.id) {
			got[letter.Event.ID]++
			if s.id != "dead" {
				t.Errorf("%s has a dead letter: %+v", s.id, letter)
			}
		}
		if s.id != "dead" {
			continue
		}
		for id := range s.times {
			if got[id] == 0 && !o.lettersLost[id] {
				t.Errorf("%s is no dead letter", id)
			}
		}
	}
}

// checkRemade compares how many deliveries jetpost says that it has made again, by itself,
// with how many were in what it has lost, and nowhere else but in the event log. When it
// looks for these, it makes those again as well of which an earlier fault has lost the
// records: nothing says that they were made. They are counted as they arrive.
func (o *storageOracle) checkRemade(t *testing.T, owed map[string]int) {
	t.Helper()
	_, alone := o.lost["KV_subscriptions"]
	_, unknown := o.lost["ATTEMPTS"]
	if alone || unknown { // a person has asked for it; or it is not known what was made
		return
	}
	for stream, want := range owed {
		for _, s := range o.subs {
			if stream == "DELIVERIES_"+s.id || stream == shardOf(s.id) {
				want += s.cameAgain
			}
		}
		made := 0
		for _, l := range o.lossesSince(t, stream) {
			made += int(l.Remade) //nolint:gosec // a count
		}
		if made != want {
			t.Errorf("it has made %d deliveries of %s again, want %d", made, stream, want)
		}
		o.remade += made
	}
}

// awaitReconciled waits until jetpost has looked for all that was owed by what it has lost: what
// it makes again after that belongs to another fault.
func (o *storageOracle) awaitReconciled(t *testing.T, expected []expectedLoss) {
	t.Helper()
	for _, e := range expected {
		if !strings.HasPrefix(e.stream, "DELIVERIES_") && !strings.HasPrefix(e.stream, "RETRIES_") {
			continue
		}
		eventually(t, "what was lost with "+e.stream+" is looked for", func() bool {
			return !slices.ContainsFunc(o.lossesSince(t, e.stream), func(l inventory.Loss) bool { return l.Reconciled.IsZero() })
		})
	}
}

// lossesSince are the losses of a stream that were found since the last fault.
func (o *storageOracle) lossesSince(t *testing.T, stream string) []inventory.Loss {
	t.Helper()
	return slices.DeleteFunc(o.storageOf(t).Losses, func(l inventory.Loss) bool { return l.Stream != stream || l.Found.Before(o.damaged) })
}
