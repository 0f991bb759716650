package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetpost/jetpost/delivery"
)

// An oracle run takes these from the environment:
//
//	JETPOST_ORACLE_SEED   what is random follows from it; default: the time
//	JETPOST_ORACLE_KILLS  how often a process is killed; default: 22
const (
	seedVariable  = "JETPOST_ORACLE_SEED"
	killsVariable = "JETPOST_ORACLE_KILLS"
)

// TestOracle compares the program with a model: random events, subscriptions and
// receivers' faults from a printed seed, subscriptions that are made, changed and
// deleted meanwhile, and a process that is killed again and again.
//
// What a publisher has a receipt for must have arrived where it was wanted, or be a
// dead letter that the receiver's plan explains; nothing else may have arrived;
// repeats carry the same id, and each is explained by a kill; and the attempt log
// knows every request but those that were under way when a process was killed.
func TestOracle(t *testing.T) {
	t.Parallel()
	runOracle(t, numberFrom(t, killsVariable, 22), true, func(t *testing.T, schemas string) (*server, []*victim) {
		t.Helper()
		s := startServer(t, "--schemas", schemas, "--http", freePort(t))
		s.quiet = true
		return s, []*victim{{name: "serve", s: s, ready: " listening on "}}
	})
}

// TestOracleOfOneRole is the same with each role in a process of its own. The
// router or the sender is killed, and the NATS server lives.
func TestOracleOfOneRole(t *testing.T) {
	t.Parallel()
	runOracle(t, max(10, numberFrom(t, killsVariable, 0)/2), false, func(t *testing.T, schemas string) (*server, []*victim) {
		t.Helper()
		sp := startSplit(t, "--schemas", schemas)
		for _, s := range []*server{sp.server, sp.router, sp.sender} {
			s.quiet = true
		}
		return sp.server, []*victim{
			{name: "sender", s: sp.sender, ready: " listening on "},
			{name: "router", s: sp.router, ready: " listening on "},
		}
	})
}

// TestOracleOfNATS is the same with jetpost in one process, which lives, and NATS in
// another, which is killed.
func TestOracleOfNATS(t *testing.T) {
	t.Parallel()
	runOracle(t, max(10, numberFrom(t, killsVariable, 0)/2), true, func(t *testing.T, schemas string) (*server, []*victim) {
		t.Helper()
		data := t.TempDir()
		_, port, _ := net.SplitHostPort(freePort(t))
		v := &victim{name: "NATS", s: &server{args: []string{natsCommand, filepath.Join(data, "nats"), port}}, ready: "listening on"}
		v.s.program = prepareProgram(t, v.s.args...)
		v.s.program.start(t)
		v.s.line(t, v.ready)
		s := startServerIn(t, data, "--nats", "nats://"+natsToken+"@127.0.0.1:"+port, "--allow-target", "127.0.0.0/8", "--schemas", schemas)
		s.quiet, v.s.quiet, v.needs = true, true, s
		return s, []*victim{v}
	})
}

