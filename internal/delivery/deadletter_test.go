package delivery_test

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
)

func TestGiveUp(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	last := func(status int, text string) *delivery.Attempt {
		return &delivery.Attempt{Status: status, Error: text}
	}
	for n, tt := range []struct {
		reason   delivery.Reason
		attempts int
		last     *delivery.Attempt
		want     delivery.DeadLetter
	}{
		{delivery.ReasonExhausted, 10, last(http.StatusBadGateway, ""), delivery.DeadLetter{Attempts: 10, Status: 502}},
		{delivery.ReasonRejected, 1, last(http.StatusUnsupportedMediaType, ""), delivery.DeadLetter{Attempts: 1, Status: 415}},
		{delivery.ReasonGone, 2, last(http.StatusGone, ""), delivery.DeadLetter{Attempts: 2, Status: 410}},
		{delivery.ReasonExpired, 3, nil, delivery.DeadLetter{Attempts: 3}},
		{delivery.ReasonOverflow, 0, nil, delivery.DeadLetter{}},
		{delivery.ReasonUnreadable, 0, last(0, "größe \"100%\"\r\nand more"), delivery.DeadLetter{Error: "größe \"100%\"\r\nand more"}},
	} {
		d := pushDelivery()
		d.Origin = delivery.Origin("EVENTS_git", uint64(n)+1, pushStored, "hook") //nolint:gosec // small
		began := time.Now()
		if err := deadLetters.GiveUp(t.Context(), d, tt.reason, tt.attempts, tt.last); err != nil {
			t.Fatal(err)
		}
		got, err := deadLetters.Latest(t.Context(), "hook", 0, 1)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: got %d dead letters, error %v, want 1", tt.reason, len(got), err)
		}
		want := tt.want
		want.DeliveryID, want.SubscriptionID, want.Reason, want.Event = d.ID, "hook", tt.reason, delivery.RefOf(d)
		want.Sequence = uint64(n) + 1 //nolint:gosec // small
		if diff := cmp.Diff(want, got[0], cmpopts.IgnoreFields(delivery.DeadLetter{}, "At")); diff != "" {
			t.Errorf("%s: the dead letter differs (-want +got):\n%s", tt.reason, diff)
		}
		if at := got[0].At; at.Before(began.Truncate(0)) || at.After(time.Now()) {
			t.Errorf("%s: given up at %s, want now", tt.reason, at)
		}
	}
}

// A dead letter can be sent again: it has the delivery, the bytes of the event, and
// nothing that would make a stream refuse or forget it.
func TestDeadLetterKeepsDelivery(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	for n, data := range [][]byte{pushEvent().Data, {0, 0xff, '\n'}, nil, bytes.Repeat([]byte("x"), 250<<10)} {
		want := retried()
		want.Origin = delivery.Origin("EVENTS_git", uint64(n)+1, pushStored, "hook") //nolint:gosec // small
		want.Event.Data = data
		if err := deadLetters.GiveUp(t.Context(), want, delivery.ReasonExhausted, 2, nil); err != nil {
			t.Fatal(err)
		}
		records := stored(t, js, server.Layout.DeadLetters())
		r := records[len(records)-1]
		if !bytes.Equal(r.Data, data) {
			t.Errorf("got %d bytes of data, want the %d of the event", len(r.Data), len(data))
		}
		got, err := delivery.FromMessage("hook", r.Header, r.Data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the delivery differs (-want +got):\n%s", diff)
		}
		wantServerHeaders(t, r.Header, want.Origin+":dead:2")
	}
}

// wantServerHeaders checks that of the headers that mean something to the server
// only those of this publish are there.
func wantServerHeaders(t *testing.T, h nats.Header, id string) {
	t.Helper()
	got := make(map[string]string)
	for name, values := range h {
		if strings.HasPrefix(strings.ToLower(name), "nats-") {
			got[name] = strings.Join(values, "|")
		}
	}
	want := map[string]string{"Nats-Msg-Id": id, "Nats-Expected-Stream": "DEADLETTERS"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers of the server differ (-want +got):\n%s", diff)
	}
}

