// Package breaker holds deliveries back while an endpoint is down.
//
//	           failures in a row, or a share of them
//	   ┌────────────────────────────────────────────────┐
//	   │                                                ▼
//	closed ◄── 8 successes, ─ half-open ◄── success ── open ◄─┐ failure:
//	   ▲       or nothing         └── more failures than ──►──┘ the delay doubles
//	   │       waits any more           successes
//	   └── by hand, or another endpoint
//
// While it is open one request at a time, a probe, is made over all senders, each
// after a delay; who makes it holds a lease. In half-open the same sender lets 1, 1,
// 2 and 4 requests through while all succeed, and fewer when some fail. An endpoint
// that fails now and then would not have opened the breaker: so it closes it.
//
// The record is in the bucket state. It is changed by compare-and-set,
// with the functions of this package, which take the time and return the next
// record. A closed breaker that has never opened has no record.
package breaker

import (
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// State is where a breaker stands.
type State string

// The states.
const (
	Closed   State = "closed"    // deliveries are made
	Open     State = "open"      // they wait, and one at a time probes the endpoint
	HalfOpen State = "half-open" // a few are made, to see whether the endpoint stays up
)

// Enough is how many requests must succeed, the probe among them, before the breaker
// closes.
const Enough = 8

// maxError is how much of an error is kept, in bytes: a record is small.
const maxError = 512

// maxStep is by how much readings of one clock may differ.
const maxStep = 5 * time.Second

// upAgain is why a breaker closes by itself.
const upAgain = "the endpoint is up again"

// preference is for how long the sender that was successful in half-open may go on
// before another one may.
const preference = 5 * time.Second

// A Record is where the breaker of a subscription stands. The zero value is closed.
// Its times are those of the NATS server's clock.
type Record struct {
	State State `json:"state"`
	// Since is when State began.
	Since time.Time `json:"since,omitzero"`
	// DownSince is the first failure since the last success or, where there was none
	// since, that success. A subscription is disabled by it, so an outage that is over
	// must not count.
	DownSince time.Time `json:"down_since,omitzero"`
	// OutageSince is when the breaker opened, once DownSince says something later. See
	// Outage.
	OutageSince time.Time `json:"outage_since,omitzero"`
	// Reason says why State is what it is.
	Reason string `json:"reason,omitempty"`
	// LastStatus and LastError are of the last request that failed, LastFailure is when
	// that was noticed.
	LastStatus  int       `json:"last_status,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	LastFailure time.Time `json:"last_failure,omitzero"`
	// Failures are the requests that failed in a row, as far as they were counted: by
	// the sender that opened the breaker, and then all probes.
	Failures int `json:"failures"`
	// Opened is how often the breaker has opened from closed.
	Opened int `json:"opened"`
	// Backoff is the delay before the next probe, without its jitter.
	Backoff subscription.Duration `json:"backoff,omitempty"`
	// NextProbe is when a request may be made; in closed zero, in half-open too unless
	// the receiver has asked for a pause.
	NextProbe time.Time `json:"next_probe,omitzero"`
	// Successes are those since half-open began, the probe among them, and Misses the
	// failures.
	Successes int `json:"successes,omitempty"`
	Misses    int `json:"misses,omitempty"`
	// Lease is who makes requests.
	Lease Lease `json:"lease,omitzero"`
	// Target is which endpoint the record is about: see TargetOf.
	Target string `json:"target,omitempty"`
	// Clock is by which setting of the server's clock the times are.
	Clock stream.Mark `json:"clock,omitzero"`
}

// On is the record by the clock as it is set now.
func (r Record) On(now stream.Mark) Record {
	if by := now.Since(r.Clock); by != 0 {
		for _, at := range []*time.Time{&r.Since, &r.DownSince, &r.OutageSince, &r.LastFailure, &r.NextProbe, &r.Lease.Until} {
			if !at.IsZero() {
				*at = at.Add(by)
			}
		}
	}
	r.Clock = now
	return r
}

// A Lease is the right of one sender to make requests while the breaker is not
// closed. It ends by itself, so that another sender takes over from one that died.
type Lease struct {
	By    string    `json:"by"`
	Until time.Time `json:"until"`
}

// A Cause is a request that the endpoint has failed.
type Cause struct {
	Status     int    // 0: no answer
	Error      string // redacted
	RetryAfter time.Duration
}

// Timing of probes. The zero value stands for the defaults.
type Timing struct {
	// Min is the delay before the first probe, which doubles up to Max. Default: 5 s
	// and 1 h.
	Min, Max time.Duration
	// Jitter returns a time from 0 to d. Default: evenly distributed (full jitter).
	Jitter func(d time.Duration) time.Duration
}

func (t Timing) withDefaults() Timing {
	if t.Min <= 0 {
		t.Min = 5 * time.Second
	}
	if t.Max <= 0 {
		t.Max = time.Hour
	}
	if t.Jitter == nil {
		t.Jitter = func(d time.Duration) time.Duration { return rand.N(d + 1) } //nolint:gosec // jitter
	}
	return t
}

// wait is the time to a probe: anything up to backoff, but no less than a fifth of
// the shortest, and at least what the receiver has asked for, up to the longest.
func (t Timing) wait(backoff, retryAfter time.Duration) time.Duration {
	return max(t.Jitter(backoff), t.Min/5, min(retryAfter, t.Max))
}

// TargetOf names the endpoint of a subscription. A record about another one says
// nothing about it; nor does that of an earlier subscription of the same id.
func TargetOf(sub *subscription.Subscription) string {
	sum := sha256.Sum256([]byte(sub.Endpoint.URL + "\x00" + sub.CreatedAt.UTC().Format(time.RFC3339Nano)))
	return hex.EncodeToString(sum[:8])
}

// IsClosed reports whether deliveries to target go their ordinary way.
func (r Record) IsClosed(target string) bool {
	return r.State == Closed || r.State == "" || r.Target != target
}

// Trip opens a breaker that was closed. reason says what was too much, failures how
// many in a row there were. Where the endpoint fails again soon after it was thought
// to be up, the delay goes on from where it was.
func (r Record) Trip(now time.Time, target, reason string, failures int, cause Cause, t Timing) Record {
	t = t.withDefaults()
	backoff := t.Min
	if soon := max(time.Duration(r.Backoff), t.Min); r.Target == target && r.Backoff > 0 && now.Sub(r.Since) < soon {
		backoff = min(2*time.Duration(r.Backoff), t.Max)
	}
	opened := r.Opened
	if r.Target != target {
		opened = 0
	}
	next := Record{
		State: Open, Since: now, DownSince: now, Reason: reason, Failures: failures, Opened: opened + 1, Target: target,
		Backoff: subscription.Duration(backoff), NextProbe: now.Add(t.wait(backoff, cause.RetryAfter)), Clock: r.Clock,
	}
	return next.note(now, cause)
}

// Fail is the record after n requests of a lease have failed, the last of them by
// cause. In half-open that is no reason to open again while no more have failed than
// succeeded. An endpoint that has answered at all since is tried again soon: the delay
// begins anew.
func (r Record) Fail(now time.Time, n int, cause Cause, t Timing) Record {
	t = t.withDefaults()
	if r.State == HalfOpen && (r.LastFailure.Before(r.DownSince) || r.Since.After(r.DownSince)) { // the first since a success
		r = r.down(now)
	}
	r = r.note(now, cause)
	r.Failures += n
	backoff := min(max(2*time.Duration(r.Backoff), t.Min), t.Max)
	r.Reason = "a probe has failed"
	if r.State == HalfOpen {
		if r.Misses += n; r.Misses <= r.Successes {
			r.Reason, r.NextProbe = "some requests succeed, and some fail", time.Time{}
			if cause.RetryAfter > 0 {
				r.NextProbe = now.Add(min(cause.RetryAfter, t.Max))
			}
			r.Lease.Until = now.Add(preference)
			return r
		}
		backoff = t.Min
	}
	if r.State != Open {
		r.State, r.Since, r.Reason = Open, now, "the endpoint has failed again"
	}
	r.Backoff, r.NextProbe = subscription.Duration(backoff), now.Add(t.wait(backoff, cause.RetryAfter))
	r.Successes, r.Misses, r.Lease = 0, 0, Lease{}
	return r
}

func (r Record) note(now time.Time, cause Cause) Record {
	r.LastStatus, r.LastError, r.LastFailure = cause.Status, cut(cause.Error), now
	return r
}

// down is the record when DownSince is another time.
func (r Record) down(since time.Time) Record {
	r.OutageSince, r.DownSince = r.Outage(), since
	return r
}

// Outage is when the breaker opened and has not closed since. It is zero when it is
// closed.
func (r Record) Outage() time.Time {
	if r.OutageSince.IsZero() {
		return r.DownSince
	}
	return r.OutageSince
}

// cut keeps what is valid UTF-8 of the beginning.
func cut(s string) string {
	if len(s) <= maxError {
		return s
	}
	end := maxError
	for end > 0 && s[end]&0xC0 == 0x80 { // inside a character
		end--
	}
	return s[:end] + "…"
}

// Succeed is the record after n requests of a lease have succeeded. The sender keeps
// the lease for a moment: it may go on at once.
func (r Record) Succeed(now time.Time, n int) Record {
	r.Successes += n
	if r.Successes >= Enough {
		return r.Close(now, upAgain)
	}
	if r.State != HalfOpen {
		r.State, r.Since, r.Reason = HalfOpen, now, "a probe has succeeded"
	}
	r = r.down(now)
	r.Failures, r.NextProbe = 0, time.Time{}
	r.Lease.Until = now.Add(preference)
	return r
}

// Delivered is the record when nothing waits any more: half-open, it closes although
// fewer than Enough have succeeded, or it would stay half-open until more events come.
// One whose requests fail as often as they succeed waits for those that were put off.
func (r Record) Delivered(now time.Time) (next Record, closed bool) {
	if r.State != HalfOpen || r.Successes <= r.Misses {
		return r, false
	}
	return r.Close(now, upAgain), true
}

// Close is a breaker that lets everything through. It remembers what has happened.
func (r Record) Close(now time.Time, reason string) Record {
	r.State, r.Since, r.Reason = Closed, now, reason
	r.DownSince, r.OutageSince, r.NextProbe = time.Time{}, time.Time{}, time.Time{}
	r.Failures, r.Successes, r.Misses, r.Lease = 0, 0, 0, Lease{}
	return r
}

// Take gives by the lease.
func (r Record) Take(now time.Time, by string, length time.Duration) Record {
	r.Lease = Lease{By: by, Until: now.Add(length)}
	return r
}

// Release gives the lease up without a result: there was nothing to try with.
func (r Record) Release() Record {
	r.Lease = Lease{}
	return r
}

// maxLease is longer than any lease is, also of a sender of a version that did not renew it
// and took it for as long as a request may take.
const maxLease = 2 * time.Minute

// Due is when by may take the lease. What lies further ahead of now than it can is of a
// clock that was set back since: it does not count, or deliveries would wait for as long
// as the clock was wrong by. At worst that costs one probe.
func (r Record) Due(by string, now time.Time, t Timing) time.Time {
	due := r.NextProbe
	if due.Sub(now) > t.withDefaults().Max+maxStep || r.LastFailure.Sub(now) > maxStep {
		due = now
	}
	if until := r.Lease.Until; r.Lease.By != by && until.After(due) && until.Sub(now) <= maxLease {
		return until
	}
	return due
}

// Room is how many requests may be made at a time.
func (r Record) Room() int {
	if r.State != HalfOpen {
		return 1
	}
	return max(1, min(r.Successes-r.Misses, Enough-r.Successes))
}
