package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/testkit"
)

// TestOracleOfStorage takes streams away and damages files while nothing runs, one fault or
// two at a time, and starts again on what is left. What was in the files before and is
// after says what jetpost must report: the right streams, with the right numbers, and no
// others. Until that is accepted it is not ready. Then every delivery is made that the
// event log, a queue or a retry timer still knows of, with the number of attempts that it
// had, and nothing is made twice but what the attempt log has lost.
func TestOracleOfStorage(t *testing.T) {
	t.Parallel()
	seed := uint64(numberFrom(t, seedVariable, int(time.Now().UnixNano()&0xffff_ffff)))
	faults := max(numberFrom(t, faultsVariable, 48)/8, 4)
	t.Logf("%s=%d", seedVariable, seed)
	for life, faults := range livesOf(planStorage(rand.New(rand.NewPCG(seed, 2000)), faults)) { //nolint:gosec // a plan, no secret
		t.Run(fmt.Sprint(life), func(t *testing.T) {
			t.Parallel()
			o := newStorageOracle(t, rand.New(rand.NewPCG(seed, 2001+uint64(life)))) //nolint:gosec // a plan, no secret
			for _, together := range faults {
				o.suffer(t, together)
			}
			o.report(t, seed, life)
		})
	}
}

// A storageOracle is one installation and what it owes.
type storageOracle struct {
	*server

	random *rand.Rand
	began  time.Time
	subs   []*storageSub
	rounds int

	round []string // the events that were published since the last fault
	// lost are the messages that were taken from each stream in this round.
	lost map[string][]storedMessage
	// unrecorded are requests whose records were lost, by subscription and event.
	unrecorded  map[string]int
	lettersLost map[string]bool // events whose dead letters were lost

	stopping time.Time // when it was told to stop before the last fault
	damaged  time.Time // when that happened

	faults, published, remade, given, repeated int
}

// A storageSub is a subscription with a receiver of its own, and how often that must get
// each event.
type storageSub struct {
	id    string
	c     *catcher
	more  object
	times map[string]int  // by event
	maybe map[string]bool // those that nothing knows of any more
	again map[string]bool // those that may come once more: whenever it is looked for what is owed
	// cameAgain is how many of these have come once more since the last fault.
	cameAgain int

	got  map[string]int // of the first read arrivals, by event
	read int
}

// retriesAfter is longer than what waits on the queue waits, so that there is a timer.
const retriesAfter = "12s"

func newStorageOracle(t *testing.T, random *rand.Rand) *storageOracle {
	t.Helper()
	o := &storageOracle{
		server: prepareServerIn(t, t.TempDir()+"/data", "--allow-target", "127.0.0.0/8", "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t)),
		random: random, began: time.Now(), unrecorded: map[string]int{}, lettersLost: map[string]bool{},
	}
	o.restart(t)
	failsOnce := func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if e, err := a.event(); err == nil && a.nth == 1 && failsFirst(e.ID()) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	refuses := func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		w.WriteHeader(http.StatusInternalServerError)
	}
	for _, s := range []struct {
		id      string
		answer  func(http.ResponseWriter, *http.Request, *arrival)
		options object
	}{
		{"quick", nil, object{}},
		{"turns", nil, object{"ordered": true}},
		{"waiting", nil, object{}},
		{"later", failsOnce, withoutBreaker(retrying(0, "0s", retriesAfter, "1s"))},
		{"dead", refuses, withoutBreaker(retrying(0, "0s"))},
	} {
		sub := &storageSub{
			id: s.id, c: startCatcher(t, s.answer), more: object{"delivery": s.options},
			times: map[string]int{}, maybe: map[string]bool{}, again: map[string]bool{}, got: map[string]int{},
		}
		o.subs = append(o.subs, sub)
		o.make(t, sub)
	}
	return o
}

// failsFirst reports whether the first request for an event fails at later.
func failsFirst(id string) bool { return strings.HasSuffix(id, "0") || strings.HasSuffix(id, "5") }

func (o *storageOracle) make(t *testing.T, s *storageSub) {
	t.Helper()
	o.subscribe(t, s.id, s.c.URL, []string{"shop.wanted"}, s.more)
}

func (o *storageOracle) sub(id string) *storageSub {
	return o.subs[slices.IndexFunc(o.subs, func(s *storageSub) bool { return s.id == id })]
}

// suffer publishes events, stops with some of their deliveries made and others not, does
// what is planned, and starts again.
func (o *storageOracle) suffer(t *testing.T, faults []storageFault) {
	t.Helper()
	o.rounds++
	o.call(t, http.MethodPost, "/v1/subscriptions/waiting/pause", nil, nil)
	o.round, o.lost = nil, map[string][]storedMessage{}
	o.publishSome(t, 8+o.random.IntN(20))
	for _, s := range o.subs {
		if s.id != "waiting" {
			eventually(t, s.id+" has its deliveries", func() bool {
				requests := o.requestsOf(t, s)
				return !slices.ContainsFunc(o.round, func(id string) bool { return requests[id] == 0 })
			})
		}
	}
	eventually(t, "what fails is a dead letter", func() bool {
		got := 0
		for _, letter := range o.letters(t, "dead") {
			if slices.Contains(o.round, letter.Event.ID) {
				got++
			}
		}
		return got == len(o.round)
	})
	// A message that was damaged stays, and counts.
	eventually(t, "what waits is queued", func() bool { return o.backlog(t, "waiting") >= len(o.round) })
	o.stopping = time.Now()
	o.stop(t)
	o.damaged = time.Now()

	var expected []expectedLoss
	for _, f := range faults {
		o.faults++
		t.Logf("fault %d: %s", o.faults, f)
		e := f.does(t, o, f.stream, o.random)
		o.lost[f.stream] = e.messages
		expected = append(expected, e)
	}
	o.forgetLost(t)
	owed := map[string]int{}
	for _, e := range expected {
		owed[e.stream] = o.owedBy(t, e.stream)
	}
	o.startHeld(t)
	o.awaitLosses(t, expected)
	o.repair(t, expected)
	o.publishSome(t, 6)
	o.awaitReconciled(t, expected)
	o.check(t)
	o.checkRemade(t, owed)
	if t.Failed() {
		t.Fatalf("after %s", faults)
	}
}

