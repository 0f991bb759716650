package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/testkit"
)

// damage changes one byte of a text in the file of a stream.
func (s *server) damage(tb testing.TB, name, text string) {
	tb.Helper()
	blocks, err := filepath.Glob(filepath.Join(s.streamDir(name), "msgs", "*.blk"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range blocks {
		data, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		if at := bytes.LastIndex(data, []byte(text)); at >= 0 {
			data[at] ^= 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				tb.Fatal(err)
			}
			return
		}
	}
	tb.Fatalf("%s has no %q", name, text)
}

// Files of NATS are damaged, in all the ways in which its server takes no notice, or
// leaves a stream out. Whatever it is, the process answers, says which stream it is, and
// goes on when that is accepted; and every delivery that was owed is made.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	empty := func(name string) func(t *testing.T, s *server) {
		return func(t *testing.T, s *server) {
			t.Helper()
			if err := os.Truncate(filepath.Join(s.streamDir("DELIVERIES_hook"), name), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, s *server)
		says   string // on /readyz; empty: nothing is lost
	}{
		"a subscription": {
			damage: func(t *testing.T, s *server) { t.Helper(); s.damage(t, "KV_subscriptions", `"id":"spare"`) },
			says:   "KV_subscriptions: its file is damaged: message",
		},
		"the end of the subscriptions": {
			damage: func(t *testing.T, s *server) { t.Helper(); s.damage(t, "KV_subscriptions", `"state":"`) },
			says:   "KV_subscriptions: its file is damaged: message",
		},
		"the description of the subscriptions": {
			damage: func(t *testing.T, s *server) {
				t.Helper()
				if err := os.Truncate(filepath.Join(s.streamDir("KV_subscriptions"), "meta.inf"), 0); err != nil {
					t.Fatal(err)
				}
			},
			says: "KV_subscriptions: it is missing",
		},
		"a delivery": {
			damage: func(t *testing.T, s *server) { t.Helper(); s.damage(t, "DELIVERIES_hook", `wanted-00007`) },
			says:   "DELIVERIES_hook: its file is damaged: message",
		},
		"the description of a queue": {damage: empty("meta.inf"), says: "DELIVERIES_hook: it is missing"},
		"its checksum":               {damage: empty("meta.sum"), says: "DELIVERIES_hook: it is missing"},
		"the consumer of a queue":    {damage: empty(filepath.Join("obs", "sender", "meta.inf"))},
		"its state": {
			damage: func(t *testing.T, s *server) {
				t.Helper()
				path := filepath.Join(s.streamDir("DELIVERIES_hook"), "obs", "sender", "o.dat")
				if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		"the messages of a queue": {
			damage: func(t *testing.T, s *server) {
				t.Helper()
				if err := os.RemoveAll(filepath.Join(s.streamDir("DELIVERIES_hook"), "msgs")); err != nil {
					t.Fatal(err)
				}
			},
			says: "DELIVERIES_hook: it ends with message",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, "--http", testkit.FreeAddress(t), "--schemas", shopDomain(t))
			receiver := startCatcher(t, nil)
			s.subscribe(t, "spare", receiver.URL, []string{"shop.other"}, nil)
			s.subscribe(t, "hook", receiver.URL, []string{"shop.wanted"}, nil)
			ids := numbered("wanted", 10)
			for _, id := range ids[:3] {
				s.publish(t, happened("wanted", id, 10))
			}
			receiver.waitFor(t, 3)
			s.call(t, http.MethodPost, "/v1/subscriptions/hook/pause", nil, nil)
			for _, id := range ids[3:] {
				s.publish(t, happened("wanted", id, 10))
			}
			eventually(t, "all are queued", func() bool {
				return strings.Contains(string(s.do(t, http.MethodGet, "/v1/subscriptions/hook/backlog", nil).body), `"queued":7`)
			})
			s.stop(t)
			c.damage(t, s)

			s.startHeld(t)
			if c.says != "" {
				s.awaitReady(t, c.says)
				if r := s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"all"}}); r.status != http.StatusOK {
					t.Errorf("accept: %d %s", r.status, r.body)
				}
			}
			s.awaitReady(t, "")
			if r := s.do(t, http.MethodPost, "/v1/subscriptions/hook/resume", nil); r.status == http.StatusNotFound {
				s.subscribe(t, "hook", receiver.URL, []string{"shop.wanted"}, nil) // its record was lost
			}
			s.publish(t, happened("wanted", "after", 10))
			receiver.wantAll(t, append(ids, "after"), 0)
			s.stop(t)
			s.restart(t)
			if c.says != "" {
				// A file that stays damaged may have the server forget the end of the queue at
				// its next start: what its consumer has had is not there then, though nothing
				// of it is owed any more.
				s.do(t, http.MethodPost, "/v1/storage/accept-loss", object{"streams": []string{"all"}})
			}
			s.awaitReady(t, "")
			receiver.wantAll(t, append(ids, "after"), 0)
			if lines := s.stderr.lines("has stopped writing"); len(lines) > 0 {
				t.Errorf("it says that a restart helps: %s", lines)
			}
		})
	}
}
