package sender

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/transport"
)

// nextDelay is how long to wait after attempt n failed, and whether there is an
// attempt n+1 at all. The schedule holds the delay before each attempt, spread by
// the jitter to both sides; a receiver's Retry-After is obeyed when it is longer.
func nextDelay(d *subscription.Delivery, n int, retryAfter time.Duration) (delay time.Duration, more bool) {
	delay, more = d.Retry.Before(n + 1)
	if !more {
		return 0, false
	}
	if spread := time.Duration(float64(delay) * d.Jitter); spread > 0 {
		delay += rand.N(2*spread+1) - spread //nolint:gosec // jitter
	}
	return max(delay, min(retryAfter, transport.MaxRetryAfter)), true
}

// expired reports whether d has waited longer than the subscription allows, since its event
// was stored or it was redriven: by the clock of the NATS server, which has stored it. A
// sender whose clock is wrong must not give up a delivery too early; while the server's time
// is not known, none expires.
func expired(ctx context.Context, clock *clock.Clock, sub *subscription.Subscription, d *delivery.Delivery) bool {
	maxAge, since := time.Duration(sub.Delivery.MaxAge), d.Waiting()
	if maxAge == 0 || since.IsZero() {
		return false
	}
	read, err := clock.At(ctx)
	return err == nil && read.Age(since) > maxAge
}
