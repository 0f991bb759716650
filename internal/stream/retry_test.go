package stream_test

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// timer is the message that makes a delivery of subscription come back at a time.
func timer(l stream.Layout, shard, subscription, key string, at time.Time, e *event.Event) *nats.Msg {
	msg := nats.NewMsg(l.RetryAt(shard, subscription, key))
	e.SetHeader(msg.Header)
	msg.Header.Set(stream.HeaderSchedule, "@at "+at.UTC().Format(time.RFC3339Nano))
	msg.Header.Set(stream.HeaderScheduleTarget, l.RetryDue(shard, subscription))
	msg.Data = e.Data
	return msg
}

func TestRetryTimers(t *testing.T) {
	t.Parallel()
	s, _ := ensured(t)
	js, l := s.JS(), s.Layout
	shard := l.QueueFor("ci").RetryShard
	at := time.Now().Add(time.Second)
	set := func(subscription, key string, at time.Time, e *event.Event) {
		t.Helper()
		ack, err := js.PublishMsg(t.Context(), timer(l, shard, subscription, key, at, e))
		if err != nil || ack.Stream != l.RetryStream(shard) {
			t.Fatalf("set timer: %+v, %v", ack, err)
		}
	}
	withID := func(id string) *event.Event {
		e := timerEvent()
		e.ID = id
		return e
	}
	set("ci", "a", at, withID("a"))
	set("ci", "b", at, withID("b"))
	set("other", "a", at, withID("c"))
	set("ci", "z", at.Add(time.Hour), withID("not yet"))
	set("ci", "r", at.Add(-500*time.Millisecond), withID("replaced, too early"))
	set("ci", "r", at, withID("replaced"))
	set("ci", "r", at, withID("r")) // this one counts
	set("ci", "p", at, withID("put off"))
	set("ci", "p", at.Add(2*time.Hour), withID("put off"))

	consumer, err := js.Consumer(t.Context(), l.RetryStream(shard), l.RetryConsumerConfig(shard).Durable)
	if err != nil {
		t.Fatalf("look up consumer: %v", err)
	}
	due := map[string]string{} // id to subject
	for len(due) < 4 {
		msg, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("wait for timers after %v: %v", due, err)
		}
		if early := time.Until(at); early > 0 {
			t.Errorf("fired %v early", early)
		}
		e, err := event.FromMessage(msg.Headers(), msg.Data())
		if err != nil {
			t.Fatalf("read what fired: %v", err)
		}
		if _, again := due[e.ID]; again {
			t.Errorf("%s fired twice", e.ID)
		}
		due[e.ID] = msg.Subject()
		if diff := cmp.Diff(withID(e.ID), e); diff != "" {
			t.Errorf("fired another event (-want +got):\n%s", diff)
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Errorf("ack: %v", err)
		}
	}
	want := map[string]string{
		"a": l.RetryDue(shard, "ci"), "b": l.RetryDue(shard, "ci"), "r": l.RetryDue(shard, "ci"), "c": l.RetryDue(shard, "other"),
	}
	if !maps.Equal(due, want) {
		t.Errorf("fired: got %v, want %v", due, want)
	}

	// What is left are the two timers of later: those that fired are gone, with
	// what they fired, and nothing was offered twice.
	if msg, err := consumer.Next(jetstream.FetchMaxWait(time.Second)); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("one more fired: %v, %v", msg, err)
	}
	retries, err := js.Stream(t.Context(), l.RetryStream(shard))
	if err != nil {
		t.Fatalf("look up stream: %v", err)
	}
	info, err := retries.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatalf("look up stream: %v", err)
	}
	left := slices.Sorted(maps.Keys(info.State.Subjects))
	if want := []string{l.RetryAt(shard, "ci", "p"), l.RetryAt(shard, "ci", "z")}; !slices.Equal(left, want) {
		t.Errorf("left: got %v, want %v", left, want)
	}
}

// Timers are kept: those that became due while the server was away fire when it is
// back, once.
func TestRetryTimersSurviveRestart(t *testing.T) {
	t.Parallel()
	s, _ := ensured(t)
	js, l := s.JS(), s.Layout
	at := time.Now().Add(300 * time.Millisecond)
	want := map[string]bool{}
	for _, shard := range l.RetryShards() {
		e := timerEvent()
		e.ID = shard
		want[shard] = true
		if _, err := js.PublishMsg(t.Context(), timer(l, shard, "ci", "key", at, e)); err != nil {
			t.Fatalf("set timer: %v", err)
		}
	}
	s.Stop()
	testkit.Pause(t.Context(), time.Until(at)) // the server is to be away at that time
	s.Start()
	awaitServer(t, s)
	for _, shard := range l.RetryShards() {
		consumer, err := js.Consumer(t.Context(), l.RetryStream(shard), stream.SenderConsumer)
		if err != nil {
			t.Fatalf("look up consumer: %v", err)
		}
		msg, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatalf("wait for the timer of shard %s: %v", shard, err)
		}
		if got := msg.Headers().Get("ce-id"); got != shard {
			t.Errorf("shard %s: got the event %s", shard, got)
		}
		if err := msg.DoubleAck(t.Context()); err != nil {
			t.Errorf("ack: %v", err)
		}
		info, err := js.Stream(t.Context(), l.RetryStream(shard))
		if err != nil {
			t.Fatalf("look up stream: %v", err)
		}
		if left := info.CachedInfo().State.Msgs; left != 0 {
			t.Errorf("shard %s: %d messages are left", shard, left)
		}
	}
}

