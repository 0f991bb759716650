package admin

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap/zapcore"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// streamFolder is where the server keeps a part of a stream: msgs or obs.
func (f *fixture) streamFolder(name, part string) string {
	return filepath.Join(f.nats.Dir, "jetstream", "$G", "streams", name, part)
}

// keep copies a folder of the server, which is stopped meanwhile.
func (f *fixture) keep(folder string) (copied string) {
	f.t.Helper()
	copied = filepath.Join(f.t.TempDir(), "copy")
	f.nats.Stop()
	if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
		f.t.Fatal(err)
	}
	f.nats.Start()
	f.awaitConnected()
	return copied
}

// putBack makes a folder of the server what it was when it was copied.
func (f *fixture) putBack(copied, folder string) {
	f.t.Helper()
	f.nats.Stop()
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(copied))); err != nil {
		f.t.Fatal(err)
	}
	f.nats.Start()
	f.awaitConnected()
}

func (f *fixture) awaitConnected() {
	f.t.Helper()
	for late := time.Now().Add(patience); ; {
		if _, err := f.js.AccountInfo(f.t.Context()); err == nil {
			return
		}
		if time.Now().After(late) {
			f.t.Fatal("the server does not answer")
		}
	}
}

// take has the consumer of a stream hand out what it will, and settles it. It returns
// the sequences.
func (f *fixture) take(name, consumer string) (sequences []uint64) {
	f.t.Helper()
	c, err := f.js.Consumer(f.t.Context(), name, consumer)
	if err != nil {
		f.t.Fatal(err)
	}
	for {
		batch, err := c.Fetch(500, jetstream.FetchMaxWait(300*time.Millisecond))
		if err != nil {
			f.t.Fatal(err)
		}
		n := len(sequences)
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err == nil {
				err = m.DoubleAck(f.t.Context())
			}
			if err != nil {
				f.t.Fatal(err)
			}
			sequences = append(sequences, meta.Sequence.Stream)
		}
		if len(sequences) == n {
			return sequences
		}
	}
}

func upTo(first, last uint64) (sequences []uint64) {
	for n := first; n <= last; n++ {
		sequences = append(sequences, n)
	}
	return sequences
}

// publishPushes stores git.push events with the numbers from first to last.
func (f *fixture) publishPushes(first, last int) {
	f.t.Helper()
	for n := first; n <= last; n++ {
		f.publish(newEvent("git.push", "push-"+strconv.Itoa(n)))
	}
}

// counted is the value of a metric without labels.
func (f *fixture) counted(name string) (value float64) {
	f.t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			value = family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return value
}

// wantReset checks that a consumer was reported to be set back, so often.
func (f *fixture) wantReset(name string, times int) {
	f.t.Helper()
	var found int
	for _, entry := range f.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("ahead of its stream").All() {
		if entry.ContextMap()["stream"] == name {
			found++
		}
	}
	if got := f.counted("jetpost_admin_consumer_resets_total"); found != times || got != float64(times) {
		f.t.Errorf("that the consumer of %s was set back is logged %d times and counted %v times, want %d", name, found, got, times)
	}
}

// Damage at the head of an event log has NATS begin it again at 1, while the routers'
// consumer stands where it was: what is published then would not be routed.
func TestConsumerAheadOfItsLog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	log := f.layout.EventLog("git")
	f.publishPushes(1, 100)
	f.take(log, stream.RouterConsumer)
	f.admin.positions.Check(t.Context())
	f.nats.Stop()
	block := filepath.Join(f.streamFolder(log, "msgs"), "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	b[10] ^= 1
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f.nats.Start()
	f.awaitConnected()
	f.publishPushes(101, 160)
	at, err := stream.ReadPosition(t.Context(), f.js, log, stream.RouterConsumer)
	if err != nil || !at.Ahead() {
		t.Fatalf("the consumer is at %+v, error %v: this shows nothing", at, err)
	}
	if got := f.take(log, stream.RouterConsumer); len(got) > 0 {
		t.Fatalf("%d events are handed out: this shows nothing", len(got))
	}
	routing, err := f.layout.ReadRouting(t.Context(), f.js, "git")
	if err != nil || routing != (stream.Routing{}) {
		t.Errorf("events count as routed: %+v, error %v", routing, err)
	}
	f.admin.positions.Check(t.Context())
	if got, want := f.take(log, stream.RouterConsumer), upTo(1, 60); !slices.Equal(got, want) {
		t.Errorf("handed out are %v, want 1 to 60", got)
	}
	f.admin.positions.Check(t.Context())
	f.wantReset(log, 1)
}

