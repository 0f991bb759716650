package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// comesAgain is how long, on a busy machine, what a process had in hand may take to be
// with another: the server's patience, and the moment until the other asks, three times.
const comesAgain = 3 * (stream.AckWait + 4*time.Second)

// arrives waits until n deliveries have arrived, as soon as they must.
func (c *catcher) arrives(tb testing.TB, n int) {
	tb.Helper()
	began := time.Now()
	if !holdsWithin(tb.Context(), comesAgain, func() bool { return c.deliveries() >= n }) {
		tb.Fatalf("%d deliveries have arrived after %s, want %d", c.deliveries(), comesAgain, n)
	}
	tb.Logf("%d deliveries, the last after %s", n, time.Since(began).Round(100*time.Millisecond))
}

// requestsFor counts the requests for events whose ids begin with prefix, by event.
func (c *catcher) requestsFor(tb testing.TB, prefix string) map[string]int {
	tb.Helper()
	counts := make(map[string]int)
	for _, id := range eventIDs(tb, c.arrivals()) {
		if strings.HasPrefix(id, prefix) {
			counts[id]++
		}
	}
	return counts
}

// A sender is killed in the middle of its requests: another one makes them again soon,
// and so does the next start where there is none.
func TestKilledSenderHoldsShortly(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"taken over": 1, "restarted at once": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 10
			f := newFleet(t)
			f.admins = f.launch(1, "producer,admin,router")
			f.senders = f.launch(1, "sender")
			var hangs atomic.Bool
			hangs.Store(true)
			c := startCatcher(t, func(w http.ResponseWriter, r *http.Request, a *arrival) {
				if hangs.Load() {
					<-r.Context().Done() // the sender is killed with its requests
					return
				}
				answer204(w, r, a)
			})
			f.admins[0].subscribe(t, "hook", c.URL, []string{"artifact.*"}, nil)
			for _, id := range numbered("event", n) {
				f.admins[0].publish(t, deployed(id, "libs"))
			}
			c.waitFor(t, n)
			if others > 0 {
				f.launch(others, "sender")
			}
			hangs.Store(false)
			f.senders[0].kill()
			began := time.Now()
			if others == 0 {
				f.launch(1, "sender")
			}
			if !holdsWithin(t.Context(), comesAgain, func() bool { return c.count() >= 2*n }) {
				t.Fatalf("%d requests have arrived after %s, want each of %d again", c.count(), comesAgain, n)
			}
			t.Logf("all are made again %s after the kill", time.Since(began).Round(100*time.Millisecond))
			for id, requests := range c.requestsFor(t, "event-") {
				if requests != 2 {
					t.Errorf("%d requests for %s, want the one that was under way and another", requests, id)
				}
			}
		})
	}
}

// A sender stands still. What it would have delivered others deliver, also what NATS hands
// to it meanwhile; when it goes on it repeats nothing.
func TestFrozenSender(t *testing.T) {
	t.Parallel()
	const subscriptions, n = 12, 5
	f := newFleet(t)
	f.admins = f.launch(1, "producer,admin,router")
	f.senders = f.launch(2, "sender")
	c := startCatcher(t, nil)
	for _, id := range numbered("hook", subscriptions) {
		f.admins[0].subscribe(t, id, c.URL, []string{"artifact.*"}, nil)
	}
	f.steady(subscriptions)
	f.admins[0].publish(t, deployed("before-00000", "libs"))
	c.waitFor(t, subscriptions)
	js := f.jetStream()
	eventually(t, "nothing is in flight", func() bool {
		for _, id := range numbered("hook", subscriptions) {
			queue, err := js.Consumer(t.Context(), "DELIVERIES_"+id, "sender")
			if err != nil || queue.CachedInfo().NumAckPending > 0 {
				return false
			}
		}
		return true
	})

	frozen := f.senders[0]
	thaw := freeze(t, frozen.cmd.Process)
	for _, id := range numbered("frozen", n) {
		f.admins[0].publish(t, deployed(id, "libs"))
	}
	c.arrives(t, subscriptions*(1+n))

	thaw()
	f.steady(subscriptions)
	f.admins[0].publish(t, deployed("after-00000", "libs"))
	c.arrives(t, subscriptions*(2+n))
	for id, requests := range c.requestsFor(t, "") {
		if requests != subscriptions {
			t.Errorf("%d requests for %s, want one for each of %d subscriptions", requests, id, subscriptions)
		}
	}
}

// Deliveries that wait in a sender that stands still are made by another, and
// not by the first when it goes on.
func TestFrozenSenderWithRate(t *testing.T) {
	t.Parallel()
	const n, begun = 12, 3
	f := newFleet(t)
	f.admins = f.launch(1, "producer,admin,router")
	f.senders = f.launch(2, "sender")
	c := startCatcher(t, nil)
	f.admins[0].subscribe(t, "paced", c.URL, []string{"artifact.*"}, map[string]any{"delivery": map[string]any{"rate": 1}})
	f.steady(1)
	frozen := f.senders[slices.IndexFunc(f.senders, func(s *server) bool { return s.pulled() == 1 })]
	for _, id := range numbered("event", n) {
		f.admins[0].publish(t, deployed(id, "libs"))
	}
	c.waitFor(t, begun)
	thaw := freeze(t, frozen.cmd.Process)
	c.waitFor(t, begun+2) // another one has them all
	thaw()
	eventually(t, "it is said that it stood still", func() bool { return len(frozen.stderr.lines("has stood still")) > 0 })
	eventually(t, "all are made", func() bool { return c.deliveries() >= n })
	f.admins[0].publish(t, deployed("after-00000", "libs"))
	eventually(t, "the next one is made", func() bool { return c.deliveries() > n })
	repeats := 0
	for _, requests := range c.requestsFor(t, "") {
		repeats += requests - 1
	}
	if repeats > 1 {
		t.Errorf("%d deliveries were made again, want at most the one that was under way", repeats)
	}
}

// A router stands still, or is killed and started again, and another goes on: events that
// NATS hands to it meanwhile are routed soon, and once.
func TestFrozenRouter(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		t.Run(fmt.Sprintf("killed %t", kill), func(t *testing.T) {
			t.Parallel()
			const n = 40
			f := newFleet(t)
			f.admins = f.launch(1, "producer,admin,sender")
			f.routers = f.launch(2, "router")
			c := startCatcher(t, nil)
			f.admins[0].subscribe(t, "hook", c.URL, []string{"artifact.*"}, nil)
			ids, thaw := slices.Concat(numbered("before", n), numbered("frozen", n)), func() {}
			for i, id := range ids {
				if i == n/2 {
					thaw = freeze(t, f.routers[0].cmd.Process)
				}
				f.admins[0].publish(t, deployed(id, "libs"))
			}
			if kill {
				f.routers[0].kill()
				thaw = func() {}
				f.launch(1, "router")
			}
			c.arrives(t, len(ids))
			thaw()
			f.admins[0].publish(t, deployed("after-00000", "libs"))
			c.arrives(t, len(ids)+1)
			js := f.jetStream()
			eventually(t, "all events are settled", func() bool {
				router, err := js.Consumer(t.Context(), "EVENTS_artifact", "router")
				if err != nil {
					return false
				}
				i := router.CachedInfo()
				return i.NumPending == 0 && i.NumAckPending == 0
			})
			c.exactly(t, len(ids)+1)
		})
	}
}
