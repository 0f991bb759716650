package router_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/testkit"
)

// costly are filters that take n patterns on the text of longEvent.
func costly(n int) []filter.Filter {
	var filters []filter.Filter
	for i := range n {
		filters = append(filters, filter.Not(filter.Glob(map[string]string{"data.text": strings.Repeat("*[a-y]?", 60+i%3) + "*[z]*"})))
	}
	return filters
}

func longEvent(n int) *event.Event {
	e := note(n)
	e.Data = fmt.Appendf(nil, `{"text":%q}`, strings.Repeat("a", 10<<10))
	return e
}

// An event whose filters take too many steps for it is a dead letter of that subscription,
// counted, logged and published; all others get it, and events that are small are
// judged.
func TestFiltersOverBudget(t *testing.T) {
	t.Parallel()
	const n = 12
	r := newRig(t)
	r.publishOperational()
	added := []string{"notes.added"}
	expensive := r.subscribe(wants("expensive", added, costly(20)...))
	inOrder := wants("in-order", added, costly(20)...)
	inOrder.Delivery.Ordered = true
	inOrder = r.subscribe(inOrder)
	plainOrder := wants("plain-order", added)
	plainOrder.Delivery.Ordered = true
	plainOrder = r.subscribe(plainOrder)
	slow := r.subscribe(wants("slow", added, costly(4)...)) // takes long, and is decided
	plain := r.subscribe(wants("plain", added))
	var all, short []int
	for i := range n {
		all = append(all, i)
		if i%3 == 0 {
			short = append(short, i)
			r.publish(note(i))
			continue
		}
		r.publish(longEvent(i))
	}
	running := r.route()
	r.awaitRouted()
	for _, sub := range []*subscription.Subscription{slow, plain, plainOrder} {
		r.wantQueued(sub, all...)
	}
	deadLetters := delivery.NewDeadLetters(r.js, r.layout)
	for _, sub := range []*subscription.Subscription{expensive, inOrder} {
		r.wantQueued(sub, short...)
		kept, err := deadLetters.Latest(t.Context(), sub.ID, 0, 2*n)
		if err != nil || len(kept) != n-len(short) {
			t.Errorf("%s has %d dead letters, want %d: %v", sub.ID, len(kept), n-len(short), err)
		}
		for _, deadLetter := range kept {
			if deadLetter.Reason != delivery.ReasonMatchBudget || deadLetter.Attempts != 0 || deadLetter.Event.Sequence == 0 {
				t.Errorf("got %+v", deadLetter)
			}
		}
	}
	if got, want := testkit.Metric(t, running.reg, "jetpost_router_match_budget_total"), float64(2*(n-len(short))); got != want {
		t.Errorf("counted %g, want %g", got, want)
	}
	if got := r.logged.FilterField(zap.String("subscription_id", "expensive")).Len(); got != n-len(short) {
		t.Errorf("logged %d times", got)
	}
	running.stop()
	counts := map[string]int{}
	testkit.Until(t, func() (bool, string) {
		clear(counts)
		for _, e := range r.server.Events(stream.OperationalDomain) {
			var data struct{ Count int }
			if err := json.Unmarshal(e.Data, &data); err != nil || e.Type != "jetpost.filters.over_budget" {
				t.Errorf("%s: %s, %v", e.Type, e.Data, err)
			}
			counts[e.Subject] += data.Count
		}
		return counts["expensive"] == n-len(short) && counts["in-order"] == n-len(short), fmt.Sprint(counts)
	})
}

// The deliveries of one subscription do not wait for what the filters of others take: the
// time from an event's place in the log to the queue has about the same p99 beside the
// worst tenant as beside an ordinary one, in turn in one run. What the
// machine does beside it can only make it worse, so one of several rounds has to show it.
func TestCostlyFiltersDelayNoOther(t *testing.T) {
	t.Parallel()
	const events, rounds, most = 150, 10, 1.5
	r := newRig(t)
	neighbour := r.subscribe(wants("neighbour", []string{"notes.*"}))
	r.subscribe(wants("ordinary", []string{"notes.removed"}, filter.Glob(map[string]string{"data.text": "a*a"})))
	// It takes all that its budget allows, as TestSlowInputs finds it.
	r.subscribe(wants("worst", []string{"notes.added"}, costly(20)...))
	running := r.route()
	next := 0
	p99 := func(kind string) time.Duration {
		first := next
		for range events {
			e := longEvent(next)
			e.Type = kind
			next++
			r.publish(e)
			r.awaitQueued(neighbour, next)
		}
		r.awaitRouted()
		var times []time.Duration
		for _, m := range r.queued(neighbour)[first:] {
			d, err := delivery.FromMessage(neighbour.ID, m.Header, m.Data)
			if err != nil {
				t.Fatal(err)
			}
			times = append(times, m.Time.Sub(d.Accepted))
		}
		slices.Sort(times)
		return times[len(times)*99/100]
	}
	p99("notes.removed") // what is slow once only
	var ratio float64
	for range rounds {
		quiet, loud := p99("notes.removed"), p99("notes.added")
		ratio = float64(loud) / float64(quiet)
		t.Logf("p99 %s beside an ordinary subscription, %s beside one that takes all it may: %.2f", quiet, loud, ratio)
		if ratio <= most {
			break
		}
	}
	if ratio > most {
		t.Errorf("p99 is %.2f times as long beside costly filters, at most %.1f is allowed", ratio, most)
	}
	if got := testkit.Metric(t, running.reg, "jetpost_router_match_budget_total"); got == 0 {
		t.Error("nothing was costly")
	}
}
