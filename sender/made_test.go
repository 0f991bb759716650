package sender_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// again is the message of a delivery whose event is routed again after a NATS server has
// crashed that does not know the id of the first message any more.
func again(sub *subscription.Subscription, e *event.Event, sequence uint64, accepted time.Time) *nats.Msg {
	m := delivery.NewCopies(e, accepted).Again().To(sub.Queue.Subject, sub.Queue.Stream, delivery.Origin("EVENTS_notes", sequence, storedAt(sequence), sub.ID))
	m.Header.Set(stream.HeaderMessageID, "forgotten:"+m.Header.Get(stream.HeaderMessageID))
	return m
}

// A delivery that was made is not made again when its event is routed again. Others are:
// one that was not made, one of another event with the same id, one that a person has
// redriven since, and an attempt that a person has asked for.
func TestNotMadeAgain(t *testing.T) {
	t.Parallel()
	for name, ordered := range map[string]bool{"unordered": false, "ordered": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			rc := receive(t, nil)
			sub := to("made", rc.URL, 0)
			sub.Delivery.Ordered = ordered
			sub = r.subscribe(sub)
			running := r.send()
			accepted := time.Now()
			r.put(queued(sub, newEvent(1), accepted))
			rc.await(1)
			r.awaitSettled(sub)

			r.put(again(sub, newEvent(1), 1, accepted))
			r.put(again(sub, newEvent(2), 2, accepted))
			r.put(again(sub, newEvent(1), 3, accepted))
			r.awaitSettled(sub)
			redriven := again(sub, newEvent(2), 2, accepted)
			redriven.Header.Set(stream.HeaderRedrive, delivery.Redrive{DeadLetter: 1, Before: 1, At: time.Now()}.String())
			redriven.Header.Set(stream.HeaderMessageID, "redriven")
			r.put(redriven)
			r.awaitSettled(sub)
			manual := again(sub, newEvent(1), 1, accepted)
			manual.Header.Set(stream.HeaderManual, "one")
			manual.Header.Set(stream.HeaderMessageID, "manual")
			r.put(manual)
			r.awaitSettled(sub)

			notes := map[string]int{}
			for _, got := range rc.all() {
				notes[got.note()]++
			}
			if notes["1"] != 3 || notes["2"] != 2 || len(notes) != 2 {
				t.Errorf("requests by note: %v, want the first of each, those of another event and a redrive, and one that was asked for", notes)
			}
			if n := counter(t, running.reg, "jetpost_sender_repeats_avoided_total", ""); n != 1 {
				t.Errorf("%v repeats were avoided, want 1", n)
			}
		})
	}
}
