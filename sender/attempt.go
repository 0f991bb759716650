package sender

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// attempt makes the request and judges the answer. wait is what the receiver
// asked for. a is nil when no request was made because the delivery was lost by then.
func (l *lane) attempt(ctx context.Context, u *underway, request *http.Request, body []byte) (a *delivery.Attempt, wait time.Duration) {
	d, e := u.d, u.e
	began := time.Now()
	checked, done := whileInHand(ctx, u.m.Lost)
	defer done()
	got, err := l.clients.send(checked, e.sub.Endpoint.Proxy, e.timeout, request, body)
	if !inHand(checked) {
		return nil, 0
	}
	took := delivery.Millis(time.Since(began))
	u.ended, u.held = began.Add(time.Duration(took)), false
	a = &delivery.Attempt{
		DeliveryID: d.ID, SubscriptionID: d.SubscriptionID, Event: delivery.RefOf(d), Attempt: d.Attempt,
		At: began.UTC(), Duration: took, Method: request.Method, URL: e.shown,
		Status: got.status, RequestBytes: len(body), Manual: d.Manual != "",
	}
	if len(got.body) > 0 {
		a.ResponseBody = delivery.StoredBody([]byte(e.redact.Strike(string(got.body), delivery.MaxStoredBody)))
	}
	switch {
	case err != nil && ctx.Err() != nil: // the end of the grace period; the receiver is not to blame
		u.brokenOff = true
		a.Outcome, a.Error = delivery.Retry, "broken off: the sender was stopped"
	case isMachineError(err): // neither is it when this machine cannot make the request
		u.held = true
		return a, 0
	case err != nil:
		a.Outcome, a.Error = delivery.Retry, e.strikeError(err)
	default:
		a.Outcome = e.profile.Judge(got.status)
		if got.status >= 300 && got.status <= 399 {
			a.Error = "redirects are not followed: give the final URL"
		}
	}
	if !u.brokenOff {
		u.found.health = healthOf(a, err)
		u.found.cause = breaker.Cause{Status: a.Status, Error: a.Error}
		if a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable {
			u.found.cause.RetryAfter = got.retryAfter
		}
	}
	return a, got.retryAfter
}

// record stores a, and with it the final verdict: whether there is another
// attempt depends on its number, which the log makes exact where this sender is
// not certain of it. It reports whether the delivery can be settled now; while nothing
// can be stored it does not return, see holding.
func (l *lane) record(ctx context.Context, u *underway, a *delivery.Attempt, wait time.Duration) bool {
	a.Redelivered = u.again
	var err error
	// Of one that is lost others may have made an attempt of the same number meanwhile,
	// and beside a retry a process that stood still may have recorded its own.
	if u.certain && u.d.Attempt == 1 && !u.m.Lost() && a.Outcome == delivery.Delivered {
		err = l.recorder.Record(ctx, a)
	} else {
		verdict := a.Outcome
		err = l.attempts.Record(ctx, a, u.d.Chain(), func(a *delivery.Attempt) { u.conclude(a, verdict, wait) })
	}
	if err != nil {
		l.log.Warn("attempt cannot be recorded, delivery will be attempted again", append(logFields(u, a), zap.NamedError("cause", err))...)
		l.nak(u.m, time.Second)
		return false
	}
	l.metrics.attempt(a, u.d)
	if line := l.log.Check(zap.InfoLevel, "attempt"); line != nil {
		line.Write(logFields(u, a)...)
	}
	return true
}

// conclude sets what depends on the number of a failed attempt: when the next one
// is due, or that there is none.
func (u *underway) conclude(a *delivery.Attempt, verdict delivery.Outcome, wait time.Duration) {
	a.Outcome, a.NextAttempt = verdict, nil
	a.Redelivered = a.Redelivered || a.Attempt > u.d.Attempt
	if verdict != delivery.Retry {
		return
	}
	delay, more := nextDelay(&u.e.sub.Delivery, u.d.Scheduled(a.Attempt-u.early), wait)
	early := u.isEarly(a) && !u.brokenOff
	if a.Manual {
		more = false // the schedule goes on by itself
	}
	if u.brokenOff {
		delay, more = 0, true // another sender makes it at once
	} else if early {
		delay, more = min(wait, maxRetryAfter), true
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

// recordUnsent says in the log of attempts why an attempt that somebody has asked
// for cannot be made, for that is where they look for it.
func (l *lane) recordUnsent(ctx context.Context, u *underway, cause error) {
	a := &delivery.Attempt{
		DeliveryID: u.d.ID, SubscriptionID: u.d.SubscriptionID, Event: delivery.RefOf(u.d), Attempt: u.d.Attempt, Manual: true,
		At: time.Now().UTC(), Method: u.e.sub.Endpoint.Method, URL: u.e.shown, Outcome: delivery.Rejected, Error: "not sent: " + u.e.strikeError(cause),
	}
	if l.record(ctx, u, a, 0) {
		l.settle(ctx, u, a)
	}
}

// logFields are those of the one line for each attempt.
func logFields(u *underway, a *delivery.Attempt) []zap.Field {
	fields := []zap.Field{
		zap.String("subscription_id", a.SubscriptionID), zap.String("delivery_id", a.DeliveryID),
		zap.String("event_id", a.Event.ID), zap.String("event_type", a.Event.Type), zap.Int("attempt", a.Attempt),
		zap.Stringer("outcome", a.Outcome), zap.Int("status", a.Status), zap.Duration("latency", time.Duration(a.Duration)),
		zap.String("endpoint_host", u.e.url.Host), zap.Uint64("seq", a.Event.Sequence),
	}
	if a.Error != "" {
		fields = append(fields, zap.String("error", a.Error))
	}
	return fields
}