// A timer that cannot come back would be lost, so it has to be refused.
func TestRetryTimerNeedsTarget(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	for what, target := range map[string]string{
		"another stream": q.Subject, "a wildcard": s.Layout.RetryDue(q.RetryShard, "*"), "no subject": "",
	} {
		msg := timer(s.Layout, q.RetryShard, "ci", "key", time.Now().Add(time.Hour), timerEvent())
		msg.Header.Set(stream.HeaderScheduleTarget, target)
		if ack, err := s.JS().PublishMsg(t.Context(), msg); err == nil {
			t.Errorf("a timer that fires to %s was taken: %+v", what, ack)
		}
	}
}

// Whether there was a timer is known for a while, whether it waits or has fired; to ask
// stores nothing.
func TestHadTimer(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, js jetstream.JetStream, l stream.Layout) {
		t.Helper()
		shard := l.QueueFor("ci").RetryShard
		for key, at := range map[string]time.Time{"waits": time.Now().Add(time.Hour), "fires": time.Now()} {
			if _, err := js.PublishMsg(t.Context(), timer(l, shard, "ci", key, at, timerEvent()), jetstream.WithMsgID(key+":a2")); err != nil {
				t.Fatal(err)
			}
		}
		c, err := js.Consumer(t.Context(), l.RetryStream(shard), stream.SenderConsumer)
		if err != nil {
			t.Fatal(err)
		}
		fired, err := c.Next(jetstream.FetchMaxWait(30 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := fired.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			key, id string
			want    bool
		}{{"waits", "waits:a2", true}, {"fires", "fires:a2", true}, {"waits", "waits:a3", false}, {"none", "none:a2", false}, {"none", "none:a2", false}} {
			if got, err := l.HadTimer(t.Context(), js, shard, "ci", tt.key, tt.id); got != tt.want || err != nil {
				t.Errorf("timer %s: %v, error %v, want %v", tt.id, got, err, tt.want)
			}
		}
		for key := range 3 { // the stream works as before
			if _, err := js.PublishMsg(t.Context(), timer(l, shard, "ci", strconv.Itoa(key), time.Now().Add(time.Hour), timerEvent())); err != nil {
				t.Fatal(err)
			}
		}
		s, err := js.Stream(t.Context(), l.RetryStream(shard))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.CachedInfo().State.Msgs; got != 1+3 {
			t.Errorf("the stream has %d messages, want the timers that wait: 4", got)
		}
	}
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		s, _ := ensured(t)
		check(t, s.JS(), s.Layout)
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := streamtest.NewCluster(t)
		if err := c.Layout.Ensure(t.Context(), c.JS(), nil); err != nil {
			t.Fatal(err)
		}
		check(t, c.JS(), c.Layout)
	})
}

// A timer that was stored later than those that are cancelled stays.
func TestCancelTimer(t *testing.T) {
	t.Parallel()
	s, q := ensured(t)
	l := s.Layout
	ack, err := s.JS().PublishMsg(t.Context(), timer(l, q.RetryShard, "ci", "key", time.Now().Add(time.Hour), timerEvent()))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key       string
		below     uint64
		cancelled bool
	}{{"key", ack.Sequence, false}, {"other", 0, false}, {"key", ack.Sequence + 1, true}, {"key", 0, false}} {
		if got, err := l.CancelTimer(t.Context(), s.Conn(), q.RetryShard, "ci", tt.key, tt.below); got != tt.cancelled || err != nil {
			t.Errorf("timer %s below %d: cancelled %v, error %v, want %v", tt.key, tt.below, got, err, tt.cancelled)
		}
	}
	if _, err := s.JS().PublishMsg(t.Context(), timer(l, q.RetryShard, "ci", "key", time.Now().Add(time.Hour), timerEvent())); err != nil {
		t.Fatal(err)
	}
	if got, err := l.CancelTimer(t.Context(), s.Conn(), q.RetryShard, "ci", "key", 0); !got || err != nil {
		t.Errorf("any timer: cancelled %v, error %v", got, err)
	}
}

// timerEvent has attributes and data that a timer must bring back as they are.
func timerEvent() *event.Event {
	return &event.Event{
		ID: "85c7e78e", Source: "/git/widgets", Type: "git.push", Subject: "refs/heads/größe 100%",
		Time: "2026-03-01T12:30:00.120+01:00", DataContentType: "application/json",
		Extensions: []event.Attribute{{Name: "partitionkey", Value: `say "hi"`}},
		Data:       []byte(`{"z" : 1,"big":12345678901234567890,"a":[ ]}`),
	}
}
