package sender_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/sender"
)

// patience is longer than anything here takes on a loaded machine.
const patience = 30 * time.Second

// secret signs what the rig's subscriptions are sent.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// A rig is an installation without services. Deliveries are put on the queues by
// the test.
type rig struct {
	t       *testing.T
	server  *streamtest.Server
	layout  stream.Layout
	js      jetstream.JetStream
	keyring *keyring.Keyring
	store   *subscription.Store
	log     *zap.Logger
	logged  *observer.ObservedLogs
	connect []nats.Option // of senders

	unstored []stream.Publication // timers
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, server: streamtest.New(t)}
	r.layout = r.server.Layout
	var err error
	if r.js, err = stream.JetStream(r.server.Conn()); err != nil {
		t.Fatal(err)
	}
	if err := r.layout.Ensure(t.Context(), r.js, nil); err != nil {
		t.Fatal(err)
	}
	if r.keyring, err = keyring.Load(filepath.Join(t.TempDir(), "keyset.json")); err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.DebugLevel)
	r.log, r.logged = zap.New(core), logged
	r.store = subscription.NewStore(r.js, r.layout, r.keyring, r.log)
	return r
}

// to is a subscription to a receiver, with a schedule. Where there are two senders both
// pull: one that owns it alone is what the tests of members are about.
func to(id, url string, delays ...time.Duration) *subscription.Subscription {
	sub := &subscription.Subscription{
		ID: id, Types: []string{"notes.*"}, Endpoint: subscription.Endpoint{URL: url, Timeout: subscription.Duration(5 * time.Second)},
		Profile: "standard", Secrets: []subscription.SigningKey{{ID: "key_1", Secret: keyring.NewSecret(secret)}},
		Delivery: subscription.Delivery{Senders: 2},
	}
	for _, delay := range delays {
		sub.Delivery.Retry = append(sub.Delivery.Retry, subscription.Duration(delay))
	}
	return sub
}

// withoutBreaker is for what is about retries only.
func withoutBreaker(sub *subscription.Subscription) *subscription.Subscription {
	sub.Delivery.Breaker.Mode = subscription.BreakerOff
	return sub
}

// subscribe creates a subscription and its queue.
func (r *rig) subscribe(sub *subscription.Subscription) *subscription.Subscription {
	r.t.Helper()
	sub.Queue = r.layout.QueueFor(sub.ID)
	if err := r.layout.EnsureQueue(r.t.Context(), r.js, sub.ID, sub.Queue, cmp.Or(sub.Delivery.MaxInFlight, subscription.DefaultMaxInFlight)); err != nil {
		r.t.Fatal(err)
	}
	created, err := r.store.Create(r.t.Context(), sub)
	if err != nil {
		r.t.Fatal(err)
	}
	return created
}

// change stores a change of a subscription.
func (r *rig) change(id string, change func(*subscription.Subscription)) *subscription.Subscription {
	r.t.Helper()
	changed, err := r.store.Change(r.t.Context(), id, func(s *subscription.Subscription) error { change(s); return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return changed
}

// newEvent is the note number n, which no encoder would write like this.
func newEvent(n int) *event.Event {
	return &event.Event{
		ID: strconv.Itoa(n), Source: "/notes", Type: "notes.added", Subject: fmt.Sprintf("note %d", n), Time: "2026-03-01T12:30:00Z",
		DataContentType: "application/json", Data: fmt.Appendf(nil, `{"n" : %d.0,"big":12345678901234567890,"a":[ ]}`, n),
	}
}

// storedAt is when the log is taken to have stored the event at a place.
func storedAt(sequence uint64) time.Time { return time.Unix(int64(sequence), 0).UTC() } //nolint:gosec // small

// queued is the message that a router would make of an event.
func queued(sub *subscription.Subscription, e *event.Event, accepted time.Time) *nats.Msg {
	n, _ := strconv.ParseUint(e.ID, 10, 32)
	return delivery.Queued(e, sub.Queue.Subject, sub.Queue.Stream, delivery.Origin("EVENTS_notes", n, storedAt(n), sub.ID), accepted)
}

// queue puts the notes from first on, n of them, on a subscription's queue.
func (r *rig) queue(sub *subscription.Subscription, first, n int) {
	r.t.Helper()
	publisher := r.publisher()
	under := make([]stream.Publication, n)
	for i := range under {
		under[i] = publisher.Send(queued(sub, newEvent(first+i), time.Now()))
	}
	r.awaitStored(under)
}

// publisher publishes what has an id, and what is not acknowledged again.
func (r *rig) publisher() *stream.Publisher {
	return stream.NewPublisher(stream.PublisherConfig{Stall: patience, Pause: time.Millisecond}, r.js)
}

func (r *rig) awaitStored(under []stream.Publication) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*patience)
	defer cancel()
	for i := range under {
		if _, err := under[i].Wait(ctx, time.Time{}); err != nil {
			r.t.Fatalf("message %d of %d is not stored: %v, after %v", i+1, len(under), err, under[i].Last())
		}
	}
}

