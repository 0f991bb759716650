package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/testkit"
)

// A stream of events that a test changes things under.
type load struct {
	mu    sync.Mutex
	began map[string]time.Time // by event id: when its publish began
	order []string             // ids that were accepted
	stop  func()               // ends it, and returns when the last is accepted
}

// startLoad publishes events to s from two clients until it is stopped. Each is
// accepted, however often that has to be tried.
func startLoad(tb testing.TB, s *server, pause time.Duration) *load {
	tb.Helper()
	l := &load{began: make(map[string]time.Time)}
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	for client := range 2 {
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				h := deployed(fmt.Sprintf("load-%d-%06d", client, n), "libs")
				l.mu.Lock()
				l.began[h.id] = time.Now()
				l.mu.Unlock()
				if _, err := s.tryPublish(tb.Context(), h); err != nil {
					if tb.Context().Err() == nil {
						tb.Errorf("publish %s: %v", h.id, err)
					}
					return
				}
				l.mu.Lock()
				l.order = append(l.order, h.id)
				l.mu.Unlock()
				testkit.Pause(ctx, pause)
			}
		})
	}
	l.stop = func() {
		cancel()
		running.Wait()
	}
	tb.Cleanup(l.stop)
	return l
}

func (l *load) accepted() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.order)
}

