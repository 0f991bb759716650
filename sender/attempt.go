package sender

import (
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
)

// attempt makes the request and judges the answer. wait is what the receiver
// asked for.
func (l *lane) attempt(ctx context.Context, e *endpoint, d *delivery.Delivery, request *http.Request, body []byte) (a *delivery.Attempt, wait time.Duration) {
	began := time.Now()
	got, err := post(ctx, l.client, e.timeout, request, body)
	a = &delivery.Attempt{
		DeliveryID: d.ID, SubscriptionID: d.SubscriptionID, Event: delivery.RefOf(d), Attempt: d.Attempt,
		At: began.UTC(), Duration: delivery.Millis(time.Since(began)), Method: request.Method, URL: e.shown,
		Status: got.status, ResponseBody: delivery.StoredBody(got.body), RequestBytes: len(body),
	}
	switch {
	case err != nil:
		a.Outcome, a.Error = delivery.Retry, err.Error()
	default:
		a.Outcome = e.profile.Judge(got.status)
		if got.status >= 300 && got.status <= 399 {
			a.Error = "redirects are not followed: give the final URL"
		}
	}
	return a, got.retryAfter
}

// record stores a, and with it the final verdict: whether there is another
// attempt depends on its number, which the log makes exact. It reports whether
// the delivery can be settled now.
func (l *lane) record(ctx context.Context, e *endpoint, m *stream.Message, d *delivery.Delivery, a *delivery.Attempt, wait time.Duration) bool {
	verdict := a.Outcome
	a.Redelivered = m.Delivered > 1 && d.Attempt == 1
	err := l.attempts.Record(ctx, a, d.Origin, func(a *delivery.Attempt) {
		a.Outcome, a.NextAttempt = verdict, nil
		if verdict != delivery.Retry {
			return
		}
		delay, more := nextDelay(&e.sub.Delivery, a.Attempt, wait)
		if !more {
			a.Outcome = delivery.Exhausted
			return
		}
		next := time.Now().Add(delay).UTC()
		a.NextAttempt = &next
	})
	fields := []zap.Field{
		zap.String("subscription_id", a.SubscriptionID), zap.String("delivery_id", a.DeliveryID),
		zap.String("event_id", a.Event.ID), zap.String("event_type", a.Event.Type), zap.Int("attempt", a.Attempt),
		zap.Stringer("outcome", a.Outcome), zap.Int("status", a.Status), zap.Duration("latency", time.Duration(a.Duration)),
		zap.String("endpoint_host", e.url.Host), zap.Uint64("seq", a.Event.Sequence),
	}
	if a.Error != "" {
		fields = append(fields, zap.String("error", a.Error))
	}
	if err != nil {
		l.log.Warn("attempt cannot be recorded, delivery will be attempted again", append(fields, zap.NamedError("cause", err))...)
		l.nak(m, time.Second)
		return false
	}
	l.metrics.attempt(a, d)
	l.log.Info("attempt", fields...)
	return true
}