// A running sender, in a process of its own as far as NATS can tell.
type running struct {
	reg *prometheus.Registry
	nc  *nats.Conn
	// stop ends it, and waits until it has.
	stop func()
}

// loopback allows what tests listen on.
func loopback(t *testing.T) *egress.Guard {
	t.Helper()
	egress, err := egress.New(egress.Config{
		AllowTargets: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return egress
}

// send starts a sender.
func (r *rig) send(change ...func(*sender.Config)) *running {
	r.t.Helper()
	nc, reg := r.server.Connect(append([]nats.Option{nats.ReconnectBufSize(-1)}, r.connect...)...), prometheus.NewRegistry()
	js, err := stream.JetStream(nc)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := sender.Config{Egress: loopback(r.t), Grace: 5 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	view := subscription.NewView(subscription.ViewConfig{}, js, r.layout, r.keyring, r.log)
	store := subscription.NewStore(js, r.layout, r.keyring, r.log)
	service, err := sender.New(cfg, nc, r.layout, view, store, r.log, reg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	viewing, stopView := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var background sync.WaitGroup
	background.Go(func() { _ = view.Run(viewing) }) // fails where the connection is closed first
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Errorf("sender: %v", err)
			}
		case <-testkit.Timeout():
			r.t.Error("the sender does not stop")
		}
		stopView()
		background.Wait()
	})
	r.t.Cleanup(stop)
	return &running{reg: reg, nc: nc, stop: stop}
}

// A request is what a receiver was sent.
type request struct {
	*http.Request
	body []byte
	at   time.Time
}

// note is the id of the event in a body of profile standard.
func (r *request) note() string {
	_, rest, _ := strings.Cut(string(r.body), `{"n" : `)
	n, _, _ := strings.Cut(rest, ".")
	return n
}

// A receiver keeps what it is sent.
type receiver struct {
	t *testing.T
	*httptest.Server
	mu       sync.Mutex
	requests []*request
	grown    chan struct{}
	under    int // requests that are being answered
	most     int // and the most of them at a time
}

// receive starts a receiver; answer says what it answers, nil is 204.
func receive(t *testing.T, answer func(http.ResponseWriter, *request)) *receiver {
	t.Helper()
	rc := &receiver{t: t, grown: make(chan struct{})}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender broke off
		}
		got := &request{Request: r, body: body, at: time.Now()}
		rc.mu.Lock()
		rc.requests = append(rc.requests, got)
		rc.under++
		rc.most = max(rc.most, rc.under)
		close(rc.grown)
		rc.grown = make(chan struct{})
		rc.mu.Unlock()
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
		} else {
			answer(w, got)
		}
		rc.mu.Lock()
		rc.under--
		rc.mu.Unlock()
	}))
	t.Cleanup(rc.CloseClientConnections)
	t.Cleanup(rc.Close)
	return rc
}

// all are the requests so far.
func (rc *receiver) all() []*request {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return slices.Clone(rc.requests)
}

// await waits until there are n requests, and returns all there are.
func (rc *receiver) await(n int) []*request {
	rc.t.Helper()
	late := testkit.Timeout()
	for {
		rc.mu.Lock()
		have, grown := slices.Clone(rc.requests), rc.grown
		rc.mu.Unlock()
		if len(have) >= n {
			return have
		}
		select {
		case <-grown:
		case <-late:
			rc.t.Fatalf("the receiver got %d requests in %s, want %d", len(have), patience, n)
		}
	}
}

