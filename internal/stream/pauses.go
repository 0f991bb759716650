package stream

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Pauses are the times to wait between tries of what has failed, doubling from first to
// longest. Each is between half of that and the whole, by chance, so that those who have
// failed together do not come back together.
func Pauses(first, longest time.Duration) *backoff.ExponentialBackOff {
	// The library goes by chance below and above an interval.
	return &backoff.ExponentialBackOff{InitialInterval: first * 3 / 4, RandomizationFactor: 1.0 / 3, Multiplier: 2, MaxInterval: longest * 3 / 4}
}