// publishSome publishes events that all subscriptions want.
func (o *storageOracle) publishSome(t *testing.T, n int) {
	t.Helper()
	for range n {
		o.published++
		id := fmt.Sprintf("r%02d-%05d", o.rounds, o.published)
		o.publish(t, happened("wanted", id, 20+o.random.IntN(2000)))
		o.round = append(o.round, id)
		for _, s := range o.subs {
			s.times[id] = 1
		}
		if failsFirst(id) {
			o.sub("later").times[id] = 2
		}
	}
}

func (o *storageOracle) backlog(t *testing.T, id string) (queued int) {
	t.Helper()
	var b struct{ Queued int }
	o.call(t, http.MethodGet, "/v1/subscriptions/"+id+"/backlog", nil, &b)
	return b.Queued
}

// subjectOf is the subject of a stored message.
func subjectOf(m storedMessage) string {
	return string(m.bytes[recordHead : recordHead+int(binary.LittleEndian.Uint16(m.bytes[20:]))])
}

// hasLost reports whether a message that was taken from a stream was about an event; and a
// subscription, which its subject ends with or has in it.
func (o *storageOracle) hasLost(stream, subscription, event string) bool {
	return slices.ContainsFunc(o.lost[stream], func(m storedMessage) bool {
		return !m.deletion && bytes.Contains(m.bytes, []byte(event)) &&
			(subscription == "" || strings.Contains(subjectOf(m)+".", "."+subscription+"."))
	})
}

// forgetLost takes note of what cannot be known any more.
func (o *storageOracle) forgetLost(t *testing.T) {
	t.Helper()
	for _, s := range o.subs {
		s.cameAgain = 0
		requests := o.requestsOf(t, s)
		queue, timers := "DELIVERIES_"+s.id, shardOf(s.id)
		for id := range s.times {
			recordLost := o.hasLost("ATTEMPTS", s.id, id)
			if o.hasLost("DEADLETTERS", s.id, id) {
				o.lettersLost[id] = true
			}
			if recordLost {
				o.unrecorded[s.id+" "+id] = requests[id]
			}
			owed := requests[id] < s.times[id]
			if owed && (o.hasLost(queue, "", id) || o.hasLost(timers, s.id, id)) && (o.hasLost("EVENTS_shop", "", id) || o.lost["ATTEMPTS"] != nil) {
				s.maybe[id] = true
			}
			if recordLost {
				s.again[id] = true
			}
		}
	}
}

// requestsOf is how often the receiver of a subscription has got each event.
func (o *storageOracle) requestsOf(t *testing.T, s *storageSub) map[string]int {
	t.Helper()
	arrivals := s.c.arrivals()
	for _, id := range eventIDs(t, arrivals[s.read:]) {
		s.got[id]++
	}
	s.read = len(arrivals)
	return maps.Clone(s.got)
}

// owedBy is how many deliveries were only in what was taken from a stream.
func (o *storageOracle) owedBy(t *testing.T, stream string) (owed int) {
	t.Helper()
	for _, s := range o.subs {
		requests := o.requestsOf(t, s)
		for id, times := range s.times {
			if requests[id] < times && !s.maybe[id] && (stream == "DELIVERIES_"+s.id && o.hasLost(stream, "", id) || stream == shardOf(s.id) && o.hasLost(stream, s.id, id)) {
				owed++
			}
		}
	}
	return owed
}

// report prints the figures of an installation.
func (o *storageOracle) report(t *testing.T, seed uint64, life int) {
	t.Helper()
	failed, requests := 0, 0
	if t.Failed() {
		failed = 1
	}
	for _, s := range o.subs {
		requests += s.c.count()
	}
	line := fmt.Sprintf("storage, seed %d, %d: %d faults; %d events acknowledged, %d requests, %d deliveries repeated, %d were lost and made again by jetpost, %d were lost with their events or records; %d discrepancies",
		seed, life, o.faults, o.published, requests, o.repeated, o.remade, o.given, failed)
	t.Log(line)
	figures(t, line)
}

// recordsOf are the attempts that are on record for each event.
func (o *storageOracle) recordsOf(t *testing.T, s *storageSub) map[string][]delivery.Attempt {
	t.Helper()
	records := map[string][]delivery.Attempt{}
	for _, a := range o.attempts(t, s.id) {
		records[a.Event.ID] = append(records[a.Event.ID], a)
	}
	return records
}
