//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// fileVariable is how large the files of a child may become, in bytes.
const fileVariable = "JETPOST_TEST_FSIZE"

// A natsProcess is a NATS server in a process of its own.
type natsProcess struct {
	*program
	dir, port string
}

func startNATS(tb testing.TB, env ...string) *natsProcess {
	tb.Helper()
	_, port, _ := net.SplitHostPort(testkit.FreeAddress(tb))
	n := &natsProcess{dir: filepath.Join(tb.TempDir(), "nats"), port: port}
	n.again(tb, env...)
	return n
}

// again starts it on what it has stored.
func (n *natsProcess) again(tb testing.TB, env ...string) {
	tb.Helper()
	n.program = prepareProgram(tb, natsCommand, n.dir, n.port)
	n.cmd.Env = append(n.cmd.Env, env...)
	n.start(tb)
	n.line(tb, "listening on")
}

func (n *natsProcess) url() string { return "nats://" + natsToken + "@127.0.0.1:" + n.port }

// refused publishes until an event is not accepted, and returns how many were, and
// the answer.
func (s *server) refused(t *testing.T, kind, prefix string, bytes int) (accepted int, r reply) {
	t.Helper()
	for n := range 1000 {
		body, header := happened(kind, fmt.Sprintf("%s-%d", prefix, n), bytes).binary()
		if r = s.do(t, http.MethodPost, "/v1/events", body, header...); r.status != http.StatusCreated {
			return n, r
		}
	}
	t.Fatal("all events were accepted")
	return 0, reply{}
}

// wantUnavailable checks an answer that says that nothing is stored.
func wantUnavailable(t *testing.T, r reply, because string) {
	t.Helper()
	if detail, _ := r.problem(); r.status != http.StatusServiceUnavailable || !strings.Contains(detail, because) ||
		!strings.Contains(detail, "sending all again is safe") || r.header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q, %s; want 503 because %q", r.status, r.header.Get("Retry-After"), r.body, because)
	}
}

// openNATS is JetStream of a server, from outside.
func openNATS(tb testing.TB, url string) jetstream.JetStream {
	tb.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return js
}

// reserved is how many parts of the reserve there are.
func reserved(ctx context.Context, js jetstream.JetStream) int {
	reserve, err := js.Stream(ctx, "RESERVE")
	if err != nil {
		return -1
	}
	return int(reserve.CachedInfo().State.Msgs) //nolint:gosec // few
}

func awaitReserve(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "room is kept", func() bool { return reserved(t.Context(), js) == 16 })
}

// useUpReserve takes what is kept for settling and for the audit trail, once it is there.
func useUpReserve(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	awaitReserve(t, js)
	reserve, err := js.Stream(t.Context(), "RESERVE")
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The store of the NATS server is full to its limit, and what was kept free is used up.
// Publishers receive errors, what was
// requested is not requested again while it cannot be recorded, and when there is
// room everything goes on by itself.
func TestStorageFull(t *testing.T) {
	t.Parallel()
	n := startNATS(t, storeVariable+"=4000000")
	s := startServer(t, "--nats", n.url(), "--schemas", shopDomain(t))
	release := make(chan struct{})
	c := startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
		select {
		case <-release:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	})
	const inFlight = 4
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, object{"delivery": object{"max_in_flight": inFlight}})
	ids := numbered("wanted", 10)
	for _, id := range ids {
		s.publish(t, happened("wanted", id, 10))
	}
	c.waitFor(t, inFlight)
	js := openNATS(t, n.url())
	useUpReserve(t, js)
	_, r := s.refused(t, "filler", "filler", 200<<10)
	wantUnavailable(t, r, "the storage of NATS is full")
	s.awaitReady(t, "the storage of NATS is full")
	if r := s.do(t, http.MethodPost, "/v1/subscriptions/hook/pause", nil); r.status != http.StatusServiceUnavailable || !strings.Contains(string(r.body), "free space") {
		t.Errorf("a change of a subscription: %d %s", r.status, r.body)
	}

	close(release)
	s.awaitReady(t, "stream ATTEMPTS stores nothing")
	if got := c.count(); got != inFlight {
		t.Errorf("%d requests were made, want those that were under way: %d", got, inFlight)
	}
	if attempts := s.attempts(t, "hook"); len(attempts) > 0 {
		t.Errorf("recorded: %+v", attempts)
	}

	log, err := js.Stream(t.Context(), "EVENTS_shop")
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Purge(t.Context(), jetstream.WithPurgeSubject("events.shop.filler")); err != nil {
		t.Fatal(err)
	}
	c.wantAll(t, ids, 0)
	s.awaitReady(t, "")
	s.publish(t, happened("wanted", "after", 10))
	c.wantAll(t, append(ids, "after"), 0)
	eventually(t, "every request is recorded", func() bool { return len(s.attempts(t, "hook")) >= len(ids)+1 })
	for _, a := range s.attempts(t, "hook") {
		if a.Attempt != 1 || len(s.attempts(t, "hook")) != len(ids)+1 {
			t.Errorf("%+v", a)
		}
	}
}

