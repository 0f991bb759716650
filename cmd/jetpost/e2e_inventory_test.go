package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/testkit"
)

// streamDir is where the embedded server of s keeps a stream.
func (s *server) streamDir(name string) string {
	return filepath.Join(s.data, "nats", "jetstream", "$G", "streams", name)
}

// startHeld starts the server again, which does not get as far as to listen.
func (s *server) startHeld(tb testing.TB, args ...string) {
	tb.Helper()
	s.program = prepareProgramAt(tb, tb.TempDir(), append(slices.Clone(s.args), args...)...)
	s.program.start(tb)
	eventually(tb, "it answers", func() bool {
		r, err := s.try(tb.Context(), http.MethodGet, "/livez", nil)
		return err == nil && r.status == http.StatusOK
	})
}

// storageOf asks what is lost.
func (s *server) storageOf(t *testing.T) (state struct {
	Losses  []inventory.Loss    `json:"losses"`
	Unowned []inventory.Unowned `json:"unowned_queues"`
},
) {
	t.Helper()
	r := s.do(t, http.MethodGet, "/v1/storage", nil)
	if err := json.Unmarshal(r.body, &state); err != nil || r.status != http.StatusOK {
		t.Fatalf("the storage: %d %s", r.status, r.body)
	}
	return state
}

// command runs a command of the command line against the server.
func (s *server) command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := prepareProgram(t, append(args, "--server", s.url, "--token", s.token)...)
	p.start(t)
	code = p.wait(t)
	return p.stdout.String(), p.stderr.String(), code
}

// The subscriptions are gone. Nothing is routed without them; the queues that they had
// are kept; and what is created again with the same id gets what waits.
func TestSubscriptionsAreGone(t *testing.T) {
	t.Parallel()
	for name, accept := range map[string]func(t *testing.T, s *server){
		"accepted by the API": func(t *testing.T, s *server) {
			t.Helper()
			if r := s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"KV_subscriptions"}, "reason": "no backup"}); r.status != http.StatusOK {
				t.Errorf("accept: %d %s", r.status, r.body)
			}
		},
		"accepted by the command": func(t *testing.T, s *server) {
			t.Helper()
			if _, stderr, code := s.command(t, "storage", "accept-loss", "KV_subscriptions", "--reason", "no backup"); code != 0 {
				t.Errorf("accept: %d %s", code, stderr)
			}
		},
		"accepted at the start": func(t *testing.T, s *server) {
			t.Helper()
			s.stop(t)
			s.startHeld(t, "--accept-loss", "KV_subscriptions")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
			c := startCatcher(t, nil)
			s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
			s.call(t, http.MethodPost, "/v1/subscriptions/hook/pause", nil, nil)
			ids := numbered("wanted", 20)
			for _, id := range ids {
				s.publish(t, happened("wanted", id, 10))
			}
			eventually(t, "all are queued", func() bool {
				return strings.Contains(string(s.do(t, http.MethodGet, "/v1/subscriptions/hook/backlog", nil).body), `"queued":20`)
			})
			s.stop(t)
			if err := os.RemoveAll(s.streamDir("KV_subscriptions")); err != nil {
				t.Fatal(err)
			}

			s.startHeld(t)
			s.awaitReady(t, "KV_subscriptions: it is missing")
			eventually(t, "the log says so", func() bool { return len(s.stderr.lines("KV_subscriptions")) > 0 })
			body, header := happened("wanted", "meanwhile", 10).binary()
			if r := s.do(t, http.MethodPost, "/v1/events", body, header...); r.status != http.StatusServiceUnavailable {
				t.Errorf("an event is accepted: %d %s", r.status, r.body)
			}
			if r := s.do(t, http.MethodGet, "/v1/storage", nil, "Authorization", "Bearer wrong"); r.status != http.StatusUnauthorized {
				t.Errorf("without a token: %d %s", r.status, r.body)
			}
			if got := s.storageOf(t).Losses; len(got) != 1 || got[0].Stream != "KV_subscriptions" || got[0].Kind != inventory.Missing {
				t.Errorf("losses: %+v", got)
			}
			if _, err := os.Stat(s.streamDir("KV_subscriptions")); err == nil {
				t.Error("it was made anew")
			}

			accept(t, s)
			s.awaitReady(t, "")
			if records := s.do(t, http.MethodGet, "/v1/audit?action=storage.accept_loss", nil); strings.Count(string(records.body), `"streams/KV_subscriptions"`) != 1 {
				t.Errorf("audit trail: %s", records.body)
			}
			eventually(t, "the queue is reported", func() bool { return len(s.storageOf(t).Unowned) == 1 })
			if q := s.storageOf(t).Unowned[0]; q.Stream != "DELIVERIES_hook" || q.Subscription != "hook" || q.Messages != 20 {
				t.Errorf("got %+v", q)
			}
			if metrics := s.do(t, http.MethodGet, "/metrics", nil); !strings.Contains(string(metrics.body), "jetpost_storage_unowned_queues 1") {
				t.Error("the metric does not say so")
			}
			s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
			s.publish(t, happened("wanted", "after", 10))
			c.wantAll(t, append(ids, "after"), 0)
			s.stop(t)
			s.restart(t)
			s.awaitReady(t, "")
		})
	}
}

