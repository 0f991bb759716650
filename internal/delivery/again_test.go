package delivery_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
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

// numbered is a delivery of its own for each number.
func numbered(n int) *delivery.Delivery {
	d := pushDelivery()
	d.Event.ID = "event-" + strconv.Itoa(n)
	d.ID = delivery.ID("hook", d.Event.Source, d.Event.ID)
	d.Origin = delivery.Origin("EVENTS_git", uint64(n), pushStored, "hook") //nolint:gosec // small
	return d
}

// A dead letter that is redriven has the delivery it was made of, numbered on, and is
// on the queue once however often that is done.
func TestRedriven(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	queue := server.Layout.QueueFor("hook")
	if err := server.Layout.EnsureQueue(t.Context(), js, "hook", queue, 1); err != nil {
		t.Fatal(err)
	}
	want := retried()
	last := &delivery.Attempt{Status: http.StatusBadGateway, ResponseBody: strings.Repeat("ö\n", 2000)}
	if err := deadLetters.GiveUp(t.Context(), want, delivery.ReasonExhausted, 7, last); err != nil {
		t.Fatal(err)
	}
	deadLetter, err := deadLetters.Get(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := deadLetter.ResponseBody; len(got) > 1<<10 || len(got) < 1000 || !strings.HasPrefix(last.ResponseBody, strings.TrimSuffix(got, "…")) {
		t.Errorf("the last answer: %q", got)
	}
	now := time.Unix(1772364600, 987654321)
	for range 2 {
		if _, err := js.PublishMsg(t.Context(), deadLetter.Redriven(queue.Subject, queue.Stream, now)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := js.Stream(t.Context(), queue.Stream)
	if err != nil || info.CachedInfo().State.LastSeq != 1 {
		t.Fatalf("on the queue: %+v, error %v, want one delivery", info.CachedInfo().State, err)
	}
	record, err := stream.Get(t.Context(), js, queue.Stream, 1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := delivery.FromMessage("hook", record.Header, record.Data)
	if err != nil {
		t.Fatal(err)
	}
	want.Attempt, want.Redrive = 8, delivery.Redrive{DeadLetter: 1, Before: 7, At: now}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the delivery differs (-want +got):\n%s", diff)
	}
	if got.Waiting() != now || got.Scheduled(8) != 1 || got.Scheduled(10) != 3 || got.Chain() != want.Origin {
		t.Errorf("waits since %s, attempt 8 is the %d., 10 the %d., chain %s", got.Waiting(), got.Scheduled(8), got.Scheduled(10), got.Chain())
	}
	// It is still the same when a timer has brought it back.
	timer := got.Timer("at", "due", now)
	again, err := delivery.FromMessage("hook", timer.Header, timer.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, again); diff != "" {
		t.Errorf("after a timer it differs (-want +got):\n%s", diff)
	}
	// Given up again without another attempt, it is a dead letter of its own: the first
	// one will be gone.
	if err := deadLetters.GiveUp(t.Context(), got, delivery.ReasonRejected, 7, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(stored(t, js, server.Layout.DeadLetters())); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
}

// A manual attempt shares nothing with those of the schedule that
// could be taken for them.
func TestManualRetry(t *testing.T) {
	t.Parallel()
	d := retried()
	d.Redrive, d.Again = delivery.Redrive{DeadLetter: 1, Before: 1, At: time.Unix(1, 0)}, true
	m := d.ManualRetry("deliveries.hook", "DELIVERIES_hook", "one")
	got, err := delivery.FromMessage("hook", m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != d.ID || got.Origin != d.Origin || got.Manual != "one" || got.Attempt != 1 || got.Redrive != (delivery.Redrive{}) {
		t.Errorf("got %+v", got)
	}
	if got.TimerKey() == d.TimerKey() || got.Chain() == d.Chain() || m.Header[stream.HeaderMessageID][0] == d.Origin {
		t.Error("it can be taken for an attempt of the schedule")
	}
	if got.Again {
		t.Error("it is not made when the delivery was made before")
	}
}

func TestRedriveUnreadable(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"x", "1 2", "1 2 x", "x 2 3", "1 x 3", "1 -2 3", "1 2 3 4"} {
		d := pushDelivery()
		m := d.Requeued("deliveries.hook", "DELIVERIES_hook")
		m.Header[stream.HeaderRedrive] = []string{text}
		if _, err := delivery.FromMessage("hook", m.Header, m.Data); !errors.Is(err, delivery.ErrUnreadable) {
			t.Errorf("%q: got error %v", text, err)
		}
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	deadLetters := delivery.NewDeadLetters(js, server.Layout)
	reasons := []delivery.Reason{delivery.ReasonExhausted, delivery.ReasonOverflow, delivery.ReasonGone}
	for n := 1; n <= 6; n++ {
		d := numbered(n)
		if n == 6 {
			d.SubscriptionID, d.Event.Type = "other", "artifact.deployed"
		}
		if err := deadLetters.GiveUp(t.Context(), d, reasons[n%3], n, nil); err != nil {
			t.Fatal(err)
		}
	}
	broken := &consume.Message{Msg: &nats.Msg{Data: []byte("?")}, Stream: "EVENTS_git", Sequence: 9}
	if err := deadLetters.KeepUnreadable(t.Context(), broken, errors.New("not an event")); err != nil {
		t.Fatal(err)
	}
	third, err := deadLetters.Get(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		s    delivery.Selection
		want []uint64
	}{
		{"all", delivery.Selection{}, []uint64{1, 2, 3, 4, 5, 6, 7}},
		{"of a subscription", delivery.Selection{Subscription: "hook"}, []uint64{1, 2, 3, 4, 5}},
		{"of none", delivery.Selection{Subscription: stream.InvalidLetters}, []uint64{7}},
		{"of one that has none", delivery.Selection{Subscription: "unknown"}, nil},
		{"by reason", delivery.Selection{Reasons: []delivery.Reason{delivery.ReasonOverflow, delivery.ReasonUnreadable}}, []uint64{1, 4, 7}},
		{"by type", delivery.Selection{Types: []string{"artifact.deployed"}}, []uint64{6}},
		{"by the beginning of a type", delivery.Selection{Types: []string{"git.*"}}, []uint64{1, 2, 3, 4, 5}},
		{"from a time", delivery.Selection{From: third.At}, []uint64{3, 4, 5, 6, 7}},
		{"to a time", delivery.Selection{To: third.At}, []uint64{1, 2}},
		{"by place", delivery.Selection{Sequences: []uint64{5, 2, 99, 6, 2}, Subscription: "hook"}, []uint64{2, 5}},
	} {
		var got []uint64
		for deadLetter, err := range deadLetters.Select(t.Context(), &tt.s, 0, 100) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, deadLetter.Sequence)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		var paged []uint64
		for before := uint64(0); ; {
			page, err := deadLetters.Page(t.Context(), &tt.s, before, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, deadLetter := range page {
				paged = append([]uint64{deadLetter.Sequence}, paged...)
			}
			if len(page) < 2 {
				break
			}
			before = page[1].Sequence
		}
		if diff := cmp.Diff(tt.want, paged); diff != "" {
			t.Errorf("%s, pages (-want +got):\n%s", tt.name, diff)
		}
	}
	var within []uint64
	for deadLetter := range deadLetters.Select(t.Context(), &delivery.Selection{}, 2, 4) {
		within = append(within, deadLetter.Sequence)
	}
	if diff := cmp.Diff([]uint64{2, 3, 4}, within); diff != "" {
		t.Errorf("from 2 to 4 (-want +got):\n%s", diff)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range deadLetters.Select(ended, &delivery.Selection{}, 1, 7) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a selection that was broken off: %v", err)
		}
	}

	newest, err := deadLetters.OfDelivery(t.Context(), "hook", numbered(4).ID)
	if err != nil || newest.Sequence != 4 || newest.Delivery == nil {
		t.Errorf("the dead letter of a delivery: %+v, error %v", newest, err)
	}
	if _, err := deadLetters.OfDelivery(t.Context(), "hook", "dlv_none"); !errors.Is(err, delivery.ErrNoDeadLetter) {
		t.Errorf("the dead letter of no delivery: %v", err)
	}
	unreadable, err := deadLetters.Get(t.Context(), 7)
	if err != nil || unreadable.Delivery != nil || string(unreadable.Data) != "?" {
		t.Errorf("what cannot be read: %+v, error %v", unreadable, err)
	}
	for range 2 { // the second time it is gone
		if err := deadLetters.Remove(t.Context(), 3); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if _, err := deadLetters.Get(t.Context(), 3); !errors.Is(err, delivery.ErrNoDeadLetter) {
		t.Errorf("a dead letter that was removed: %v", err)
	}
	if err := deadLetters.Remove(t.Context(), 1000); err != nil {
		t.Errorf("remove what never was: %v", err)
	}
}

func TestAttemptOfDelivery(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	const many = 300 // more than are looked at first
	for n := 1; n <= many; n++ {
		d := numbered(n)
		a := &delivery.Attempt{DeliveryID: d.ID, SubscriptionID: "hook", Event: delivery.RefOf(d), Attempt: 1, Outcome: delivery.Delivered}
		if err := log.Record(t.Context(), a, d.Chain(), func(*delivery.Attempt) {}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, many} {
		want := delivery.RefOf(numbered(n))
		got, err := log.OfDelivery(t.Context(), "hook", numbered(n).ID)
		if err != nil || got == nil {
			t.Fatalf("got %v, error %v", got, err)
		}
		if diff := cmp.Diff(want, got.Event, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("attempt of %d (-want +got):\n%s", n, diff)
		}
	}
	if got, err := log.OfDelivery(t.Context(), "hook", "dlv_none"); got != nil || err != nil {
		t.Errorf("got %+v, error %v, want none", got, err)
	}
}