// A store is full to its limit. Deliveries that are under way, wait to be retried or are
// given up are settled all the same: there is room for that, and they leave their queues.
func TestFullStoreSettles(t *testing.T) {
	t.Parallel()
	n := startNATS(t, storeVariable+"=12000000")
	s := startServer(t, "--nats", n.url(), "--schemas", shopDomain(t))
	release := make(chan struct{})
	c := startCatcher(t, func(w http.ResponseWriter, r *http.Request, a *arrival) {
		select {
		case <-release:
		case <-r.Context().Done():
			return
		}
		switch {
		case r.URL.Path == "/given-up", r.URL.Path == "/fails-once" && a.nth == 1:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	js := openNATS(t, n.url())
	awaitReserve(t, js)
	for id, schedule := range map[string][]string{"works": {"0s"}, "fails-once": {"0s", "200ms", "200ms"}, "given-up": {"0s"}} {
		s.subscribe(t, id, c.URL+"/"+id, []string{"shop.wanted"}, object{"delivery": object{
			"max_in_flight": 4, "retry": object{"schedule": schedule}, "breaker": object{"mode": "off"},
		}})
	}
	const events = 12
	for _, id := range numbered("wanted", events) {
		s.publish(t, happened("wanted", id, 20<<10))
	}
	c.waitFor(t, 3*4)
	for kind, size := "filler", 200<<10; size > 10; size /= 4 { // to the last byte
		_, r := s.refused(t, "filler", fmt.Sprintf("%s-%d", kind, size), size)
		wantUnavailable(t, r, "the storage of NATS is full")
	}
	before := reserved(t.Context(), js)
	close(release)
	for id, want := range map[string]int{"works": events, "fails-once": 2 * events, "given-up": events} {
		eventually(t, id+" is settled", func() bool {
			queue, err := js.Stream(t.Context(), "DELIVERIES_"+id)
			return err == nil && queue.CachedInfo().State.Msgs == 0 && len(s.attempts(t, id)) == want
		})
	}
	if letters := s.letters(t, "given-up"); len(letters) != events {
		t.Errorf("%d dead letters, want %d", len(letters), events)
	}
	if got, want := c.count(), 4*events; got != want {
		t.Errorf("%d requests were made, want %d", got, want)
	}
	if after := reserved(t.Context(), js); before != 16 || after < 8 || after == before {
		t.Errorf("the reserve was %d and is %d, want a part of it to be used, and half of it left to the audit trail", before, after)
	}
}

// A store that is full is emptied as docs/storage-faults.md says: by deleting
// subscriptions whose deliveries wait, and by discarding dead letters. Both are on the
// audit trail first, for which there is room.
func TestFullStoreIsEmptied(t *testing.T) {
	t.Parallel()
	n := startNATS(t, storeVariable+"=12000000")
	s := startServer(t, "--nats", n.url(), "--schemas", shopDomain(t))
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		w.WriteHeader(http.StatusInternalServerError)
	})
	js := openNATS(t, n.url())
	awaitReserve(t, js)
	s.subscribe(t, "letters", c.URL, []string{"shop.wanted"}, object{"delivery": object{"retry": object{"schedule": []string{"0s"}}}})
	s.subscribe(t, "waits", c.URL, []string{"shop.wanted"}, nil)
	s.call(t, http.MethodPost, "/v1/subscriptions/waits/pause", nil, nil)
	for _, id := range numbered("wanted", 5) {
		s.publish(t, happened("wanted", id, 200<<10))
	}
	eventually(t, "all are given up", func() bool { return len(s.letters(t, "letters")) == 5 })
	_, r := s.refused(t, "filler", "filler", 200<<10)
	wantUnavailable(t, r, "the storage of NATS is full")
	for kind, size := "small", 20<<10; size > 10; size /= 4 { // to the last byte
		_, r = s.refused(t, "filler", fmt.Sprintf("%s-%d", kind, size), size)
		wantUnavailable(t, r, "the storage of NATS is full")
	}
	if r := s.do(t, http.MethodPost, "/v1/dead-letters/1/discard", nil); r.status != http.StatusOK {
		t.Errorf("discard: %d %s", r.status, r.body)
	}
	_, _ = s.refused(t, "filler", "again", 1000)
	if r := s.do(t, http.MethodDelete, "/v1/subscriptions/waits", nil); r.status != http.StatusOK {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
	s.publish(t, happened("filler", "room", 200<<10))
	s.awaitReady(t, "")
	records := string(s.do(t, http.MethodGet, "/v1/audit?limit=2", nil).body)
	if !strings.Contains(records, `"dead_letter.discard"`) || !strings.Contains(records, `"subscription.delete"`) {
		t.Errorf("audit trail: %s", records)
	}
}

// The disk takes no more. The event log has stopped, and says so until the process is
// started again; nothing that was acknowledged is lost.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := prepareServerIn(t, filepath.Join(t.TempDir(), "data"), "--allow-target", "127.0.0.0/8", "--schemas", shopDomain(t))
	s.restartAt(t, t.TempDir(), fileVariable+"=3000000") // and room for the reserve
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
	ids := numbered("wanted", 5)
	for _, id := range ids {
		s.publish(t, happened("wanted", id, 10))
	}
	c.wantAll(t, ids, 0)
	fillers, r := s.refused(t, "filler", "filler", 100<<10)
	wantUnavailable(t, r, "after an error of its disk")
	s.awaitReady(t, "stopped writing to EVENTS_shop after an error of the disk: see to the disk, and restart")
	// Others go on.
	s.publish(t, deployed("elsewhere", "libs"))
	s.stop(t)

	s.restart(t)
	s.awaitReady(t, "")
	found := 0
	for _, e := range pages[struct{ Domain, Event json.RawMessage }](t, s, "/v1/events") {
		found += strings.Count(string(e.Event), `"shop.filler"`)
	}
	if found != fillers {
		t.Errorf("%d fillers were acknowledged; got %d", fillers, found)
	}
	s.publish(t, happened("wanted", "after", 10))
	c.wantAll(t, append(ids, "after"), 0)
}

// One server of a cluster is lost: all goes on. Two are lost: nothing can be stored,
// and all clients see it. They return, and work continues without help.
func TestClusterNodesLost(t *testing.T) {
	t.Parallel()
	cluster := streamtest.NewCluster(t)
	s := startServer(t, "--nats", cluster.URL, "--replicas", "3", "--schemas", shopDomain(t))
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
	var ids []string
	publish := func(prefix string) {
		t.Helper()
		for _, id := range numbered(prefix, 10) {
			eventually(t, id+" is accepted", func() bool {
				_, err := s.tryPublish(t.Context(), happened("wanted", id, 10))
				return err == nil
			})
			ids = append(ids, id)
		}
	}
	s.awaitReady(t, "")
	publish("three")
	cluster.StopNode(0)
	publish("two")
	cluster.StopNode(1)
	body, header := happened("wanted", "lost", 10).binary()
	wantUnavailable(t, s.do(t, http.MethodPost, "/v1/events", body, header...), "NATS")
	s.awaitReady(t, `"status":"not ready"`)
	var starting sync.WaitGroup // the first one is not ready without the second
	for i := range 2 {
		starting.Go(func() { cluster.StartNode(i) })
	}
	starting.Wait()
	s.awaitReady(t, "")
	publish("again")
	// What was in hand when the servers went is requested again, at most.
	c.wantAll(t, ids, 16)
}

// publishTimeout is how long a producer waits for NATS, by default.
const publishTimeout = 10 * time.Second

// The server stands still, as on a disk that takes seconds for a write. Publishers
// wait, or receive an error within their time; nothing acknowledged is lost.
func TestStorageStalls(t *testing.T) {
	t.Parallel()
	n := startNATS(t)
	s := startServer(t, "--nats", n.url(), "--schemas", shopDomain(t))
	c := startCatcher(t, nil)
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, nil)
	ids := numbered("before", 5)
	for _, id := range ids {
		s.publish(t, happened("wanted", id, 10))
	}
	var mu sync.Mutex
	var failed []error
	meanwhile := func(prefix string, most int) (wait func()) {
		var publishing sync.WaitGroup
		for _, id := range numbered(prefix, most) {
			publishing.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), factDeadline)
				defer cancel()
				_, err := s.tryPublish(ctx, happened("wanted", id, 10))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = append(failed, err)
					return
				}
				ids = append(ids, id)
			})
		}
		return publishing.Wait
	}
	thaw, stalls := freeze(t, n.cmd.Process), time.Now()
	wait := meanwhile("waits", 5)
	s.awaitReady(t, `"status":"not ready"`) // a second or two
	thaw()
	wait()
	// On a busy machine it may have taken as long as a publisher is made to wait.
	if stalled := time.Since(stalls); len(failed) > 0 && stalled < publishTimeout {
		t.Errorf("a stall of %v: %v", stalled, failed)
	}
	failed = nil
	s.awaitReady(t, "")

	thaw = freeze(t, n.cmd.Process)
	meanwhile("refused", 5)() // all are answered while it stands still
	thaw()
	for _, err := range failed {
		if !errors.Is(err, errNotAccepted) || !strings.Contains(err.Error(), " 503 ") || !strings.Contains(err.Error(), "NATS does not answer") {
			t.Errorf("got %v", err)
		}
	}
	if len(failed) != 5 {
		t.Errorf("%d events were refused while the server stood still, want all 5", len(failed))
	}
	s.awaitReady(t, "")
	c.wantAll(t, ids, 16)
}
