package sender_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender"
)

// queueLarge is rig.queue with events of a size.
func (r *rig) queueLarge(sub *subscription.Subscription, n, size int) {
	r.t.Helper()
	for i := range n {
		e := newEvent(i)
		e.Data = fmt.Appendf(nil, `{"n" : %d.0,"text":"%s"}`, i, bytes.Repeat([]byte("x"), size))
		if _, err := r.js.PublishMsg(r.t.Context(), queued(sub, e, time.Now()), jetstream.WithRetryAttempts(3)); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Receivers that do not answer hold what memory they are given; those of another
// subscription get theirs all the same. No more is in hand than there is memory for,
// and in the end everybody has got everything once.
func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	const size, each = 50_000, 3*50_000 + 64<<10
	r := newRig(t)
	memory := budget.New(8 << 20)
	answer := make(chan struct{})
	var blocked []*receiver
	var waiting []*subscription.Subscription
	for i := range 12 {
		rc := receive(t, func(w http.ResponseWriter, _ *request) {
			<-answer
			w.WriteHeader(http.StatusNoContent)
		})
		sub := to(fmt.Sprintf("slow-%d", i), rc.URL, 0, time.Hour)
		sub.Endpoint.Timeout = subscription.Duration(30 * time.Second)
		blocked, waiting = append(blocked, rc), append(waiting, r.subscribe(withoutBreaker(sub)))
		r.queueLarge(waiting[i], 8, size)
	}
	quick := receive(t, nil)
	quickSub := r.subscribe(to("quick", quick.URL, 0, time.Hour))
	s := r.send(func(c *sender.Config) { c.Memory = memory })
	for _, rc := range blocked { // each has one at least
		rc.await(1)
	}
	r.queueLarge(quickSub, 30, size)
	quick.await(30)
	under := 0
	for _, rc := range blocked {
		under += len(rc.all())
	}
	if most := int(memory.Size()) / each; under > most {
		t.Errorf("%d requests with events of 50 kB are under way, of which %d fit into the memory", under, most)
	}
	if under == 12*8 {
		t.Error("all deliveries are under way: the memory bounds nothing")
	}
	close(answer)
	for i, rc := range blocked {
		rc.await(8)
		rc.wantOnce(0, 8)
		r.awaitSettled(waiting[i])
	}
	quick.wantOnce(0, 30)
	r.awaitSettled(quickSub)
	s.stop()
	if used := memory.Used(); used != 0 {
		t.Errorf("%d bytes are in use in the end, want none", used)
	}
}

// What waits for its slot, is retried, or becomes a dead letter gives its memory back.
func TestMemoryIsGivenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	memory := budget.New(8 << 20)
	fails := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusInternalServerError) })
	failing := r.subscribe(withoutBreaker(to("failing", fails.URL, 0, 100*time.Millisecond)))
	paced := receive(t, nil)
	sub := to("paced", paced.URL, 0, time.Hour)
	sub.Delivery.Rate = 200
	pacedSub := r.subscribe(sub)
	ordered := receive(t, nil)
	sub = to("ordered", ordered.URL, 0, time.Hour)
	sub.Delivery.Ordered = true
	orderedSub := r.subscribe(sub)
	for _, sub := range []*subscription.Subscription{failing, pacedSub, orderedSub} {
		r.queueLarge(sub, 12, 200_000)
	}
	s := r.send(func(c *sender.Config) { c.Memory = memory })
	r.awaitDeadLetters("failing", 12)
	for _, sub := range []*subscription.Subscription{failing, pacedSub, orderedSub} {
		r.awaitSettled(sub)
	}
	paced.wantOnce(0, 12)
	ordered.wantOnce(0, 12)
	s.stop()
	if used := memory.Used(); used != 0 {
		t.Errorf("%d bytes are in use in the end, want none", used)
	}
}
