package admin

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// sweep sweeps the queue of a subscription once.
func (f *fixture) sweep(id string) {
	f.t.Helper()
	sub, err := f.admin.keep.Find(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	f.admin.sweeper.Sweep(f.t.Context(), sub)
}

// waiting is how many messages a queue has, -1 when there is none.
func (f *fixture) waiting(id string) int {
	f.t.Helper()
	s, err := f.js.Stream(f.t.Context(), f.layout.QueueFor(id).Stream)
	if err != nil {
		return -1
	}
	return int(s.CachedInfo().State.Msgs) //nolint:gosec // small
}

// A queue that was deleted by hand is made again, unless its subscription is disabled,
// as it is while it is being deleted.
func TestMissingQueueIsMadeAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, id := range []string{"ci", "off"} {
		f.do("POST", "/v1/subscriptions", strings.Replace(ci, `"ci"`, `"`+id+`"`, 1)).want(http.StatusCreated)
	}
	if _, err := f.store.Change(t.Context(), "off", func(s *subscription.Subscription) error {
		s.State = subscription.Disabled
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]int{"off": -1, "ci": 0} {
		if err := f.js.DeleteStream(t.Context(), f.layout.QueueFor(id).Stream); err != nil {
			t.Fatal(err)
		}
		f.sweep(id)
		if got := f.waiting(id); got != want {
			t.Errorf("%s: the queue has %d messages, want %d (-1: there is none)", id, got, want)
		}
	}
	if got := f.inFlight("ci"); got != 64 {
		t.Errorf("the consumer that was made again hands out %d", got)
	}
	f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	if err := f.js.DeleteConsumer(t.Context(), f.layout.QueueFor("ci").Stream, stream.SenderConsumer); err != nil {
		t.Fatal(err)
	}
	f.sweep("ci")
	if got := f.inFlight("ci"); got != 64 || f.waiting("ci") != 1 {
		t.Errorf("the consumer that was made again hands out %d of %d", got, f.waiting("ci"))
	}
}

// What waits is never swept away: not what was not handed out, not what is in flight,
// and not what has been handed back.
func TestSweepLeavesWhatWaits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const deliveries = 4
	for range deliveries {
		f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	}
	c, err := f.js.Consumer(t.Context(), f.layout.QueueFor("ci").Stream, f.layout.QueueFor("ci").Consumer)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(3, jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for m := range batch.Messages() {
		switch n++; n {
		case 1:
			err = m.DoubleAck(t.Context())
		case 2:
			err = m.NakWithDelay(time.Hour)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		f.sweep("ci")
	}
	if got := f.waiting("ci"); got != deliveries-1 {
		t.Errorf("%d deliveries wait, want %d", got, deliveries-1)
	}
}

// recordDelivered records the attempt that delivers a message, as senders do before
// they settle it.
func (f *fixture) recordDelivered(id string, m jetstream.Msg) {
	f.t.Helper()
	d, err := delivery.FromMessage(id, m.Headers(), m.Data())
	if err != nil {
		f.t.Fatal(err)
	}
	a := &delivery.Attempt{
		DeliveryID: d.ID, SubscriptionID: id, Event: delivery.RefOf(d), Attempt: 1, At: time.Now().UTC(), Outcome: delivery.Delivered,
		Method: http.MethodPost, URL: "http://127.0.0.1/", Status: http.StatusNoContent,
	}
	if err := delivery.NewLog(f.js, f.layout).Record(f.t.Context(), a, d.Chain(), func(*delivery.Attempt) {}); err != nil {
		f.t.Fatal(err)
	}
}

// The NATS server has lost that messages were taken off the queue, and knows that they
// were acknowledged: as after a kill, its files are of different moments.
func TestSweepDropsWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const deliveries = 3
	for range deliveries {
		f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	}
	queue := f.layout.QueueFor("ci").Stream
	messages := filepath.Join(f.nats.Dir, "jetstream", "$G", "streams", queue, "msgs")
	earlier := filepath.Join(t.TempDir(), "msgs")
	f.nats.Stop()
	if err := os.CopyFS(earlier, os.DirFS(messages)); err != nil {
		t.Fatal(err)
	}
	f.nats.Start()
	c, err := f.js.Consumer(t.Context(), queue, stream.SenderConsumer)
	for late := time.Now().Add(patience); err != nil && time.Now().Before(late); {
		c, err = f.js.Consumer(t.Context(), queue, stream.SenderConsumer)
	}
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(deliveries, jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		f.recordDelivered("ci", m)
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	f.nats.Stop()
	if err := errors.Join(os.RemoveAll(messages), os.CopyFS(messages, os.DirFS(earlier))); err != nil {
		t.Fatal(err)
	}
	f.nats.Start()
	for late := time.Now().Add(patience); f.waiting("ci") != deliveries; {
		if time.Now().After(late) {
			t.Fatalf("%d messages, want the %d that were acknowledged", f.waiting("ci"), deliveries)
		}
	}
	if batch, err = c.FetchNoWait(1); err != nil {
		t.Fatal(err)
	}
	for range batch.Messages() {
		t.Fatal("they are handed out again: this shows nothing")
	}
	f.sweep("ci")
	if got := f.waiting("ci"); got != 0 {
		t.Errorf("%d are left", got)
	}
	// The queue goes on.
	f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
	f.sweep("ci")
	if got := f.waiting("ci"); got != 1 {
		t.Errorf("%d deliveries wait, want 1", got)
	}
}
