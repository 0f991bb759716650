package stream

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// What services report to a Health is a fault when it lasts, until it is over or is no longer
// reported.
func TestHealthReports(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := NewHealth(nil, Layout{}, "", zap.NewNop())
	h.now = func() time.Time { return now }
	check := func(what string, want ...string) {
		t.Helper()
		err := h.Check(t.Context())
		if (err != nil) != (len(want) > 0) {
			t.Errorf("%s: got %v, want %v", what, err, want)
			return
		}
		for _, text := range want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: got %v, want %q", what, err, text)
			}
		}
	}
	full := &jetstream.APIError{ErrorCode: codeInsufficientResources}
	check("nothing is known")
	h.Failed("A", context.Canceled)
	h.Failed("A", nats.ErrDisconnected)
	h.Failed("A", &jetstream.APIError{ErrorCode: codeStoreFailed, Description: "maximum messages exceeded"})
	now = now.Add(time.Minute)
	check("what says nothing about storage")

	h.Failed("A", ErrNoAnswer)
	check("a moment's trouble")
	now = now.Add(faultPatience)
	check("the same after a while", "A stores nothing since 2026-03-01T12:01:00Z", "does not answer", "/healthz")
	h.Failed("B", full)
	check("full at once", "A stores", "B stores", "free space")
	h.Stored("A")
	check("one is well again", "B stores")
	now = now.Add(faultMemory + time.Second)
	check("the other is not seen again")
	h.Failed("A", ErrNoAnswer)
	check("what was forgotten begins anew")
	h.Stored("A")
	for n := range 9 {
		h.Failed(fmt.Sprint("S", n), full)
	}
	check("one cause, many streams", "S0 ", "S4 ", "and 4 more")
	h.roomSince(now.Add(time.Second))
	check("there is room")

	var none *Health
	none.Failed("A", full)
	none.Stored("A")
}
