package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
)

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

// shownStories is how many wrong deliveries are printed in full.
const shownStories = 5

// findings are what a check has found.
type findings struct {
	published, drained time.Duration
	ghosts             uint64

	discrepancies []string // those that are shown
	found         int      // all of them
	required      int
	delivered     int
	requests      int
	repeats       int // deliveries that were made again after they had succeeded
	inFlight      int // how many were in flight at faults, at most
	unseen        int // repeats because the sender did not see the answer
	unrecorded    int
	letters       map[string]int // by reason
	maybe         int            // events that may be stored or not
	ordered       int            // deliveries whose order was looked at
}

// check compares what has happened with what must have happened.
func (o *oracle) check(t *testing.T, f *findings) {
	t.Helper()
	records := make(map[string][]delivery.Attempt)
	all := pages[delivery.Attempt](t, o.apis[0], "/v1/attempts")
	slices.Reverse(all)
	for _, a := range all {
		records[a.DeliveryID] = append(records[a.DeliveryID], a)
	}
	letters := make(map[string][]delivery.DeadLetter)
	for id := range o.subs {
		path := "/v1/subscriptions/" + id + "/dead-letters"
		if r := o.apis[0].do(t, http.MethodGet, path, nil); r.status == http.StatusNotFound && !o.subs[id].deleted.IsZero() {
			continue
		}
		for _, letter := range pages[delivery.DeadLetter](t, o.apis[0], path) {
			letters[letter.DeliveryID] = append(letters[letter.DeliveryID], letter)
		}
	}
	for _, letter := range pages[delivery.DeadLetter](t, o.apis[0], "/v1/dead-letters/_invalid") {
		o.wrong("a message could not be read: %+v", letter)
	}

	f.letters = make(map[string]int)
	o.mu.Lock() // nothing arrives any more
	defer o.mu.Unlock()
	slices.SortFunc(o.faults, func(a, b *fault) int { return a.at.Compare(b.at) })
	for _, id := range slices.Sorted(maps.Keys(o.subs)) {
		s := o.subs[id]
		if s.ordered {
			o.checkOrder(f, s, records)
		}
		for _, e := range o.events {
			d := deliveryID(s.id, e.source, e.id)
			o.checkDelivery(f, s, e, d, records[d], letters[d])
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
		f.add(fmt.Sprintf("dead letters of unexpected delivery %s: %+v", d, found))
	}
	for d, found := range records {
		f.add(fmt.Sprintf("attempts of unexpected delivery %s: %+v", d, found))
	}
	o.checkRepeats(f)
	for _, v := range o.victims { // all were started again
		o.noteEnded(v)
	}
	o.report(t, f)
	for _, list := range [][]string{o.endedAlone, o.violations, f.discrepancies} {
		for _, text := range list[:min(len(list), shownStories)] {
			t.Error(text)
		}
	}
}

func (f *findings) add(text string) {
	if f.found++; f.found <= shownStories {
		f.discrepancies = append(f.discrepancies, text)
	}
}

// checkRepeats compares how many deliveries each fault has repeated with how many of
// them could have been in flight: no more than the limit of each subscription.
func (o *oracle) checkRepeats(f *findings) {
	for _, fault := range o.faults {
		for id, n := range fault.inFlight {
			f.inFlight += min(n, o.subs[id].mostInFlight)
		}
		for id, deliveries := range fault.repeated {
			if most := o.subs[id].mostInFlight; len(deliveries) > most {
				f.add(fmt.Sprintf("%s repeated %d deliveries of %s, of which at most %d were in flight:\n%s", fault, len(deliveries), id, most, o.timesOf(slices.Sorted(maps.Keys(deliveries)))))
			}
		}
	}
}

// timesOf lists when the requests for some deliveries were made, a line for each.
func (o *oracle) timesOf(deliveries []string) string {
	var b strings.Builder
	since := func(at time.Time) string { return fmt.Sprintf("%.3f", at.Sub(o.began).Seconds()) }
	for _, d := range deliveries {
		_, _ = fmt.Fprintf(&b, "    %s:", d)
		for _, r := range o.requests[d] {
			done := "…"
			if !r.done.IsZero() {
				done = since(r.done)
			}
			_, _ = fmt.Fprintf(&b, " attempt %s at %s to %s s (%s)", r.attempt, since(r.at), done, cmp.Or(r.fault, "2xx"))
		}
		b.WriteByte('\n')
	}
	for _, fault := range o.faults {
		_, _ = fmt.Fprintf(&b, "    %s to %s s: %s\n", since(fault.at), since(fault.end), fault)
	}
	return b.String()
}

// report prints the figures of a run.
func (o *oracle) report(t *testing.T, f *findings) {
	t.Helper()
	deleted := 0
	for _, s := range o.subs {
		if !s.deleted.IsZero() {
			deleted++
		}
	}
	perKind, repeated, rerouted := map[string]int{}, map[string]int{}, 0
	for _, fault := range o.faults {
		perKind[fault.kind]++
		for _, deliveries := range fault.repeated {
			repeated[fault.kind] += len(deliveries)
		}
		rerouted += len(fault.rerouted)
	}
	held := 0
	for _, p := range o.programs {
		held += len(p.stderr.lines("this machine cannot make requests"))
	}
	stuck := 0
	for _, w := range o.allWires {
		stuck += w.stuck
	}
	wrong := len(o.violations) + len(o.endedAlone) + f.found
	accepted := len(o.events) - f.maybe
	t.Logf("%s, seed %d:\n%s", o.name, o.seed, overview(
		[2]string{"time; publishing, draining", fmt.Sprintf("%.0f s; %.0f s, %.0f s", time.Since(o.began).Seconds(), f.published.Seconds(), f.drained.Seconds())},
		[2]string{"faults", fmt.Sprint(len(o.faults), " ", perKind)},
		[2]string{"events published, acknowledged", fmt.Sprint(len(o.events), ", ", accepted)},
		[2]string{"requests to publish, refused or unanswered", fmt.Sprint(o.tries, ", ", o.refused)},
		[2]string{"subscriptions made, deleted; changes", fmt.Sprint(len(o.subs), ", ", deleted, "; ", o.changes)},
		[2]string{"deliveries required, made", fmt.Sprint(f.required, ", ", f.delivered)},
		[2]string{"deliveries in order", fmt.Sprint(f.ordered)},
		[2]string{"requests, without a record because of a kill", fmt.Sprint(f.requests, ", ", f.unrecorded)},
		[2]string{"deliveries repeated, in flight at faults", fmt.Sprint(f.repeats, ", ", f.inFlight)},
		[2]string{"  after a fault, by its kind", fmt.Sprint(repeated)},
		[2]string{"  because their event was routed again", fmt.Sprint(rerouted)},
		[2]string{"  because the answer did not arrive", fmt.Sprint(f.unseen)},
		[2]string{"dead letters", fmt.Sprint(f.letters)},
		[2]string{"messages that NATS keeps and no delivery needs", fmt.Sprint(f.ghosts)},
		[2]string{"breakers that had to be closed by hand", fmt.Sprint(o.breakersClosed)},
		[2]string{"times that a machine could make no requests", fmt.Sprint(held)},
		[2]string{"proxies that had to be replaced", fmt.Sprint(stuck)},
		[2]string{"discrepancies", fmt.Sprint(wrong)},
	))
	givenUp := 0
	for _, n := range f.letters {
		givenUp += n
	}
	figures(t, fmt.Sprintf("%s, seed %d: %d faults; %d events acknowledged, %d requests, %d deliveries repeated, %d were in flight at faults, %d dead letters; drained in %.0f s; %d discrepancies",
		o.name, o.seed, len(o.faults), accepted, f.requests, f.repeats, f.inFlight, givenUp, f.drained.Seconds(), wrong))
}

// checkDelivery looks at one event and one subscription.
func (o *oracle) checkDelivery(f *findings, s *oSub, e *oEvent, d string, records []delivery.Attempt, letters []delivery.DeadLetter) {
	requests := o.requests[d]
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	success := slices.IndexFunc(requests, func(r *oRequest) bool { return r.ok })
	doomed := s.plan.isDoomed(o.seed, d)
	unseen := 0 // requests whose answer the sender did not get
	for i := range records {
		if o.lostAnswer(s, &records[i]) {
			unseen++
		}
	}
	// What its network, and its receiver's plan, have used up.
	exhausted := unseen > 0 && unseen+failed(requests) >= len(s.schedule)
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
		case success < 0 && (!exhausted || len(letters) == 0):
			problem("it was lost: accepted, and never delivered")
		case success >= 0 && len(letters) == 0 && !slices.ContainsFunc(records, func(a delivery.Attempt) bool { return a.Outcome == delivery.Delivered }):
			// Whatever was killed meanwhile: without a record it stays in its queue.
			problem("it left its queue without a record of its success")
		}
	}
	for _, letter := range letters {
		f.letters[string(letter.Reason)]++
		explained := false
		switch letter.Reason {
		case delivery.ReasonExpired, delivery.ReasonOverflow, delivery.ReasonUnreadable, delivery.ReasonMatchBudget:
		case delivery.ReasonExhausted:
			explained = (doomed || exhausted) && letter.Attempts >= len(s.schedule)
		case delivery.ReasonRejected:
			explained = s.rejects(e) && letter.Attempts == 0 && len(requests) == 0
		case delivery.ReasonGone:
			explained = d == s.leftOver
		}
		if !explained || !s.wants(e) || letter.Event.ID != e.id {
			problem("a dead letter that nothing explains: %+v", letter)
		}
	}
	o.checkRecords(f, s, e, requests, records, problem)
	for _, fault := range o.faults {
		if fault.requests && o.during(fault, requests) {
			fault.inFlight[s.id]++
		}
	}
	repeated := false
	for i, r := range requests {
		// What was made again although it had succeeded, or failed to the end, must
		// have been under way at a fault, or its answer have been lost.
		if (success < 0 || i <= success) && i < len(s.schedule) {
			continue
		}
		// A request that failed is made again, also where it had itself been made again.
		if i > 0 && requests[i-1].fault != "" && i < len(s.schedule) {
			repeated = repeated || success >= 0
			continue
		}
		by, again := o.interrupted(madeBefore(requests, i), s, (*fault).repeats), o.routedAgain(e)
		switch {
		case unseen > 0:
			unseen--
			f.unseen++
		case again != nil && (by == nil || len(o.inOrder(e)) > 0):
			again.rerouted[e.id] = true
		case by != nil:
			if by.repeated[s.id] == nil {
				by.repeated[s.id] = make(map[string]bool)
			}
			by.repeated[s.id][d] = true
		default:
			problem("request %d repeats what was done, and no fault explains it", r.nth)
		}
		repeated = repeated || success >= 0 && i > success
	}
	if repeated {
		f.repeats++
	}
	if len(problems) == 0 {
		return
	}
	if f.found++; f.found <= shownStories { // they take time to find
		f.discrepancies = append(f.discrepancies, o.story(s, e, d, requests, records, letters, problems))
	}
}