// The subscriptions are there, but have lost keys: nothing is routed by fewer of them.
func TestSubscriptionsHaveLess(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t))
	c := startCatcher(t, nil)
	for _, id := range numbered("hook", 3) {
		s.subscribe(t, id, c.URL, []string{"artifact.*"}, nil)
	}
	s.stop(t)
	dir := s.streamDir("KV_subscriptions")
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("%v %v", blocks, err)
	}
	for _, file := range blocks { // emptied, the index with it
		if err := os.Truncate(file, 0); err != nil {
			t.Fatal(err)
		}
	}
	_ = os.Remove(filepath.Join(dir, "msgs", "index.db"))
	s.startHeld(t)
	s.awaitReady(t, "KV_subscriptions: it ")
	if r := s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"all"}}); r.status != http.StatusOK {
		t.Errorf("accept: %d %s", r.status, r.body)
	}
	s.awaitReady(t, "")
}

// The audit trail is gone. A new one is no whole one.
func TestAuditTrailIsGone(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t))
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"artifact.*"}, nil)
	if _, stderr, code := s.command(t, "audit", "verify"); code != 0 {
		t.Fatalf("verify: %d %s", code, stderr)
	}
	s.stop(t)
	if err := os.RemoveAll(s.streamDir("AUDIT")); err != nil {
		t.Fatal(err)
	}
	s.startHeld(t)
	s.awaitReady(t, "AUDIT: it is missing")
	if r := s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"AUDIT"}}); r.status != http.StatusOK {
		t.Errorf("accept: %d %s", r.status, r.body)
	}
	s.awaitReady(t, "")
	stdout, stderr, code := s.command(t, "audit", "verify")
	if code == 0 || !strings.Contains(stderr, "is missing") || !strings.Contains(stdout, "records 2 to 2 follow each other") {
		t.Errorf("verify: %d %s %s", code, stdout, stderr)
	}
	if records := s.do(t, http.MethodGet, "/v1/audit?action=storage.accept_loss", nil); strings.Count(string(records.body), `"streams/AUDIT"`) != 1 {
		t.Errorf("audit trail: %s", records.body)
	}
}

// A queue is gone, others go on, and its subscription gets a new one.
func TestQueueIsGone(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
	c, other := startCatcher(t, nil), startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
	s.subscribe(t, "other", other.URL, []string{"shop.wanted"}, nil)
	s.publish(t, happened("wanted", "before", 10))
	c.waitFor(t, 1)
	other.waitFor(t, 1)
	s.stop(t)
	if err := os.RemoveAll(s.streamDir("DELIVERIES_hook")); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	s.awaitReady(t, "DELIVERIES_hook: it is missing")
	s.publish(t, happened("wanted", "after", 10))
	c.waitFor(t, 2)
	other.waitFor(t, 2)
	s.awaitReady(t, "DELIVERIES_hook")
	if _, stderr, code := s.command(t, "storage", "accept-loss", "DELIVERIES_hook"); code != 0 {
		t.Errorf("accept: %d %s", code, stderr)
	}
	s.awaitReady(t, "")
	if r := s.do(t, http.MethodDelete, "/v1/subscriptions/hook", nil); r.status/100 != 2 {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
	s.stop(t)
	s.restart(t)
	s.awaitReady(t, "")
}

// NATS has an image of the past, as after a power loss that has taken what was not forced
// to the disk. How much is lost is said, to the number, and work goes on.
func TestImageOfThePast(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
	for _, id := range numbered("before", 5) {
		s.publish(t, happened("wanted", id, 10))
	}
	c.waitFor(t, 5)
	s.stop(t)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.CopyFS(image, os.DirFS(filepath.Join(s.data, "nats"))); err != nil {
		t.Fatal(err)
	}
	s.restart(t)
	for _, id := range numbered("lost", 3) {
		s.publish(t, happened("wanted", id, 10))
	}
	c.waitFor(t, 8)
	s.stop(t)
	if err := os.RemoveAll(filepath.Join(s.data, "nats")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(image, filepath.Join(s.data, "nats")); err != nil {
		t.Fatal(err)
	}

	s.restart(t)
	s.awaitReady(t, "EVENTS_shop: it ends with message 5, and has had 8: the last 3 or more are lost")
	for _, l := range s.storageOf(t).Losses {
		if l.Stream == "EVENTS_shop" && (l.Kind != inventory.WentBack || l.Was != 8 || l.Now != 5 || l.Count != 3) {
			t.Errorf("got %+v", l)
		}
	}
	s.publish(t, happened("wanted", "after", 10))
	c.waitFor(t, 9)
	if r := s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"all"}}); r.status != http.StatusOK {
		t.Errorf("accept: %d %s", r.status, r.body)
	}
	s.awaitReady(t, "")
}
