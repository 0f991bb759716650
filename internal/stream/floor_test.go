package stream_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// What is settled is known, and what was erased; both also for those who may take
// events and nothing more.
func TestAckFloor(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	l, js := s.Layout, s.JS()
	if err := l.Ensure(t.Context(), js, []string{"notes"}); err != nil {
		t.Fatal(err)
	}
	name := l.EventLog("notes")
	const events = 10
	for n := range events {
		if _, err := js.Publish(t.Context(), l.EventSubject("notes", "added"), fmt.Appendf(nil, "%d", n)); err != nil {
			t.Fatal(err)
		}
	}
	log, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, sequence := range []uint64{5, 6, 8} {
		if err := log.SecureDeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	consumer, err := js.Consumer(t.Context(), name, stream.RouterConsumer)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(events - 3)
	if err != nil {
		t.Fatal(err)
	}
	var messages []jetstream.Msg
	for m := range batch.Messages() {
		messages = append(messages, m)
	}
	floor := func(want uint64) {
		t.Helper()
		got, err := stream.AckFloor(t.Context(), js, name, stream.RouterConsumer)
		if err != nil || got != want {
			t.Errorf("settled up to %d and error %v, want %d", got, err, want)
		}
	}
	floor(0)
	for i, want := range []uint64{1, 2, 3, 6} { // 1, 2, 3 and 4, and behind it two are erased
		if err := messages[i].DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
		floor(want)
	}
	for _, test := range []struct {
		from, to uint64
		want     bool
	}{
		{5, 5, true},
		{5, 6, true},
		{4, 6, false},
		{5, 7, false},
		{5, 8, false},
		{1, 10, false},
		{8, 8, true},
		{9, 9, false},
	} {
		got, err := stream.Erased(t.Context(), js, name, test.from, test.to)
		if err != nil || got != test.want {
			t.Errorf("%d to %d: got %t and error %v, want %t", test.from, test.to, got, err, test.want)
		}
	}
	if err := log.Purge(t.Context(), jetstream.WithPurgeSequence(8)); err != nil { // as by their age
		t.Fatal(err)
	}
	for _, test := range []struct {
		from, to uint64
		want     bool
	}{{1, 6, true}, {1, 8, true}, {6, 9, false}} {
		got, err := stream.Erased(t.Context(), js, name, test.from, test.to)
		if err != nil || got != test.want {
			t.Errorf("%d to %d, purged: got %t and error %v, want %t", test.from, test.to, got, err, test.want)
		}
	}
	if _, err := stream.AckFloor(t.Context(), js, name, "unknown"); err == nil {
		t.Error("a consumer that does not exist has settled something")
	}
	if _, err := stream.Erased(t.Context(), js, "NOTHING", 1, 2); err == nil {
		t.Error("a stream that does not exist has lost something")
	}
}
