package subscription

import (
	"time"

	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Modes of a breaker.
const (
	BreakerOn  = "on"
	BreakerOff = "off"
)

// Defaults of a breaker.
const (
	DefaultBreakerFailures = 10
	DefaultDisableAfter    = 120 * time.Hour
)

const (
	maxBreakerFailures = 1000
	minDisableAfter    = time.Minute
	maxDisableAfter    = 90 * 24 * time.Hour
)

// A Breaker says when deliveries to an endpoint that is down are held back: see
// package breaker.
type Breaker struct {
	// Mode is on or off. Default: on.
	Mode string `json:"mode"`
	// Failures is after how many requests in a row that the endpoint has failed, as
	// one sender counts them, the breaker opens. 1 to 1000, default 10.
	Failures int `json:"failures"`
	// DisableAfter is how long the endpoint may be down before the subscription is
	// disabled. 1m to 2160h, default 120h; 0s: it never is.
	DisableAfter Duration `json:"disable_after"`
}

// DefaultBreaker is what a subscription has that says nothing about it.
func DefaultBreaker() Breaker {
	return Breaker{Mode: BreakerOn, Failures: DefaultBreakerFailures, DisableAfter: Duration(DefaultDisableAfter)}
}

// withDefaults takes a breaker without a mode for one that is not given: only then
// a DisableAfter of 0 is not one.
func (b Breaker) withDefaults() Breaker {
	if b.Mode == "" {
		b.Mode = BreakerOn
		setDefault(&b.DisableAfter, Duration(DefaultDisableAfter))
	}
	setDefault(&b.Failures, DefaultBreakerFailures)
	return b
}

// BreakerTerms are the settings with their defaults, also of a record that was
// stored before there were breakers.
func (d *Delivery) BreakerTerms() Breaker { return d.Breaker.withDefaults() }

func (b Breaker) validate(found *validation.Problems) {
	if b.Mode != BreakerOn && b.Mode != BreakerOff {
		found.Add("delivery.breaker.mode", "%q is not a mode: use %s or %s", plain.Clip(b.Mode), BreakerOn, BreakerOff)
	}
	if b.Failures < 1 || b.Failures > maxBreakerFailures {
		found.Add("delivery.breaker.failures", "is %d: use 1 to %d", b.Failures, maxBreakerFailures)
	}
	if after := time.Duration(b.DisableAfter); after != 0 && (after < minDisableAfter || after > maxDisableAfter) {
		found.Add("delivery.breaker.disable_after", "is %s: use %s to %s, or 0s for never", b.DisableAfter, Duration(minDisableAfter), Duration(maxDisableAfter))
	}
}