func numberFrom(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// runOracle does one run. start starts the program and names what is to be killed;
// killsNATS says whether the NATS server is in it.
func runOracle(t *testing.T, kills int, killsNATS bool, start func(*testing.T, string) (*server, []*victim)) {
	t.Helper()
	seed := uint64(numberFrom(t, seedVariable, int(time.Now().UnixNano()&0xffff_ffff)))
	t.Logf("%s=%d", seedVariable, seed)
	o := &oracle{oReceivers: newReceivers(seed), seed: seed, killsNATS: killsNATS, began: time.Now()}
	t.Cleanup(func() {
		o.CloseClientConnections()
		o.Close()
	})
	s, victims := start(t, shopDomain(t))
	o.programs = append(o.programs, s.program)
	for _, v := range victims {
		if v.s != s {
			o.programs = append(o.programs, v.s.program)
		}
	}
	api := *s // of which a restart changes nothing
	o.api = &api

	first := firstSubs(o.random(1))
	for _, sub := range first {
		o.create(t.Context(), sub)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	for client := range 4 {
		running.Go(func() { o.publish(ctx, t.Context(), client, 60*time.Millisecond) })
	}
	named := func(id string) *oSub { return first[slices.IndexFunc(first, func(s *oSub) bool { return s.id == id })] }
	sleeper := named("sleeper")
	running.Go(func() {
		o.churn(ctx, t.Context(), slices.DeleteFunc(slices.Clone(first), func(s *oSub) bool { return s == sleeper || s.plan.leaving }))
	})
	var sleep sync.WaitGroup
	o.killSome(t, victims, kills, func() {
		o.mu.Lock()
		o.leaveAfter = time.Now()
		o.mu.Unlock()
		sleep.Go(func() { o.pause(t.Context(), sleeper) })
	})
	stop()
	running.Wait()
	sleep.Wait()
	published := time.Since(o.began)

	js := s.jetStream(t)
	o.settle(t, js, "sleeper", "leaver")
	o.checkSleeper(t, queued(t, js, "sleeper"), sleeper)
	o.resume(t.Context(), sleeper)
	o.comeBack(t, js, "leaver")
	o.settle(t, js)
	o.check(t, published)
}

// checkSleeper compares how many deliveries wait for the subscription that is
// paused with how many should.
func (o *oracle) checkSleeper(t *testing.T, waits uint64, s *oSub) {
	t.Helper()
	due := uint64(0)
	for _, e := range o.events {
		delivered := slices.ContainsFunc(o.requests[deliveryID(s.id, e.source, e.id)], func(r *oRequest) bool { return r.ok })
		if o.required(s, e) && !delivered && !s.rejects(e) {
			due++
		}
	}
	// One may wait although it was delivered: the process was killed before it
	// could say so. Or an event whose receipt was lost.
	if waits < due {
		o.wrong("%d deliveries wait for %s while it is paused, want at least %d", waits, s.id, due)
	}
	t.Logf("%d deliveries wait for the paused subscription, %d were not made yet", waits, due)
}

// required reports that the event must be dealt with for the subscription: its
// publish was acknowledged, and had begun after the creation was answered.
func (o *oracle) required(s *oSub, e *oEvent) bool {
	return !e.accepted.IsZero() && s.wants(e) && e.began.After(s.created) && s.deleting.IsZero() &&
		!s.plan.leaving // which events came while it was disabled, only the router knows
}

// shownStories is how many deliveries that went wrong are told in full.
const shownStories = 5

// findings are what a check has found.
type findings struct {
	discrepancies []string // those that are shown
	found         int      // all of them
	required      int
	delivered     int
	requests      int
	repeats       int
	unrecorded    int
	letters       map[string]int // by reason
	maybe         int            // events that may be stored or not
	ordered       int            // deliveries whose order was looked at
}

// check compares what has happened with what must have happened.
func (o *oracle) check(t *testing.T, published time.Duration) {
	t.Helper()
	records := make(map[string][]delivery.Attempt)
	all := pages[delivery.Attempt](t, o.api, "/v1/attempts")
	slices.Reverse(all)
	for _, a := range all {
		records[a.DeliveryID] = append(records[a.DeliveryID], a)
	}
	letters := make(map[string][]delivery.DeadLetter)
	for id := range o.subs {
		path := "/v1/subscriptions/" + id + "/dead-letters"
		if r := o.api.do(t, http.MethodGet, path, nil); r.status == http.StatusNotFound && !o.subs[id].deleted.IsZero() {
			continue
		}
		for _, letter := range pages[delivery.DeadLetter](t, o.api, path) {
			letters[letter.DeliveryID] = append(letters[letter.DeliveryID], letter)
		}
	}
	for _, letter := range pages[delivery.DeadLetter](t, o.api, "/v1/dead-letters/_invalid") {
		o.wrong("a message could not be read: %+v", letter)
	}

	f := findings{letters: make(map[string]int)}
	o.mu.Lock() // nothing arrives any more
	defer o.mu.Unlock()
	limit := 0
	for _, id := range slices.Sorted(maps.Keys(o.subs)) {
		s := o.subs[id]
		limit += s.inFlight
		if s.ordered {
			o.checkOrder(&f, s, records)
		}
		for _, e := range o.events {
			d := deliveryID(s.id, e.source, e.id)
			o.checkDelivery(&f, s, e, d, records[d], letters[d])
			delete(letters, d)
			delete(records, d)
		}
	}
	for _, e := range o.events {
		if e.accepted.IsZero() {
			f.maybe++
		}
	}
	for d, found := range letters {
		f.found++
		f.discrepancies = append(f.discrepancies, fmt.Sprintf("dead letters of nobody's delivery %s: %+v", d, found))
	}
	for d, found := range records {
		f.found++
		f.discrepancies = append(f.discrepancies, fmt.Sprintf("attempts of nobody's delivery %s: %+v", d, found))
	}
	if most := len(o.kills) * limit; f.repeats > most {
		f.found++
		f.discrepancies = append(f.discrepancies, fmt.Sprintf("%d deliveries were repeated after they had succeeded, at most %d may be", f.repeats, most))
	}
	deleted := 0
	for _, s := range o.subs {
		if !s.deleted.IsZero() {
			deleted++
		}
	}
	perKill := map[string]int{}
	for _, k := range o.kills {
		perKill[k.what]++
	}
	t.Logf("seed %d:\n%s", o.seed, overview(
		[2]string{"time", fmt.Sprintf("%.0f s, %.0f s of it publishing", time.Since(o.began).Seconds(), published.Seconds())},
		[2]string{"kills", fmt.Sprint(len(o.kills), " ", perKill)},
		[2]string{"events accepted, unknown", fmt.Sprint(len(o.events)-f.maybe, ", ", f.maybe)},
		[2]string{"publishes tried, failed", fmt.Sprint(o.tries, ", ", o.refused)},
		[2]string{"subscriptions made, deleted; changes", fmt.Sprint(len(o.subs), ", ", deleted, "; ", o.changes)},
		[2]string{"deliveries required, made", fmt.Sprint(f.required, ", ", f.delivered)},
		[2]string{"deliveries in order", fmt.Sprint(f.ordered)},
		[2]string{"requests, without a record because of a kill", fmt.Sprint(f.requests, ", ", f.unrecorded)},
		[2]string{"repeats of what had succeeded, at most", fmt.Sprint(f.repeats, ", ", len(o.kills)*limit)},
		[2]string{"dead letters", fmt.Sprint(f.letters)},
		[2]string{"discrepancies", fmt.Sprint(len(o.violations) + len(o.ended) + f.found)},
	))
	for _, list := range [][]string{o.ended, o.violations, f.discrepancies} {
		for _, text := range list[:min(len(list), shownStories)] {
			t.Error(text)
		}
	}
}

// checkDelivery looks at one event and one subscription.
func (o *oracle) checkDelivery(f *findings, s *oSub, e *oEvent, d string, records []delivery.Attempt, letters []delivery.DeadLetter) {
	requests := o.requests[d]
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	success := slices.IndexFunc(requests, func(r *oRequest) bool { return r.ok })
	doomed := s.plan.isDoomed(o.seed, d)
	f.requests += len(requests)
	if success >= 0 {
		f.delivered++
	}
	if o.required(s, e) {
		f.required++
		switch {
		case s.rejects(e):
			if len(letters) == 0 {
				problem("the profile cannot carry it, and it is no dead letter")
			}
		case doomed:
			if len(letters) == 0 {
				problem("it never succeeds, and is no dead letter")
			}
		case success < 0:
			problem("it was lost: accepted, and never delivered")
		}
	}
	for _, letter := range letters {
		f.letters[string(letter.Reason)]++
		explained := false
		switch letter.Reason {
		case delivery.ReasonExpired, delivery.ReasonOverflow, delivery.ReasonUnreadable:
		case delivery.ReasonExhausted:
			explained = doomed && letter.Attempts >= len(s.schedule)
		case delivery.ReasonRejected:
			explained = s.rejects(e) && letter.Attempts == 0 && len(requests) == 0
		case delivery.ReasonGone:
			explained = d == s.leftOver
		}
		if !explained || !s.wants(e) || letter.Event.ID != e.id {
			problem("a dead letter that nothing explains: %+v", letter)
		}
	}
	o.checkRecords(f, e, requests, records, problem)
	for i, r := range requests {
		// What was made again although it had succeeded, or failed to the end, must
		// have been under way when a process was killed.
		if (success < 0 || i <= success) && i < len(s.schedule) {
			continue
		}
		if !o.killedWhile(requests[:i]) && !o.mayBeRoutedTwice(e) && !slices.ContainsFunc(records, gaveUpWaiting) {
			problem("request %d repeats what was done, and no kill explains it", r.nth)
		}
		if success >= 0 && i > success {
			f.repeats++
		}
	}
	if len(problems) == 0 {
		return
	}
	if f.found++; f.found <= shownStories { // they take time to find
		f.discrepancies = append(f.discrepancies, o.story(s, e, d, requests, records, letters, problems))
	}
}

// checkOrder looks at the deliveries of an ordered subscription. Whatever was killed,
// none may have been tried before those in front of it in the log had arrived.
func (o *oracle) checkOrder(f *findings, s *oSub, records map[string][]delivery.Attempt) {
	type made struct {
		event        *oEvent
		sequence     uint64
		first, final time.Time
	}
	logs := make(map[string][]made)
	for _, e := range o.events {
		d := deliveryID(s.id, e.source, e.id)
		requests := o.requests[d]
		success := slices.IndexFunc(requests, func(r *oRequest) bool { return r.ok })
		if success < 0 || len(records[d]) == 0 {
			continue
		}
		place := records[d][0].Event
		logs[place.Stream] = append(logs[place.Stream], made{e, place.Sequence, requests[0].at, requests[success].at})
	}
	for log, deliveries := range logs {
		slices.SortFunc(deliveries, func(a, b made) int { return cmp.Compare(a.sequence, b.sequence) })
		for i := 1; i < len(deliveries); i++ {
			before, one := deliveries[i-1], deliveries[i]
			if one.first.Before(before.final) {
				f.found++
				f.discrepancies = append(f.discrepancies, fmt.Sprintf("%s: event %s, number %d of %s, was tried %s before %s, number %d, had arrived",
					s.id, one.event.id, one.sequence, log, before.final.Sub(one.first), before.event.id, before.sequence))
			}
		}
		f.ordered += len(deliveries)
	}
}

// checkRecords compares the requests that were seen with those that are recorded.
func (o *oracle) checkRecords(f *findings, e *oEvent, requests []*oRequest, records []delivery.Attempt, problem func(string, ...any)) {
	// The number of an attempt that follows failures is exact. One that repeats what
	// the queue had done with may have a number that was used.
	last, done := 0, o.mayBeRoutedTwice(e)
	for _, a := range records {
		if a.Attempt != last+1 && (!done || a.Attempt < 1 || a.Attempt > last) {
			problem("a record has number %d, want %d", a.Attempt, last+1)
		}
		last, done = max(last, a.Attempt), done || a.Outcome == delivery.Delivered
	}
	lost := len(requests) - len(records)
	if lost < 0 {
		problem("%d requests have %d records", len(requests), len(records))
		return
	}
	f.unrecorded += lost
	for i := range requests {
		if o.killedWhile(requests[i : i+1]) {
			lost--
		}
	}
	if lost > 0 {
		problem("%d requests have %d records, and kills do not explain it", len(requests), len(records))
	}
}

// gaveUpWaiting reports that the sender did not see the answer in time. On a machine
// under load the receiver may take it for given.
func gaveUpWaiting(a delivery.Attempt) bool {
	return a.Outcome != delivery.Delivered && a.Status == 0 && strings.HasPrefix(a.Error, "no complete answer")
}

// unsettled is how long it may take until what was done cannot be forgotten any
// more: the NATS server writes the state of its consumers a few times a second.
const unsettled = 2 * time.Second

// sentBefore is how long a receiver may take to read, on a busy machine, what a
// process had sent before it was killed.
const sentBefore = 2 * time.Second

// killedWhile reports a kill while one of the requests was made, or had just been
// made and may not have been settled.
func (o *oracle) killedWhile(requests []*oRequest) bool {
	return slices.ContainsFunc(requests, func(r *oRequest) bool {
		return o.killedBetween(r.at, r.done)
	})
}

// killedBetween reports a kill from one moment on until another one, which may be
// missing, and until that is settled.
func (o *oracle) killedBetween(from, to time.Time) bool {
	return slices.ContainsFunc(o.kills, func(k oKill) bool {
		return k.at.After(from.Add(-sentBefore)) && (to.IsZero() || k.at.Before(to.Add(unsettled)))
	})
}

// mayBeRoutedTwice reports that the NATS server was killed when the event was being
// routed. It may have forgotten that it was, and of what had left the queue by then
// also that it had been there.
func (o *oracle) mayBeRoutedTwice(e *oEvent) bool {
	routed := e.accepted
	// Who gets everything, and at once, shows when that was.
	if requests := o.requests[deliveryID("healthy", e.source, e.id)]; len(requests) > 0 && requests[0].at.After(routed) {
		routed = requests[0].at
	}
	return o.killsNATS && o.killedBetween(e.began, routed)
}

// story tells all that is known of a delivery.
func (o *oracle) story(s *oSub, e *oEvent, d string, requests []*oRequest, records []delivery.Attempt, letters []delivery.DeadLetter, problems []string) string {
	since := func(at time.Time) string {
		if at.IsZero() {
			return "never"
		}
		return fmt.Sprintf("%.3fs", at.Sub(o.began).Seconds())
	}
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", strings.Join(problems, "; "))
	filters, _ := json.Marshal(s.filters)
	line("    delivery %s of event %s (%s) for %s (%s %v %s)", d, e.id, e.kind, s.id, s.profile, s.types, filters)
	line("    published %s accepted %s; subscription created %s deleting %s", since(e.began), since(e.accepted), since(s.created), since(s.deleting))
	for _, stop := range s.stops {
		line("    paused %s to %s", since(stop.from), since(stop.to))
	}
	for _, r := range requests {
		line("    request %d (attempt %s) at %s until %s fault %q ok %t", r.nth, r.attempt, since(r.at), since(r.done), r.fault, r.ok)
	}
	for _, a := range records {
		line("    record %d: attempt %d at %s %s %d %s", a.Sequence, a.Attempt, since(a.At), a.Outcome, a.Status, a.Error)
	}
	for _, l := range letters {
		line("    dead letter %s after %d attempts at %s", l.Reason, l.Attempts, since(l.At))
	}
	var kills []string
	for _, k := range o.kills {
		kills = append(kills, since(k.at)+" "+k.what)
	}
	line("    kills: %s", strings.Join(kills, ", "))
	line("%s", o.logOf(d))
	return b.String()
}
