package stream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

func TestMark(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		old, now stream.Mark
		want     time.Duration
	}{
		{"never set", stream.Mark{}, stream.Mark{}, 0},
		{"set for the first time", stream.Mark{}, stream.Mark{Origin: "a", By: -time.Hour}, -time.Hour},
		{"set again", stream.Mark{Origin: "a", By: -time.Hour}, stream.Mark{Origin: "a", By: time.Minute}, 61 * time.Minute},
		{"by who does not know of it yet", stream.Mark{Origin: "a", By: 2 * time.Hour}, stream.Mark{Origin: "a", By: time.Hour}, -time.Hour},
		{"of another history", stream.Mark{Origin: "a", By: 2 * time.Hour}, stream.Mark{Origin: "b", By: time.Hour}, 0},
		{"whose record is lost", stream.Mark{Origin: "a", By: 2 * time.Hour}, stream.Mark{}, 0},
	} {
		if got := test.now.Since(test.old); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	h, due := nats.Header{}, time.Unix(1_780_000_000, 123)
	for _, m := range []stream.Mark{{}, {Origin: "a", By: -2 * time.Hour}} {
		m.SetTimer(h, due)
		if at, got, known := stream.TimerMark(h); !known || got != m || !at.Equal(due) {
			t.Errorf("got %s, %+v, %t of %q", at, got, known, h)
		}
	}
	for _, value := range []string{"", "1", "1 2", "x 2 a", "1 y a"} {
		h.Set(stream.HeaderTimer, value)
		if _, _, known := stream.TimerMark(h); known {
			t.Errorf("%q says when a timer is due", value)
		}
	}
}

// After the clock was set, timers fire when they are due by the clock as it is now: those
// that say by which setting they were stored, and those of older versions. What is right
// stays, and no timer comes to life again.
func TestMoveTimers(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	l := server.Layout
	js, err := stream.JetStream(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	now := stream.Mark{Origin: "a", By: -2 * time.Hour}
	store := func(key string, due time.Time, mark *stream.Mark) {
		t.Helper()
		h := nats.Header{
			stream.HeaderSchedule: {"@at " + due.UTC().Format(time.RFC3339Nano)}, stream.HeaderScheduleTarget: {l.RetryDue("00", "hook")},
			stream.HeaderMessageID: {key},
		}
		if mark != nil {
			mark.SetTimer(h, due)
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: l.RetryAt("00", "hook", key), Header: h, Data: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	soon, late := time.Now().Add(time.Second), time.Now().Add(2*time.Hour+time.Second)
	store("before", late, &stream.Mark{})
	store("old", late, nil)
	store("after", soon, &now)
	store("tomorrow", late.Add(24*time.Hour), &stream.Mark{})
	for want := 3; want >= 0; want -= 3 { // once more changes nothing
		if moved, err := l.MoveTimers(t.Context(), js, "00", now); err != nil || moved != want {
			t.Errorf("%d timers were moved, %v, want %d", moved, err, want)
		}
	}
	c, err := js.Consumer(t.Context(), l.RetryStream("00"), stream.SenderConsumer)
	if err != nil {
		t.Fatal(err)
	}
	fired := make(map[string]int)
	for range 3 {
		m, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("fired: %v, %v, want three", fired, err)
		}
		fired[string(m.Data())]++
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if fired["before"] != 1 || fired["old"] != 1 || fired["after"] != 1 {
		t.Errorf("fired: %v", fired)
	}
	q := stream.Queue{RetryShard: "00"}
	if due, found, err := l.RetryDueAt(t.Context(), js, q, "hook", "tomorrow"); err != nil || !found || !due.Equal(late.Add(22*time.Hour).UTC()) {
		t.Errorf("due %s, %t, %v, want %s", due, found, err, late.Add(22*time.Hour))
	}
	if moved, err := l.MoveTimers(t.Context(), js, "00", stream.Mark{}); err != nil || moved != 0 {
		t.Errorf("%d timers were moved by what is not known, %v", moved, err)
	}
}

// What a consumer has handed out is not handed out again while its ack wait is renewed,
// held or handed back with a delay or not.
func TestRenewPending(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	js, err := stream.JetStream(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	const name, consumer = "WORK", "worker"
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{"work"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(t.Context(), name, jetstream.ConsumerConfig{Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := js.Publish(t.Context(), "work", nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		m, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if m, _ := m.Metadata(); m.Sequence.Stream == 1 {
			continue // held
		}
		if err := m.NakWithDelay(time.Second); err != nil {
			t.Fatal(err)
		}
	}
	renewing := time.NewTimer(5 * time.Second)
	for renewed := false; !renewed; {
		if err := stream.RenewPending(t.Context(), js, name, consumer); err != nil {
			t.Fatal(err)
		}
		select {
		case <-renewing.C:
			renewed = true
		case <-testkit.TimeoutAfter(50 * time.Millisecond):
		}
	}
	batch, err := c.FetchNoWait(10)
	if err != nil {
		t.Fatal(err)
	}
	for m := range batch.Messages() {
		if got, err := m.Metadata(); err != nil || got.Sequence.Stream != 3 {
			t.Errorf("got message %+v, %v, want only the one that was not handed out", got, err)
		}
	}
	times := make(map[uint64]uint64)
	for times[1] < 2 || times[2] < 2 { // and then they come
		m, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("handed out: %v, %v", times, err)
		}
		got, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		times[got.Sequence.Stream] = got.NumDelivered
	}
	for _, missing := range [][2]string{{"WORK", "missing"}, {"NOTHING", consumer}} {
		if err := stream.RenewPending(t.Context(), js, missing[0], missing[1]); err != nil {
			t.Errorf("%v: %v", missing, err)
		}
	}
}