// since returns the accepted events whose publish began after a moment, sorted.
func (l *load) since(moment time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids []string
	for _, id := range l.order {
		if l.began[id].After(moment) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// more waits until n more events are accepted.
func (l *load) more(tb testing.TB, n int) {
	tb.Helper()
	from := len(l.accepted())
	eventually(tb, fmt.Sprintf("%d more events are accepted", n), func() bool { return len(l.accepted()) >= from+n })
}

// A paused subscription gets nothing, and when it is resumed everything that was
// published meanwhile, once.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c, witness := startCatcher(t, nil), startCatcher(t, nil)
	s.subscribe(t, "pausing", c.URL, []string{"artifact.*"}, nil)
	s.subscribe(t, "witness", witness.URL, []string{"artifact.*"}, nil)
	s.publish(t, deployed("before", "libs"))
	c.exactly(t, 1)
	s.call(t, http.MethodPost, "/v1/subscriptions/pausing/pause", object{"reason": "upgrade"}, nil)
	if sub := s.subscription(t, "pausing"); sub.State != "paused" || sub.StateReason != "upgrade" {
		t.Errorf("got %+v", sub)
	}
	const events, clients = 1000, 4
	ids := numbered("paused", events)
	var publishing sync.WaitGroup
	for part := range slices.Chunk(ids, events/clients) {
		publishing.Go(func() {
			for _, id := range part {
				if _, err := s.tryPublish(t.Context(), deployed(id, "libs")); err != nil {
					t.Errorf("publish %s: %v", id, err)
				}
			}
		})
	}
	publishing.Wait()
	witness.exactly(t, events+1) // so they are all routed
	if got := c.count(); got != 1 {
		t.Errorf("%d requests were made while paused", got-1)
	}
	s.call(t, http.MethodPost, "/v1/subscriptions/pausing/resume", nil, nil)
	got := c.exactly(t, events+1)
	if diff := cmp.Diff(ids, eventIDs(t, got[1:])); diff != "" {
		t.Errorf("after resuming (-want +got):\n%s", diff)
	}
	if sub := s.subscription(t, "pausing"); sub.State != "active" || sub.StateReason != "" {
		t.Errorf("got %+v", sub)
	}
}

// A rotation is an answered change of secrets.
type rotation struct {
	answered time.Time
	secrets  []string // that sign from then on
}

// A secret is rotated under load. Deliveries of events that were published after
// the answer carry two signatures, by the new secret and by the old one; so do
// those that come any later than what was under way. When the overlap is over, or
// was not wanted, the old secret is worth nothing.
func TestRotateSecretUnderLoad(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	oldest := s.subscribe(t, "rotating", c.URL, []string{"artifact.*"}, nil).Secret
	l := startLoad(t, s, time.Millisecond)
	l.more(t, 100)

	rotations := []rotation{{secrets: []string{oldest}}}
	secrets := []string{oldest}
	for _, overlap := range []string{"", "1h", "0s"} {
		var out struct{ Secret string }
		var body any
		if overlap != "" {
			body = object{"overlap": overlap}
		}
		s.call(t, http.MethodPost, "/v1/subscriptions/rotating/rotate-secret", body, &out)
		secrets = slices.Insert(secrets, 0, out.Secret)
		if overlap == "0s" {
			secrets = secrets[:1]
		}
		rotations = append(rotations, rotation{time.Now(), slices.Clone(secrets)})
		l.more(t, 200)
	}
	l.stop()
	got := c.waitFor(t, len(l.accepted()))
	late := 0 // requests that were under way when a rotation was answered
	for _, a := range got {
		e, err := a.event()
		if err != nil {
			t.Fatal(err)
		}
		at := 0 // the last rotation answered before the event was published
		for i, r := range rotations {
			if l.began[e.ID()].After(r.answered) {
				at = i
			}
		}
		signed := signedBy(a, rotations)
		if signed < at {
			t.Errorf("%s was published after rotation %d and is signed as after %d: %s", e.ID(), at, signed, a.header.Get("Webhook-Signature"))
		}
		for i, r := range rotations {
			if i > signed && a.at.After(r.answered) {
				late++
				if a.at.After(r.answered.Add(2 * time.Second)) {
					t.Errorf("%s arrived %v after rotation %d and is signed as after %d", e.ID(), a.at.Sub(r.answered), i, signed)
				}
			}
		}
	}
	t.Logf("%d deliveries, %d of them under way while a rotation was answered", len(got), late)
}

// signedBy returns the number of the rotation whose secrets, all of them and no
// others, have signed a; -1 for none.
func signedBy(a *arrival, rotations []rotation) int {
	return slices.IndexFunc(rotations, func(r rotation) bool {
		return len(strings.Fields(a.header.Get("Webhook-Signature"))) == len(r.secrets) &&
			!slices.ContainsFunc(r.secrets, func(secret string) bool { return a.verify(secret) != nil })
	})
}

// A subscription that is made while events pour in gets every event whose publish
// began after the answer: with all roles in one process, and with the router in
// another.
func TestSubscribedUnderLoad(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *server{
		"one process":     func(tb testing.TB) *server { tb.Helper(); return startServer(tb) },
		"three processes": func(tb testing.TB) *server { tb.Helper(); return startSplit(tb).server },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			l := startLoad(t, s, time.Millisecond)
			const subscriptions = 12
			catchers := make([]*catcher, subscriptions)
			answered := make([]time.Time, subscriptions)
			for i := range subscriptions {
				l.more(t, 30)
				catchers[i] = startCatcher(t, nil)
				s.subscribe(t, fmt.Sprint("late-", i), catchers[i].URL, []string{"artifact.deployed"}, nil)
				answered[i] = time.Now()
			}
			l.more(t, 100)
			l.stop()
			for i, c := range catchers {
				want := l.since(answered[i])
				missing := func() []string {
					got := eventIDs(t, c.arrivals())
					return slices.DeleteFunc(slices.Clone(want), func(id string) bool { _, found := slices.BinarySearch(got, id); return found })
				}
				if !holdsWithin(t.Context(), factDeadline, func() bool { return c.count() >= len(want) && len(missing()) == 0 }) {
					t.Errorf("subscription %d: %d events published after the answer, missing %v", i, len(want), missing())
				}
				if len(want) < 90 {
					t.Errorf("subscription %d: only %d events came after it", i, len(want))
				}
				if c.count() != c.deliveries() {
					t.Errorf("subscription %d: %d requests for %d deliveries", i, c.count(), c.deliveries())
				}
			}
		})
	}
}

// A split is jetpost in several processes on the NATS server of the first.
type split struct {
	*server // producer and admin
	router  *server
	sender  *server
}

// startSplit runs producer and admin, with the NATS server, in one process, the
// router in a second and the sender in a third.
func startSplit(tb testing.TB, args ...string) *split {
	tb.Helper()
	sp := &split{server: startServer(tb, append([]string{"--roles", "producer,admin"}, args...)...)}
	sp.router = sp.join(tb, "router", args...)
	sp.sender = sp.join(tb, "sender", args...)
	return sp
}

// join runs a role in a process of its own.
func (sp *split) join(tb testing.TB, role string, args ...string) *server {
	tb.Helper()
	return startServerIn(tb, filepath.Join(tb.TempDir(), role), append([]string{
		"--roles", role, "--nats", sp.natsURL(tb), "--keyset", filepath.Join(sp.data, "keyset.json"), "--allow-target", "127.0.0.0/8",
	}, args...)...)
}
