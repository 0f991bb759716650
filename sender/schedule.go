package sender

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/subscription"
)

// maxRetryAfter bounds what a receiver may ask for (design, section 7).
const maxRetryAfter = 24 * time.Hour

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
	return max(delay, min(retryAfter, maxRetryAfter)), true
}

// maxSkew is by how much the clocks of sender and receiver may differ before a date is
// read by the receiver's.
const maxSkew = time.Minute

// retryAfter reads the header of that name: seconds or an HTTP date (RFC 9110,
// section 10.2.3). What cannot be read is ignored. A date is of the receiver's clock,
// which the answer's Date shows: where the two clocks differ it is that which counts.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter) //nolint:gosec // 32 bits
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil && theirs.Sub(now).Abs() > maxSkew {
		now = theirs
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