// failed counts the requests that failed by their plan.
func failed(requests []*oRequest) (n int) {
	for _, r := range requests {
		if r.fault != "" {
			n++
		}
	}
	return n
}

// checkRecords compares the requests that were seen with those that are recorded.
func (o *oracle) checkRecords(f *findings, s *oSub, e *oEvent, requests []*oRequest, records []delivery.Attempt, problem func(string, ...any)) {
	// The number of an attempt that follows failures is exact. One that repeats what
	// the queue had done with may have a number that was used.
	// So may a success that was on its way to the log when its process stood still:
	// others have made attempts until it goes on.
	last, done := 0, o.routedAgain(e) != nil
	most := len(requests) // records that there may be: some requests never arrive
	for i := range records {
		a := &records[i]
		used := done || a.Outcome == delivery.Delivered && o.stoodStill(a)
		if a.Attempt != last+1 && (!used || a.Attempt < 1 || a.Attempt > last) {
			problem("a record has number %d, want %d", a.Attempt, last+1)
		}
		last, done = max(last, a.Attempt), done || a.Outcome == delivery.Delivered
		if a.Status == 0 && o.lostAnswer(s, a) {
			most++
		}
	}
	if len(records) > most {
		problem("%d requests have %d records", len(requests), len(records))
		return
	}
	lost := max(0, len(requests)-len(records))
	f.unrecorded += lost
	for i := range requests {
		if o.interrupted(requests[i:i+1], s, (*fault).losesRecords) != nil {
			lost--
		}
	}
	if lost > 0 {
		problem("%d requests have %d records, and faults do not explain it", len(requests), len(records))
	}
}

