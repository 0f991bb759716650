package sender

import (
	"math/rand/v2"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
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

// conclude sets what depends on the number of an attempt that was not accepted: when the next
// one is due, or that there is none.
func (u *underway) conclude(a *delivery.Attempt, judged delivery.Outcome) {
	wait := u.answer.RetryAfter
	a.Outcome, a.NextAttempt = judged, nil
	a.Redelivered = a.Redelivered || a.Attempt > u.d.Attempt
	if judged != delivery.Retry {
		return
	}
	delay, more := nextDelay(&u.e.Subscription.Delivery, u.d.Scheduled(a.Attempt-u.early), wait)
	early := u.isEarly(a) && !u.aborted
	if a.Manual {
		more = false // the schedule continues on its own
	}
	if u.aborted {
		delay, more = 0, true // another sender makes it at once
	} else if early {
		delay, more = min(wait, transport.MaxRetryAfter), true
	}
	if !more {
		a.Outcome = delivery.Exhausted
		return
	}
	u.due = u.ended.Add(delay)
	if early && u.due.Before(u.planned) {
		u.due = u.planned
	}
	next := u.due.UTC()
	a.NextAttempt = &next
}

// isEarly reports whether an attempt was made before it was due: then it does not count in
// the schedule.
func (u *underway) isEarly(a *delivery.Attempt) bool {
	return !u.planned.IsZero() && u.planned.Sub(a.At) > dueSlack
}