// notes counts the requests for each note.
func (rc *receiver) notes() map[string]int {
	notes := make(map[string]int)
	for _, r := range rc.all() {
		notes[r.note()]++
	}
	return notes
}

// consumer is what the server knows of the senders' consumer on a queue.
func (r *rig) consumer(sub *subscription.Subscription) (*jetstream.ConsumerInfo, error) {
	c, err := r.js.Consumer(r.t.Context(), sub.Queue.Stream, sub.Queue.Consumer)
	if err != nil {
		return nil, err
	}
	return c.CachedInfo(), nil
}

// awaitSettled waits until nothing is left on a queue, as long as it becomes less.
func (r *rig) awaitSettled(sub *subscription.Subscription) {
	r.t.Helper()
	least := ^uint64(0)
	for isEmpty := false; !isEmpty; {
		testkit.Until(r.t, func() (bool, string) {
			s, err := r.js.Stream(r.t.Context(), sub.Queue.Stream)
			if err != nil { // a server that restarts does not answer
				return false, err.Error()
			}
			left := s.CachedInfo().State.Msgs
			isLess := left < least
			least, isEmpty = min(left, least), left == 0
			return isLess || isEmpty, fmt.Sprintf("%d deliveries are left on the queue of %s", left, sub.ID)
		})
	}
}

// attempts are the records of a subscription, oldest first.
func (r *rig) attempts(sub *subscription.Subscription) []delivery.Attempt {
	r.t.Helper()
	attempts, err := delivery.NewLog(r.js, r.layout).Latest(r.t.Context(), sub.ID, 0, 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Reverse(attempts)
	return attempts
}

// awaitAttempts waits until there are n records of a subscription.
func (r *rig) awaitAttempts(sub *subscription.Subscription, n int) []delivery.Attempt {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var attempts []delivery.Attempt
	for a, err := range delivery.NewLog(r.js, r.layout).Follow(ctx, sub.ID, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		if attempts = append(attempts, a); len(attempts) == n {
			return attempts
		}
	}
	r.t.Fatalf("%s has %d attempts after %s, want %d", sub.ID, len(attempts), patience, n)
	return nil
}

// deadLetters are the dead letters of a subscription, newest first.
func (r *rig) deadLetters(subscription string) []delivery.DeadLetter {
	r.t.Helper()
	deadLetters, err := delivery.NewDeadLetters(r.js, r.layout).Latest(r.t.Context(), subscription, 0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	return deadLetters
}

// awaitDeadLetters waits until a subscription has n dead letters.
func (r *rig) awaitDeadLetters(subscription string, n int) []delivery.DeadLetter {
	r.t.Helper()
	var deadLetters []delivery.DeadLetter
	testkit.Until(r.t, func() (bool, string) {
		deadLetters = r.deadLetters(subscription)
		return len(deadLetters) >= n, fmt.Sprintf("%s has %d dead letters, want %d", subscription, len(deadLetters), n)
	})
	return deadLetters
}

// wantDeadLetterData checks that a dead letter has the event's data as it was published.
func (r *rig) wantDeadLetterData(deadLetter delivery.DeadLetter, e *event.Event) {
	r.t.Helper()
	record, err := stream.Get(r.t.Context(), r.js, r.layout.DeadLetters(), deadLetter.Sequence)
	if err != nil {
		r.t.Fatal(err)
	}
	if !bytes.Equal(record.Data, e.Data) {
		r.t.Errorf("the dead letter has data %q, want %q", record.Data, e.Data)
	}
}

// wantOnce checks that the receiver was sent each of n notes once.
func (rc *receiver) wantOnce(first, n int) {
	rc.t.Helper()
	got := rc.notes()
	for i := first; i < first+n; i++ {
		if times := got[strconv.Itoa(i)]; times != 1 {
			rc.t.Errorf("note %d was sent %d times, want once", i, times)
		}
	}
	if len(got) != n {
		rc.t.Errorf("%d notes were sent, want %d", len(got), n)
	}
}

var eventually = testkit.Until

// counter is the value of a metric with a label, or over all labels.
func counter(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	if label == "" {
		return testkit.Metric(t, reg, name)
	}
	return testkit.Metric(t, reg, name, label)
}
