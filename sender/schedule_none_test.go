package sender_test

import (
	"net/http"
	"testing"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
)

// An empty schedule is one attempt.
func TestNoRetries(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusInternalServerError) })
	sub := to("once", rc.URL)
	sub.Delivery.Retry = subscription.Schedule{}
	sub = r.subscribe(sub)
	stored, err := r.store.Get(t.Context(), sub.ID)
	if err != nil || stored.Delivery.Retry == nil || len(stored.Delivery.Retry) != 0 {
		t.Fatalf("the store has the schedule %#v, error %v, want an empty one", stored.Delivery.Retry, err)
	}
	r.queue(sub, 1, 1)
	r.send()
	deadLetter := r.awaitDeadLetters(sub.ID, 1)[0]
	if deadLetter.Reason != delivery.ReasonExhausted || deadLetter.Attempts != 1 {
		t.Errorf("got %+v, want one attempt, exhausted", deadLetter)
	}
	r.awaitSettled(sub)
	if n := len(rc.all()); n != 1 {
		t.Errorf("%d requests were made, want 1", n)
	}
}
