package sender

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/sender/endpoint"
)

// Where taking a delivery was slow, the subscription is looked up again before its request
// is made: it may have been paused meanwhile. Otherwise that is not done, since it costs a
// request to NATS.
func TestSlowTakeLooksAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		took          time.Duration
		current, want bool
		looked        int
	}{
		{"fast, changed", 0, false, true, 0},
		{"slow, unchanged", 2 * slowTake, true, true, 1},
		{"slow, changed", 2 * slowTake, false, false, 1},
	} {
		looked := 0
		p := &pipeline{settler: &settler{log: zap.NewNop()}, current: func(context.Context, *endpoint.Endpoint) bool {
			looked++
			return test.current
		}}
		u := &underway{m: &consume.Message{Msg: &nats.Msg{}}, taken: time.Now().Add(-test.took)}
		if got := p.stillCurrent(t.Context(), u); got != test.want || looked != test.looked {
			t.Errorf("%s: got %t after %d look-ups, want %t after %d", test.name, got, looked, test.want, test.looked)
		}
	}
}