// stoodStill reports that a process was frozen when an attempt's record was on its way.
func (o *oracle) stoodStill(a *delivery.Attempt) bool {
	answered := a.At.Add(time.Duration(a.Duration))
	return slices.ContainsFunc(o.faults, func(f *fault) bool {
		return strings.HasPrefix(f.kind, "freeze") && f.hits(a.At, answered.Add(time.Second))
	})
}

// lostAnswer reports that the sender did not get the answer, whatever the receiver
// takes for given: because of the network, or because it came too late on a machine
// under load.
func (o *oracle) lostAnswer(s *oSub, a *delivery.Attempt) bool {
	if a.Outcome == delivery.Delivered || a.Error == "" || a.Status >= 300 {
		return false
	}
	if a.Status == 0 && strings.HasPrefix(a.Error, "no complete answer") {
		return true
	}
	return s.wire >= 0 && slices.ContainsFunc(o.faults, func(f *fault) bool {
		return f.wire == o.wires[s.wire].name && slices.ContainsFunc(o.clock.readings(a.At), func(at time.Time) bool {
			return f.hits(at, at.Add(time.Duration(a.Duration)))
		})
	})
}

// unsettled is how long it may take, on a busy machine, until what was done cannot be
// forgotten any more: the sender has to read the answer, and to store its record,
// and the NATS server writes the state of its consumers a few times a second.
const unsettled = 5 * time.Second