// The log has lost its end and has caught up before anyone could see it: its consumer is
// not ahead by numbers, and has skipped what came to the places of what was lost.
func TestConsumerAheadOfALogThatCaughtUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	log := f.layout.EventLog("git")
	f.publishPushes(1, 40)
	f.take(log, stream.RouterConsumer)
	f.admin.positions.Check(t.Context())
	messages := f.streamFolder(log, "msgs")
	copied := f.keep(messages)
	f.publishPushes(41, 60)
	f.take(log, stream.RouterConsumer)
	f.admin.positions.Check(t.Context())
	f.putBack(copied, messages)
	f.publishPushes(61, 100)
	// On a cluster nothing sets the consumer back.
	if err := stream.SetBack(t.Context(), f.js, log, stream.RouterConsumer, 61); err != nil {
		t.Fatal(err)
	}
	if got, want := f.take(log, stream.RouterConsumer), upTo(61, 80); !slices.Equal(got, want) {
		t.Fatalf("handed out are %v: this shows nothing", got)
	}
	f.admin.positions.Check(t.Context())
	if got, want := f.take(log, stream.RouterConsumer), upTo(41, 80); !slices.Equal(got, want) {
		t.Errorf("handed out are %v, want 41 to 80", got)
	}
	f.admin.positions.Check(t.Context())
	f.publishPushes(101, 110)
	f.admin.positions.Check(t.Context())
	f.wantReset(log, 1)
}

// What NATS has put right itself is said, and not routed again.
func TestLogLostItsEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	log := f.layout.EventLog("git")
	f.publishPushes(1, 10)
	f.take(log, stream.RouterConsumer)
	f.admin.positions.Check(t.Context())
	messages := f.streamFolder(log, "msgs")
	copied := f.keep(messages)
	f.publishPushes(11, 20)
	f.take(log, stream.RouterConsumer)
	f.admin.positions.Check(t.Context())
	f.putBack(copied, messages)
	for range 2 {
		f.admin.positions.Check(t.Context())
	}
	lost := f.logs.FilterMessageSnippet("has lost events").All()
	if len(lost) != 1 || lost[0].ContextMap()["seq"] != uint64(10) || lost[0].ContextMap()["routed"] != uint64(20) {
		t.Errorf("said of the loss: %v", lost)
	}
	f.publishPushes(21, 25)
	if got, want := f.take(log, stream.RouterConsumer), upTo(11, 15); !slices.Equal(got, want) {
		t.Errorf("handed out are %v, want 11 to 15", got)
	}
	f.wantReset(log, 0)
}

