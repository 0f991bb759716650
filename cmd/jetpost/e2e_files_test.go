package main

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/testkit"
)

// accepted starts the server on damaged files, and accepts all losses, one of which it names
// with because, until it is ready.
func (s *server) accepted(t *testing.T, because string) {
	t.Helper()
	s.startHeld(t)
	s.awaitReady(t, because)
	eventually(t, "it is ready once its losses are accepted", func() bool {
		if r := s.do(t, http.MethodGet, "/readyz", nil); r.status == http.StatusOK {
			return true
		}
		s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"all"}})
		return false
	})
}

// The descriptions of streams are damaged, and their messages are not: streams that are made
// anew are made over them, with all that they have.
func TestDescriptionsAreDamaged(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"EVENTS_shop", "ATTEMPTS", "DEADLETTERS", "AUDIT"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
			c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
				w.WriteHeader(http.StatusInternalServerError)
			})
			s.subscribe(t, "dead", c.URL, []string{"shop.wanted"}, object{"delivery": withoutBreaker(retrying(0, "0s"))})
			const events = 5
			for _, id := range numbered("wanted", events) {
				s.publish(t, happened("wanted", id, 10))
			}
			eventually(t, "all are dead letters", func() bool { return len(s.letters(t, "dead")) == events })
			s.stop(t)
			if err := os.Truncate(filepath.Join(s.streamDir(stream), "meta.inf"), 0); err != nil {
				t.Fatal(err)
			}
			s.accepted(t, stream+": it is missing")
			if got := len(s.letters(t, "dead")); got != events {
				t.Errorf("%d dead letters, want %d", got, events)
			}
			if got := len(s.attempts(t, "dead")); got != events {
				t.Errorf("%d attempts, want %d", got, events)
			}
			if got := strings.Count(string(s.do(t, http.MethodGet, "/v1/events?domain=shop", nil).body), `"id":"wanted-`); got != events {
				t.Errorf("%d events, want %d", got, events)
			}
			if last := s.publish(t, happened("wanted", "last", 10)); last.Sequence != events+1 {
				t.Errorf("the next event has sequence %d, want %d", last.Sequence, events+1)
			}
		})
	}
}

// A retry timer is damaged. It never fires, the server says nothing, and the delivery is
// made again all the same.
func TestTimerIsDamaged(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
		if a.nth == 1 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	s.subscribe(t, "later", c.URL, []string{"shop.wanted"}, object{"delivery": withoutBreaker(retrying(0, "0s", "1h"))})
	s.publish(t, happened("wanted", "damaged", 10))
	s.publish(t, happened("wanted", "whole", 10))
	js := s.jetStream(t)
	eventually(t, "both have a timer", func() bool { return retryTimers(t, js) == 2 })
	s.stop(t)
	s.flip(t, shardOf("later"), "damaged", rand.New(rand.NewPCG(1, 1))) //nolint:gosec // no secret
	s.accepted(t, shardOf("later")+": its file is damaged: message")
	c.waitFor(t, 3)
	eventually(t, "its attempts are on record", func() bool { return len(s.attempts(t, "later")) == 3 })
	if last := s.attempts(t, "later")[2]; last.Event.ID != "damaged" || last.Attempt != 2 {
		t.Errorf("got %+v, want the second attempt of the one that was damaged", last)
	}
	for _, l := range s.storageOf(t).Losses {
		if l.Kind != inventory.Damaged || l.Count != 1 {
			t.Errorf("got %+v", l)
		}
	}
}

// The attempt log has lost all that it had. A queue that is lost later has nothing made
// again that was made before that.
func TestAttemptsAreGone(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
	ids := numbered("wanted", 5)
	for _, id := range ids {
		s.publish(t, happened("wanted", id, 10))
	}
	c.waitFor(t, len(ids))
	s.stop(t)
	if err := os.RemoveAll(filepath.Join(s.streamDir("ATTEMPTS"), "msgs")); err != nil {
		t.Fatal(err)
	}
	s.accepted(t, "ATTEMPTS: it ends with message 0")
	s.publish(t, happened("wanted", "between", 10))
	c.waitFor(t, len(ids)+1)
	s.call(t, http.MethodPost, "/v1/subscriptions/hook/pause", nil, nil)
	s.publish(t, happened("wanted", "owed", 10))
	eventually(t, "it is queued", func() bool {
		return strings.Contains(string(s.do(t, http.MethodGet, "/v1/subscriptions/hook/backlog", nil).body), `"queued":1`)
	})
	s.stop(t)
	if err := os.RemoveAll(s.streamDir("DELIVERIES_hook")); err != nil {
		t.Fatal(err)
	}
	s.accepted(t, "DELIVERIES_hook: it is missing")
	s.call(t, http.MethodPost, "/v1/subscriptions/hook/resume", nil, nil)
	s.publish(t, happened("wanted", "after", 10))
	c.wantAll(t, append(ids, "between", "owed", "after"), 0)
}

