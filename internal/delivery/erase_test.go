package delivery_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// The answers to an erased event go out of the attempts, the attempts stay, and those of
// each delivery in their order: also where they share a message with others.
func TestEraseAnswers(t *testing.T) {
	t.Parallel()
	server, js := platform(t)
	log := delivery.NewLog(js, server.Layout)
	record := func(event string, sequence uint64, attempt int, answer string) {
		t.Helper()
		a := failed()
		a.SubscriptionID, a.DeliveryID, a.Attempt, a.ResponseBody = "hook", "dlv_"+event, attempt, answer
		a.Event = delivery.EventRef{ID: event, Source: "/git/widgets", Type: "git.push", Stream: "EVENTS_git", Sequence: sequence}
		if err := log.Record(t.Context(), a, event, func(*delivery.Attempt) {}); err != nil {
			t.Fatal(err)
		}
	}
	record("e1", 1, 1, "")
	record("e1", 1, 2, "e1 was bad")
	record("e2", 2, 1, "e2 was bad")
	record("e1", 1, 3, "") // without an answer, but behind one that has
	record("e2", 2, 2, "")
	record("other", 1, 1, "the place is the same, in another log that was")

	e := &delivery.Erasable{Event: delivery.EventRef{ID: "e1", Source: "/git/widgets", Stream: "EVENTS_git", Sequence: 1}, Stored: time.Unix(1, 0)}
	for _, want := range []int{1, 0} {
		if n, err := log.Erase(t.Context(), e); err != nil || n != want {
			t.Fatalf("%d answers were erased, error %v, want %d", n, err, want)
		}
	}
	type line struct {
		ID      string
		Attempt int
		Answer  string
	}
	var got []line
	for record, err := range log.Follow(t.Context(), "hook", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, line{record.Event.ID, record.Attempt, record.ResponseBody}); len(got) == 6 {
			break
		}
	}
	want := []line{
		{"e1", 1, ""},
		{"e2", 1, "e2 was bad"},
		{"e2", 2, ""},
		{"other", 1, "the place is the same, in another log that was"},
		{"e1", 2, "[erased]"},
		{"e1", 3, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log differs (-want +got):\n%s", diff)
	}
	// A number that is taken stays taken.
	a := failed()
	a.SubscriptionID, a.DeliveryID, a.Attempt = "hook", "dlv_e1", 2
	if err := log.Record(t.Context(), a, "e1", func(*delivery.Attempt) {}); err != nil || a.Attempt != 4 {
		t.Errorf("the next attempt has number %d, error %v, want 4", a.Attempt, err)
	}
}

// Records hold long texts cut, and what is known by its place alone is meant whatever its
// id was.
func TestErasable(t *testing.T) {
	t.Parallel()
	long := string(make([]byte, 600))
	e := &delivery.Erasable{Event: delivery.EventRef{ID: long, Source: "/s", Stream: "EVENTS_git", Sequence: 7}}
	for _, test := range []struct {
		ref  delivery.EventRef
		want bool
	}{
		{delivery.EventRef{ID: long, Source: "/s", Stream: "EVENTS_git", Sequence: 7}, true},
		{delivery.EventRef{ID: long[:500] + "…", Source: "/s", Stream: "EVENTS_git", Sequence: 7}, true},
		{delivery.EventRef{ID: "x…", Source: "/s", Stream: "EVENTS_git", Sequence: 7}, false},
		{delivery.EventRef{ID: long, Source: "/t", Stream: "EVENTS_git", Sequence: 7}, false},
		{delivery.EventRef{ID: long, Source: "/s", Stream: "EVENTS_git", Sequence: 8}, false},
		{delivery.EventRef{ID: long, Source: "/s", Stream: "EVENTS_x", Sequence: 7}, false},
		{delivery.EventRef{Stream: "EVENTS_git", Sequence: 7}, true}, // what could not be read
	} {
		if got := e.Is(test.ref); got != test.want {
			t.Errorf("%.20q of %s, %s %d: got %t, want %t", test.ref.ID, test.ref.Source, test.ref.Stream, test.ref.Sequence, got, test.want)
		}
	}
	at := &delivery.Erasable{Event: delivery.EventRef{Stream: "EVENTS_git", Sequence: 7}, Stored: time.Unix(7, 0)}
	for stored, want := range map[time.Time]bool{time.Unix(7, 0).UTC(): true, time.Unix(8, 0).UTC(): false, {}: true} {
		if got := at.Is(delivery.EventRef{Stream: "EVENTS_git", Sequence: 7, Stored: stored}); got != want {
			t.Errorf("stored at %s: got %t, want %t", stored, got, want)
		}
	}
	place := &delivery.Erasable{Event: delivery.EventRef{Stream: "EVENTS_git", Sequence: 7}}
	if !place.Is(delivery.EventRef{ID: "any", Source: "/any", Stream: "EVENTS_git", Sequence: 7}) {
		t.Error("an event whose id is not known is not found by its place")
	}
	d := pushDelivery()
	queued := delivery.Queued(d.Event, "deliveries.hook", "DELIVERIES_hook", d.Origin, d.Accepted)
	pushed := &delivery.Erasable{Event: delivery.EventRef{ID: d.Event.ID, Source: d.Event.Source, Stream: "EVENTS_git", Sequence: 7}}
	if !pushed.IsQueued("hook", queued.Header) || e.IsQueued("hook", queued.Header) || pushed.IsQueued("hook", stream.Record{}.Header) {
		t.Error("a queued delivery is not known by its event")
	}
}