// Events that are erased, or aged out, are no loss.
func TestMissingEventsAreNoLoss(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	log := f.layout.EventLog("git")
	s, err := f.js.Stream(t.Context(), log)
	if err != nil {
		t.Fatal(err)
	}
	for last := 5; last <= 20; last += 5 {
		f.publishPushes(last-4, last)
		f.take(log, stream.RouterConsumer)
		f.admin.positions.Check(t.Context())
	}
	if err := s.SecureDeleteMsg(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	f.publishPushes(21, 22)
	f.admin.positions.Check(t.Context())
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.publishPushes(23, 24)
	f.admin.positions.Check(t.Context())
	if got, want := f.take(log, stream.RouterConsumer), upTo(23, 24); !slices.Equal(got, want) {
		t.Errorf("handed out are %v, want 23 and 24", got)
	}
	if said := f.logs.FilterLevelExact(zapcore.ErrorLevel).All(); len(said) > 0 {
		t.Errorf("said: %v", said)
	}
	f.wantReset(log, 0)
}

// The queue has lost its end, and other deliveries have come to the places that its
// consumer takes for settled. They are not dropped, but made.
func TestConsumerAheadOfItsQueue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		after int // deliveries that come before anyone looks
		want  []uint64
	}{
		{"ahead", 5, upTo(1, 5)},
		{"caught up", 30, upTo(1, 20)}, // 21 to 30 are handed out by then
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
			queue := f.layout.QueueFor("ci")
			messages := f.streamFolder(queue.Stream, "msgs")
			copied := f.keep(messages) // without any message
			test := func(n int) {
				for range n {
					f.do("POST", "/v1/subscriptions/ci/test", "").want(http.StatusAccepted)
				}
			}
			test(20)
			if got := f.take(queue.Stream, queue.Consumer); len(got) != 20 {
				t.Fatalf("%d deliveries", len(got))
			}
			f.putBack(copied, messages)
			// As on a cluster, where nothing sets the consumer back.
			if err := stream.SetBack(t.Context(), f.js, queue.Stream, queue.Consumer, 21); err != nil {
				t.Fatal(err)
			}
			test(tt.after)
			handedOut := f.take(queue.Stream, queue.Consumer)
			if len(handedOut)+len(tt.want) != tt.after {
				t.Fatalf("handed out are %v: this shows nothing", handedOut)
			}
			f.sweep("ci")
			if got := f.take(queue.Stream, queue.Consumer); !slices.Equal(got, tt.want) {
				t.Errorf("handed out are %v, want %v", got, tt.want)
			}
			f.wantReset(queue.Stream, 1)
			if got := f.waiting("ci"); got != 0 {
				t.Errorf("%d deliveries are left", got)
			}
		})
	}
}

// A retry that has fired waits where the pump's consumer takes all for settled.
func TestConsumerAheadOfItsRetries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	shard := f.layout.QueueFor("ci").RetryShard
	name := f.layout.RetryStream(shard)
	retry := func(n int) {
		e := newEvent("git.push", fmt.Sprint("push-", n))
		d := &delivery.Delivery{
			ID: delivery.ID("ci", e.Source, e.ID), SubscriptionID: "ci", Event: e, Attempt: 2, Accepted: time.Now(),
			Origin: delivery.Origin("EVENTS_git", uint64(n), time.Now(), "ci"), //nolint:gosec // small
		}
		due := d.Requeued(f.layout.RetryDue(shard, "ci"), name)
		if _, err := f.js.PublishMsg(t.Context(), &nats.Msg{Subject: due.Subject, Header: due.Header, Data: due.Data}); err != nil {
			t.Fatal(err)
		}
	}
	messages := f.streamFolder(name, "msgs")
	copied := f.keep(messages)
	for n := range 3 {
		retry(n)
	}
	f.take(name, stream.SenderConsumer)
	f.putBack(copied, messages)
	for _, after := range []int{2, 5} { // ahead of its stream, and caught up
		if err := stream.SetBack(t.Context(), f.js, name, stream.SenderConsumer, 100); err != nil {
			t.Fatal(err)
		}
		for n := range after {
			retry(10*after + n)
		}
		if got := f.take(name, stream.SenderConsumer); len(got) > 0 {
			t.Fatalf("handed out are %v: this shows nothing", got)
		}
		f.admin.positions.Check(t.Context())
		if got := f.take(name, stream.SenderConsumer); len(got) != after {
			t.Errorf("handed out are %v, want %d", got, after)
		}
	}
	f.wantReset(name, 2)
}
