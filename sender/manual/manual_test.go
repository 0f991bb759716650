package manual_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/sender/manual"
)

// A retry of a delivery that a manual attempt has made is recognized by every sender, also
// under the form in which the manual attempt had it; one of another delivery, or of a redrive
// after that, is not. The oldest are forgotten.
func TestSuccesses(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	if err := server.Layout.Ensure(t.Context(), server.JS(), nil); err != nil {
		t.Fatal(err)
	}
	of := func() *manual.Successes {
		return manual.New(stream.NewBucket(server.JS(), server.Layout.StateBucket()), zap.NewNop())
	}
	number := func(n int) *delivery.Delivery {
		id := fmt.Sprint(n)
		return &delivery.Delivery{
			ID: delivery.ID("hook", "/test", id), SubscriptionID: "hook", Attempt: 2,
			Event: &event.Event{ID: id, Source: "/test", Type: "shop.paid"}, Origin: delivery.Origin("EVENTS_shop", uint64(n), time.Unix(int64(n), 0), "hook"), //nolint:gosec // small
		}
	}
	first, second := of(), of()
	if first.Has(t.Context(), number(1)) {
		t.Error("a delivery counts as made before it is")
	}
	asked := *number(1)
	asked.Manual = "by-hand"
	first.Record(t.Context(), &asked)
	for name, s := range map[string]*manual.Successes{"the sender itself": first, "another": second} {
		if !s.Has(t.Context(), number(1)) || s.Has(t.Context(), number(2)) {
			t.Errorf("%s: delivery 1 is made: %t, delivery 2: %t", name, s.Has(t.Context(), number(1)), s.Has(t.Context(), number(2)))
		}
	}
	redriven := number(1)
	redriven.Redrive.At = time.Now().Add(time.Minute)
	if second.Has(t.Context(), redriven) {
		t.Error("a redrive counts as made by the attempt before it")
	}
	const more = manual.MaxNamed
	for n := 2; n < 2+more; n++ {
		second.Record(t.Context(), number(n))
	}
	if first.Has(t.Context(), number(1)) || !first.Has(t.Context(), number(2)) || !first.Has(t.Context(), number(1+more)) {
		t.Errorf("made are: 1 %t, 2 %t, %d %t, want the newest and no other", first.Has(t.Context(), number(1)), first.Has(t.Context(), number(2)), 1+more, first.Has(t.Context(), number(1+more)))
	}
}
