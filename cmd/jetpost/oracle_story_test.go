package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
)

// story is all that is known of a delivery.
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
	if s.wire >= 0 {
		line("    over %s", o.wires[s.wire].name)
	}
	line("    published %s accepted %s; subscription created %s deleting %s", since(e.began), since(e.accepted), since(s.created), since(s.deleting))
	for _, stop := range s.stops {
		line("    paused %s to %s", since(stop.from), since(stop.to))
	}
	for _, r := range requests {
		line("    request %d (attempt %s) sent %s at %s until %s fault %q ok %t", r.nth, r.attempt, since(r.sent), since(r.at), since(r.done), r.fault, r.ok)
	}
	for _, a := range records {
		line("    record %d: attempt %d at %s %s %d %s", a.Sequence, a.Attempt, since(a.At), a.Outcome, a.Status, a.Error)
	}
	for _, l := range letters {
		line("    dead letter %s after %d attempts at %s", l.Reason, l.Attempts, since(l.At))
	}
	var faults []string
	for _, f := range o.faults {
		faults = append(faults, fmt.Sprintf("%s to %s %s", since(f.at), since(f.end), f))
	}
	line("    faults: %s", strings.Join(faults, ", "))
	line("%s", o.logOf(d))
	line("%s", o.processesAround(requests, s.id))
	return b.String()
}

// logOf returns what all programs have logged about a delivery.
func (o *oracle) logOf(delivery string) string {
	var found []string
	for _, p := range o.programs {
		for _, line := range p.stderr.lines(delivery) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil {
				line = fmt.Sprint(fields["time"], " ", fields["msg"], " attempt ", fields["attempt"], " ", fields["outcome"], " ", fields["status"], " ", fields["error"])
			}
			found = append(found, fmt.Sprintf("    log of %s: %s", p.name, line))
		}
	}
	return strings.Join(found, "\n")
}

const (
	// besides is how long before the first request of a delivery, and after the last, it is
	// shown what the processes have logged.
	besides = 2 * time.Second
	// shownLines are at most so many lines of one process.
	shownLines = 30
)

// processesAround returns which processes have lived while the requests of a delivery were
// made, how many attempts for its subscription each of them has logged meanwhile, and its
// warnings and errors.
func (o *oracle) processesAround(requests []*oRequest, subscription string) string {
	if len(requests) == 0 {
		return ""
	}
	from, to := requests[0].sent.Add(-besides), requests[len(requests)-1].at.Add(besides)
	var b strings.Builder
	for _, p := range o.programs {
		end := "lives"
		select {
		case <-p.exited:
			if p.ended.Before(from) {
				continue
			}
			end = fmt.Sprintf("ended at %.3fs, %s", p.ended.Sub(o.began).Seconds(), p.cmd.ProcessState)
		default:
		}
		if p.began.After(to) {
			continue
		}
		attempts, troubles := o.loggedBetween(p, from, to, subscription)
		_, _ = fmt.Fprintf(&b, "    %s: process %d, started at %.3fs, %s; attempts for %s logged: %d\n",
			p.name, p.cmd.Process.Pid, p.began.Sub(o.began).Seconds(), end, subscription, attempts)
		for _, line := range troubles[:min(len(troubles), shownLines)] {
			_, _ = fmt.Fprintf(&b, "        %s\n", line)
		}
		if more := len(troubles) - shownLines; more > 0 {
			_, _ = fmt.Fprintf(&b, "        and %d more\n", more)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// loggedBetween returns how many attempts for a subscription a program has logged in a time,
// and its lines of that time that are more than information.
func (o *oracle) loggedBetween(p *program, from, to time.Time, subscription string) (attempts int, troubles []string) {
	for _, line := range p.stderr.lines("") {
		var fields struct {
			Time           time.Time `json:"time"`
			Level          string    `json:"level"`
			Message        string    `json:"msg"`
			SubscriptionID string    `json:"subscription_id"`
		}
		if json.Unmarshal([]byte(line), &fields) != nil {
			troubles = append(troubles, line) // no line of a log: what a crash has left
			continue
		}
		if !slices.ContainsFunc(o.clock.readings(fields.Time), func(at time.Time) bool { return !at.Before(from) && !at.After(to) }) {
			continue
		}
		switch {
		case !slices.Contains([]string{"info", "debug"}, fields.Level):
			troubles = append(troubles, line)
		case fields.Message == "attempt" && fields.SubscriptionID == subscription:
			attempts++
		}
	}
	return attempts, troubles
}
