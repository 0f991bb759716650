package delivery_test

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// The wanted ids come from another implementation (Python's hashlib and base64).
// Receivers recognise repeats by them: they must never change.
func TestID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ subscription, source, id, want string }{
		{"hook", "/git/widgets", "85c7e78e", "dlv_jsiurt7p3ev8og1g5luc2ucv52"},
		{"a", "b", "c", "dlv_hemts467c3kre0muvd5ls8itsu"},
		{"a", "b\x00c", "", "dlv_2fh2gljug94vpp9j6vp5qubgro"},
		{"orders-hook", "https://example.com/größe", "id with . and \x00 nul", "dlv_ro494kfce77tjt1mjvm0i7f8ed"},
		{"", "", "", "dlv_iqh9dkh4ua2scuveif1gv2hgi5"},
	} {
		if got := delivery.ID(tt.subscription, tt.source, tt.id); got != tt.want {
			t.Errorf("id of %q, %q, %q: got %s, want %s", tt.subscription, tt.source, tt.id, got, tt.want)
		}
	}
}

// A delivery id is signed between dots: it has none.
func TestIDAlphabet(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^dlv_[0-9a-v]{26}$`)
	seen := make(map[string]bool)
	for n := range 2000 {
		id := delivery.ID("hook", "https://example.com/a.b", strconv.Itoa(n))
		if !form.MatchString(id) {
			t.Fatalf("id %q is not dlv_ and 26 characters of base32hex", id)
		}
		if seen[id] {
			t.Fatalf("id %s is of two events", id)
		}
		seen[id] = true
	}
}

// A timer replaces that of the same key: attempts of one delivery share it, two
// events that a producer gave the same id do not.
func TestTimerKey(t *testing.T) {
	t.Parallel()
	first, again, other := pushDelivery(), pushDelivery(), pushDelivery()
	again.Attempt = 2
	other.Origin = "EVENTS_git:8@1772364600123456789:hook"
	if first.TimerKey() != again.TimerKey() {
		t.Errorf("the second attempt has key %s, want that of the first, %s", again.TimerKey(), first.TimerKey())
	}
	if first.TimerKey() == other.TimerKey() {
		t.Errorf("two deliveries of id %s have key %s", first.ID, first.TimerKey())
	}
	if !regexp.MustCompile(`^[0-9a-v]{26}$`).MatchString(first.TimerKey()) {
		t.Errorf("key %q is no subject token of 26 characters", first.TimerKey())
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	const greatest = 1<<64 - 1
	for _, tt := range []struct {
		from delivery.Source
		want string
	}{
		{delivery.Source{EventLog: "EVENTS_git", Sequence: 7, Stored: pushStored, Subscription: "hook"}, pushOrigin},
		{delivery.Source{EventLog: "eu_EVENTS_a-b", Sequence: greatest, Stored: time.Unix(0, 1), Subscription: "a"}, "eu_EVENTS_a-b:18446744073709551615@1:a"},
	} {
		from := tt.from
		origin := delivery.Origin(from.EventLog, from.Sequence, from.Stored, from.Subscription)
		if origin != tt.want {
			t.Errorf("got origin %q, want %q", origin, tt.want)
		}
		got, err := delivery.ParseOrigin(origin)
		if diff := cmp.Diff(from, got); diff != "" || err != nil {
			t.Errorf("parse %q: error %v (-want +got):\n%s", origin, err, diff)
		}
	}
	for _, wrong := range []string{
		"", ":", "::", "EVENTS_git:7", "EVENTS_git:x:hook", "EVENTS_git:-1:hook", "EVENTS_git:18446744073709551616:hook", "EVENTS_git:7:hook:redrive:1",
		"EVENTS_git:7@:hook", "EVENTS_git:7@x:hook", "EVENTS_git:@1:hook", "EVENTS_git:7@1@2:hook",
	} {
		if got, err := delivery.ParseOrigin(wrong); err == nil {
			t.Errorf("parse %q: got %+v, want an error", wrong, got)
		}
	}
}

// What earlier versions have queued has no time in its id, and is still told.
func TestOriginOfEarlierVersions(t *testing.T) {
	t.Parallel()
	const old = "EVENTS_git:7:hook"
	got, err := delivery.ParseOrigin(old)
	if want := (delivery.Source{EventLog: "EVENTS_git", Sequence: 7, Subscription: "hook"}); got != want || err != nil {
		t.Errorf("parse %q: got %+v, error %v, want %+v", old, got, err, want)
	}
	if diff := cmp.Diff([]string{pushOrigin, old}, delivery.Origins("EVENTS_git", 7, pushStored, "hook")); diff != "" {
		t.Errorf("all origins (-want +got):\n%s", diff)
	}
	d := pushDelivery()
	want := delivery.RefOf(d)
	keys := d.TimerKeys()
	d.Origin = old
	if len(keys) != 2 || keys[1] != d.TimerKey() || keys[0] == keys[1] || !cmp.Equal(d.TimerKeys(), []string{keys[1], keys[0]}) {
		t.Errorf("keys of timers: %v, that of an earlier version is %s", keys, d.TimerKey())
	}
	if diff := cmp.Diff(want, delivery.RefOf(d)); diff != "" { // it says elsewhere when its event was stored
		t.Errorf("the event of %s (-want +got):\n%s", old, diff)
	}
	d.Accepted = time.Time{}
	ref := delivery.RefOf(d)
	if !ref.Stored.IsZero() || !ref.Is("EVENTS_git", 7, pushStored) || ref.Is("EVENTS_git", 8, pushStored) {
		t.Errorf("without the time the event is %+v", ref)
	}
	if want.Is("EVENTS_git", 7, pushStored.Add(1)) || !want.Is("EVENTS_git", 7, pushStored) {
		t.Errorf("%+v is not told from another event at its place", want)
	}
}

func TestQueueMessage(t *testing.T) {
	t.Parallel()
	want := pushDelivery()
	m := delivery.Queued(want.Event, "deliveries.hook", "DELIVERIES_hook", want.Origin, want.Accepted)
	if m.Subject != "deliveries.hook" || m.Reply != "" {
		t.Errorf("got subject %q and reply %q, want deliveries.hook and none", m.Subject, m.Reply)
	}
	wantHeader(t, m.Header, map[string]string{
		"Nats-Msg-Id": pushOrigin, "Nats-Expected-Stream": "DELIVERIES_hook",
		"jetpost-origin": pushOrigin, "jetpost-accepted": "1772364600123456789",
	})
	wantDelivery(t, m, want)
}

func TestRequeuedMessage(t *testing.T) {
	t.Parallel()
	want := retried()
	m := want.Requeued("deliveries.hook", "DELIVERIES_hook")
	if m.Subject != "deliveries.hook" {
		t.Errorf("got subject %q, want deliveries.hook", m.Subject)
	}
	wantHeader(t, m.Header, map[string]string{
		"Nats-Msg-Id": pushOrigin + ":a3", "Nats-Expected-Stream": "DELIVERIES_hook",
		"jetpost-origin": pushOrigin, "jetpost-accepted": "1772364600123456789",
		"jetpost-attempt": "3", "jetpost-first-attempt": "1772364601987654321",
	})
	wantDelivery(t, m, want)
}

func TestTimerMessage(t *testing.T) {
	t.Parallel()
	want := retried()
	m := want.Timer("retries.00.at.hook.key", "retries.00.due.hook", time.Date(2026, 3, 1, 13, 0, 0, 12_000_000, time.FixedZone("", 3600)))
	if m.Subject != "retries.00.at.hook.key" {
		t.Errorf("got subject %q, want retries.00.at.hook.key", m.Subject)
	}
	wantHeader(t, m.Header, map[string]string{
		"Nats-Msg-Id": pushOrigin + ":a3", "Nats-Schedule": "@at 2026-03-01T12:00:00.012Z",
		"Nats-Schedule-Target": "retries.00.due.hook",
		"jetpost-origin":       pushOrigin, "jetpost-accepted": "1772364600123456789",
		"jetpost-attempt": "3", "jetpost-first-attempt": "1772364601987654321",
	})
	wantDelivery(t, m, want)
}

// What was accepted before a field was added has no such header.
func TestRequeuedWithoutTimes(t *testing.T) {
	t.Parallel()
	want := pushDelivery()
	want.Accepted = time.Time{}
	m := want.Requeued("deliveries.hook", "DELIVERIES_hook")
	wantHeader(t, m.Header, map[string]string{
		"Nats-Msg-Id": pushOrigin + ":a1", "Nats-Expected-Stream": "DELIVERIES_hook",
		"jetpost-origin": pushOrigin, "jetpost-attempt": "1",
	})
	wantDelivery(t, m, want)
}

// A timer that has fired is the delivery that was put away.
func TestTimerFires(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	want, layout := retried(), server.Layout
	due := time.Now().Add(700 * time.Millisecond)
	timer := want.Timer(layout.RetryAt("00", "hook", want.TimerKey()), layout.RetryDue("00", "hook"), due)
	if _, err := js.PublishMsg(t.Context(), timer); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), layout.RetryStream("00"), stream.SenderConsumer)
	if err != nil {
		t.Fatal(err)
	}
	fired, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	if early := time.Until(due); early > 0 {
		t.Errorf("the timer fired %s early", early)
	}
	if got := layout.RetrySubscription(fired.Subject()); got != "hook" {
		t.Errorf("it fired for subscription %q, want hook", got)
	}
	wantDelivery(t, &nats.Msg{Header: fired.Headers(), Data: fired.Data()}, want)
}

func TestFromMessageUnreadable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*nats.Msg)
		want   string // in the error
	}{
		{"no header at all", func(m *nats.Msg) { m.Header = nil }, "not a valid CloudEvent"},
		{"no event", func(m *nats.Msg) { delete(m.Header, "ce-id") }, "id is missing"},
		{"a badly encoded attribute", func(m *nats.Msg) { m.Header["ce-subject"] = []string{"%C0%A0"} }, "ce-subject"},
		{"no origin", func(m *nats.Msg) { delete(m.Header, stream.HeaderOrigin) }, "jetpost-origin is missing"},
		{"an empty origin header", func(m *nats.Msg) { m.Header[stream.HeaderOrigin] = nil }, "jetpost-origin is missing"},
		{"a time that is none", func(m *nats.Msg) { m.Header.Set(stream.HeaderAccepted, "today") }, `jetpost-accepted is "today"`},
		{"a time beyond reach", func(m *nats.Msg) { m.Header[stream.HeaderFirstAttempt] = []string{"9223372036854775808"} }, "jetpost-first-attempt"},
		{"attempt nought", func(m *nats.Msg) { m.Header[stream.HeaderAttempt] = []string{"0"} }, `jetpost-attempt is "0"`},
		{"a negative attempt", func(m *nats.Msg) { m.Header[stream.HeaderAttempt] = []string{"-1"} }, "jetpost-attempt"},
		{"an attempt in words", func(m *nats.Msg) { m.Header[stream.HeaderAttempt] = []string{"two"} }, "jetpost-attempt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := delivery.Queued(pushEvent(), "deliveries.hook", "DELIVERIES_hook", "EVENTS_git:7:hook", time.Now())
			m.Header[stream.HeaderAccepted] = []string{"1"}
			tt.change(m)
			d, err := delivery.FromMessage("hook", m.Header, m.Data)
			if !errors.Is(err, delivery.ErrUnreadable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v and error %v, want one that wraps ErrUnreadable with %q in it", d, err, tt.want)
			}
		})
	}
}

// retried is a delivery that waits for its third attempt.
func retried() *delivery.Delivery {
	d := pushDelivery()
	d.Attempt, d.FirstAttempt = 3, time.Unix(1772364601, 987654321)
	return d
}

// wantHeader compares all headers but those of the event.
func wantHeader(t *testing.T, got nats.Header, want map[string]string) {
	t.Helper()
	have := make(map[string]string)
	for name, values := range got {
		if !strings.HasPrefix(name, "ce-") && name != "traceparent" && name != "tracestate" {
			have[name] = strings.Join(values, "|")
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
	events := slices.Sorted(maps.Keys(got))
	if !slices.Contains(events, "ce-id") || !slices.Contains(events, "ce-subject") {
		t.Errorf("got headers %v, want those of the event among them", events)
	}
}

// wantDelivery reads m and compares it with the delivery it was made of.
func wantDelivery(t *testing.T, m *nats.Msg, want *delivery.Delivery) {
	t.Helper()
	got, err := delivery.FromMessage(want.SubscriptionID, m.Header, m.Data)
	if err != nil {
		t.Errorf("read the message: %v", err)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("another delivery is read than was written (-want +got):\n%s", diff)
	}
}