// A retry timer is damaged. The others of its stream fire when they are due, without
// another start.
func TestTimersBesideDamaged(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"wanted-one", "wanted-two", "wanted-three"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
			c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, a *arrival) {
				if a.nth == 1 {
					w.WriteHeader(http.StatusInternalServerError)
				}
			})
			s.subscribe(t, "later", c.URL, []string{"shop.wanted"}, object{"delivery": withoutBreaker(retrying(0, "0s", "14s"))})
			ids := []string{"wanted-one", "wanted-two", "wanted-three"}
			js := s.jetStream(t)
			for n, id := range ids {
				s.publish(t, happened("wanted", id, 10))
				eventually(t, "each has its timer", func() bool { return retryTimers(t, js) == uint64(n)+1 }) //nolint:gosec // small
			}
			s.stop(t)
			s.flip(t, shardOf("later"), of, rand.New(rand.NewPCG(1, 1))) //nolint:gosec // no secret
			s.accepted(t, shardOf("later")+": its file is damaged: message")
			c.waitFor(t, 6)
			eventually(t, "all attempts are on record", func() bool { return len(s.attempts(t, "later")) == 6 })
			eventually(t, "no timer is counted any more", func() bool { return retryTimers(t, s.jetStream(t)) == 0 })
		})
	}
}

// The state of the routers' consumer of an event log is damaged. The start ends by itself,
// says so, and goes on where the routers were: what was routed goes to no subscription that
// was created later.
func TestRoutersStateIsDamaged(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
	before, later := startCatcher(t, nil), startCatcher(t, nil)
	s.subscribe(t, "before", before.URL, []string{"shop.wanted"}, nil)
	ids := numbered("wanted", 8)
	for _, id := range ids {
		s.publish(t, happened("wanted", id, 10))
	}
	before.waitFor(t, len(ids))
	s.subscribe(t, "later", later.URL, []string{"shop.wanted"}, nil)
	s.stop(t)
	consumer("o.dat", []byte("nonsense"))(t, &storageOracle{server: s}, "EVENTS_shop", nil)
	s.startHeld(t)
	s.awaitReady(t, "")
	if line := s.logged(t, "the state of the consumer of an event log was damaged"); !strings.Contains(line, "EVENTS_shop") {
		t.Errorf("the log says %s", line)
	}
	if metrics := s.do(t, http.MethodGet, "/metrics", nil); !strings.Contains(string(metrics.body), "jetpost_admin_consumer_resets_total 1") {
		t.Error("the metric does not say so")
	}
	eventually(t, "an event says so", func() bool {
		return strings.Count(string(s.do(t, http.MethodGet, "/v1/events?domain=jetpost&type=jetpost.consumer.reset", nil).body), `"id":"consumer.reset/EVENTS_shop`) == 1
	})
	s.publish(t, happened("wanted", "after", 10))
	later.wantAll(t, []string{"after"}, 0)
	before.wantAll(t, append(ids, "after"), 0)
}

// The ends of files are cut off while the server knows how far the streams went: it takes
// what is gone for deleted. That is a loss, and what was owed is made again.
func TestEndsAreCut(t *testing.T) {
	t.Parallel()
	for _, streams := range [][]string{{"DELIVERIES_waiting", "DEADLETTERS", "AUDIT"}, {shardOf("later")}, {"EVENTS_shop"}, {"ATTEMPTS"}} {
		t.Run(streams[0], func(t *testing.T) {
			t.Parallel()
			o := newStorageOracle(t, rand.New(rand.NewPCG(7, 8))) //nolint:gosec // no secret
			var faults []storageFault
			for _, stream := range streams {
				faults = append(faults, storageFault{besideIndex, stream, cutBesideIndex})
			}
			o.suffer(t, faults)
		})
	}
}
