package stream_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/embedded"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// Retry timers that come due while the store is full are given up by the server, and do
// not fire when there is room again. They are found, stored again, and fire once. One that
// is not overdue stays as it is.
func TestOverdueTimers(t *testing.T) {
	t.Parallel()
	server := streamtest.NewWith(t, embedded.Config{MaxStore: 8 << 20})
	l := server.Layout
	js, err := stream.JetStream(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	const timers = 10
	var mark stream.Mark
	store := func(key string, due time.Time, marked bool) {
		t.Helper()
		h := nats.Header{
			stream.HeaderSchedule: {"@at " + due.UTC().Format(time.RFC3339Nano)}, stream.HeaderScheduleTarget: {l.RetryDue("00", "hook")},
			stream.HeaderMessageID: {key},
		}
		if marked {
			mark.SetTimer(h, due)
		}
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: l.RetryAt("00", "hook", key), Header: h, Data: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	due := time.Now().Add(2 * time.Second)
	for n := range timers {
		store(fmt.Sprint(n), due, n%2 == 0)
	}
	store("later", due.Add(stream.OverdueAfter+time.Hour), true)
	free := server.Fill()
	c, err := js.Consumer(t.Context(), l.RetryStream("00"), stream.SenderConsumer)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := c.Next(jetstream.FetchMaxWait(time.Until(due) + 2*time.Second)); err == nil {
		t.Fatalf("timer %s has fired in a store that is full: this shows nothing", m.Data())
	}
	watch := l.NewOverdueWatch(js, "00")
	overdue := due.Add(stream.OverdueAfter)
	if n, err := watch.Look(t.Context(), overdue, mark); err == nil || n != 0 {
		t.Errorf("%d timers were stored in a store that is full, %v", n, err)
	}
	free()
	if m, err := c.Next(jetstream.FetchMaxWait(2 * time.Second)); err == nil {
		t.Fatalf("timer %s has fired by itself: the watch is not needed with this server", m.Data())
	}
	for _, test := range []struct {
		now  time.Time
		want int
	}{{due.Add(stream.OverdueAfter - time.Second), 0}, {overdue, timers}, {overdue, 0}} {
		if n, err := watch.Look(t.Context(), test.now, mark); err != nil || n != test.want {
			t.Errorf("%s after they were due %d timers were stored again, %v, want %d", test.now.Sub(due), n, err, test.want)
		}
	}
	fired := make(map[string]int)
	for len(fired) < timers {
		m, err := c.Next(jetstream.FetchMaxWait(time.Minute))
		if err != nil {
			t.Fatalf("fired: %v, %v, want %d", fired, err, timers)
		}
		fired[string(m.Data())]++
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := c.Next(jetstream.FetchMaxWait(time.Second)); err == nil {
		t.Errorf("timer %s has fired too", m.Data())
	}
	for key, n := range fired {
		if n != 1 || key == "later" {
			t.Errorf("timer %s has fired %d times", key, n)
		}
	}
}