// routesAgain is how long an event that was in a router's hands may take to be routed
// again: the server waits for its acknowledgement, and then for a router.
const routesAgain = 25 * time.Second

func (f *fault) repeats() bool      { return f.requests }
func (f *fault) losesRecords() bool { return f.records }

// madeBefore returns the requests that request i of those that have arrived may repeat: those
// that arrived before it. Where one of them was signed later, it is that which repeats
// request i, whose process was killed while the network still held it: then i is one of them.
func madeBefore(requests []*oRequest, i int) []*oRequest {
	overtaken := slices.ContainsFunc(requests[:i], func(r *oRequest) bool { return r.sent.After(requests[i].sent) })
	if overtaken {
		i++
	}
	return requests[:i]
}

// interrupted returns a fault of a kind that happened while one of the requests was
// made, or had just been made and may not have been settled; of several the one that
// explains the fewest repeats so far.
func (o *oracle) interrupted(requests []*oRequest, s *oSub, kind func(*fault) bool) (found *fault) {
	for _, f := range o.faults {
		if !kind(f) || found != nil && len(f.repeated[s.id]) >= len(found.repeated[s.id]) {
			continue
		}
		if o.during(f, requests) {
			found = f
		}
	}
	return found
}

// during reports that one of the requests was made, or not settled, when the fault
// happened.
func (o *oracle) during(f *fault, requests []*oRequest) bool {
	return slices.ContainsFunc(requests, func(r *oRequest) bool {
		return f.until().After(r.sent) && (r.done.IsZero() || f.at.Before(o.settledBy(r.done)))
	})
}

// settledBy is when what was done at a moment must be settled: at once, or, when the
// server was away then, after it has come back.
func (o *oracle) settledBy(done time.Time) time.Time {
	by := done.Add(unsettled)
	for _, f := range o.faults { // in the order in which they began
		if f.outage && f.hits(done, by) {
			by = later(by, f.until().Add(unsettled))
		}
	}
	return by
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// inOrder returns the ordered subscriptions that want an event.
func (o *oracle) inOrder(e *oEvent) (subs []*oSub) {
	for _, s := range o.subs {
		if s.ordered && s.wants(e) {
			subs = append(subs, s)
		}
	}
	return subs
}

// routedAgain returns the fault by which an event may have been queued twice: it
// happened while the event was being routed, and by the time when it was routed again
// a NATS server had started that did not know any more what had left its queues.
func (o *oracle) routedAgain(e *oEvent) *fault {
	routed := e.accepted
	// Who gets everything, and at once, shows when that was.
	if requests := o.requests[deliveryID("healthy", e.source, e.id)]; len(requests) > 0 && requests[0].at.After(routed) {
		routed = requests[0].at
	}
	// While it waits for its predecessors it stays in the router's hands.
	for _, s := range o.inOrder(e) {
		if requests := o.requests[deliveryID(s.id, e.source, e.id)]; len(requests) > 0 {
			routed = later(routed, requests[0].at)
		}
	}
	if routed.IsZero() {
		routed = e.began
	}
	for _, f := range o.faults {
		if !f.routing || f.until().Before(e.began) || f.at.After(o.settledBy(routed)) {
			continue
		}
		if slices.ContainsFunc(o.faults, func(g *fault) bool {
			return g.forgets && g.until().After(e.began) && g.at.Before(f.until().Add(routesAgain))
		}) {
			return f
		}
	}
	return nil
}

// overview is what a person wants to see of a run.
func overview(lines ...[2]string) string {
	var b strings.Builder
	for _, line := range lines {
		_, _ = fmt.Fprintf(&b, "  %-44s %s\n", line[0], line[1])
	}
	return b.String()
}