// A sender that crashed after it had stored a dead letter stores it again.
func TestGiveUpTwice(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	for _, attempts := range []int{3, 3, 4} {
		if err := deadLetters.GiveUp(t.Context(), pushDelivery(), delivery.ReasonExhausted, attempts, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(stored(t, js, server.Layout.DeadLetters())); got != 2 {
		t.Errorf("got %d dead letters, want one after 3 attempts and one after 4", got)
	}
}

func TestKeepUnreadable(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	long := strings.Repeat("<ö>", 20_000)
	for n, tt := range []struct {
		name  string
		msg   nats.Msg
		cause string
	}{
		{"without headers", nats.Msg{Data: []byte("hello")}, "not a valid CloudEvent: \"x\""},
		{
			"with its headers", nats.Msg{Data: []byte{0, 0xff}, Header: nats.Header{
				"ce-id": {"1"}, "Foo": {"a", "b"}, "Nats-Msg-Id": {"its-own"}, "nats-expected-stream": {"EVENTS_git"},
				"Nats-Schedule": {"@at 2026-03-01T12:00:00Z"}, "Nats-Rollup": {"sub"}, "Nats-TTL": {"1s"},
			}}, "header ce-specversion is missing",
		},
		{"for a reason that quotes it all", nats.Msg{Header: nats.Header{"ce-time": {long[:40_000]}}}, "attribute time " + long + " is not"},
	} {
		m := &consume.Message{Msg: &tt.msg, Stream: "EVENTS_git", Sequence: uint64(n) + 1, Stored: pushStored} //nolint:gosec // small
		if err := deadLetters.KeepUnreadable(t.Context(), m, errors.New(tt.cause)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := deadLetters.Latest(t.Context(), stream.InvalidLetters, 0, 1)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: got %d dead letters, error %v, want 1", tt.name, len(got), err)
		}
		deadLetter := got[0]
		if !strings.HasPrefix(tt.cause, strings.TrimSuffix(deadLetter.Error, "…")) || deadLetter.Error == "" {
			t.Errorf("%s: got error %.80q, want the beginning of %.80q", tt.name, deadLetter.Error, tt.cause)
		}
		want := delivery.DeadLetter{
			Reason: delivery.ReasonUnreadable, Event: delivery.EventRef{Stream: "EVENTS_git", Sequence: m.Sequence, Stored: pushStored.UTC()},
			Error: deadLetter.Error, At: deadLetter.At, Sequence: deadLetter.Sequence,
		}
		if diff := cmp.Diff(want, deadLetter); diff != "" {
			t.Errorf("%s: the dead letter differs (-want +got):\n%s", tt.name, diff)
		}
		records := stored(t, js, server.Layout.DeadLetters())
		r := records[len(records)-1]
		if r.Subject != "deadletters._invalid" || !bytes.Equal(r.Data, tt.msg.Data) {
			t.Errorf("%s: got %q under %s, want the bytes as they were under deadletters._invalid", tt.name, r.Data, r.Subject)
		}
		for name, values := range tt.msg.Header {
			if !strings.HasPrefix(strings.ToLower(name), "nats-") && !cmp.Equal(values, r.Header[name]) {
				t.Errorf("%s: got header %s %.40q, want it kept", tt.name, name, r.Header[name])
			}
		}
		wantServerHeaders(t, r.Header, "EVENTS_git:"+string(rune('1'+n))+"@1772364600123456789:unreadable")
	}
}

func TestDeadLetterPages(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	for n := range 7 {
		d := pushDelivery()
		d.Origin = delivery.Origin("EVENTS_git", uint64(n), pushStored, d.SubscriptionID) //nolint:gosec // small
		if err := deadLetters.GiveUp(t.Context(), d, delivery.ReasonExhausted, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	for before := uint64(0); ; before = got[len(got)-1] {
		page, err := deadLetters.Latest(t.Context(), "hook", before, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, deadLetter := range page {
			got = append(got, deadLetter.Sequence)
		}
	}
	if diff := cmp.Diff([]uint64{7, 6, 5, 4, 3, 2, 1}, got); diff != "" {
		t.Errorf("dead letters differ (-want +got):\n%s", diff)
	}
}

// What cannot be read in full is shown as far as it can be.
func TestDamagedDeadLetter(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	d := pushDelivery()
	if err := deadLetters.GiveUp(t.Context(), d, delivery.ReasonExhausted, 1, nil); err != nil {
		t.Fatal(err)
	}
	r := stored(t, js, server.Layout.DeadLetters())[0]
	publish := func(change func(nats.Header)) {
		h := nats.Header{}
		for name, values := range r.Header {
			if !strings.HasPrefix(name, "Nats-") {
				h[name] = values
			}
		}
		change(h)
		if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: r.Subject, Header: h, Data: r.Data}); err != nil {
			t.Fatal(err)
		}
	}
	publish(func(h nats.Header) { delete(h, stream.HeaderDeadLetter) })
	publish(func(h nats.Header) { delete(h, "ce-id") })
	got, err := deadLetters.Latest(t.Context(), "hook", 0, 2)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %d dead letters, error %v, want 2", len(got), err)
	}
	noEvent, noVerdict := got[0], got[1]
	if noVerdict.Reason != delivery.ReasonUnreadable || noVerdict.DeliveryID != d.ID || noVerdict.At.IsZero() {
		t.Errorf("without its header: got %+v, want it unreadable, with the delivery and a time", noVerdict)
	}
	if noEvent.Reason != delivery.ReasonExhausted || noEvent.DeliveryID != "" || noEvent.SubscriptionID != "hook" {
		t.Errorf("without an event: got %+v, want the reason and the subscription", noEvent)
	}
}
