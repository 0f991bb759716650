package sender

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/manual"
	"github.com/jetpost/jetpost/sender/probe"
	"github.com/jetpost/jetpost/sender/timers"
	"github.com/jetpost/jetpost/sender/transport"
)

// A pipeline takes the deliveries of one subscription through their steps.
type pipeline struct {
	id       string
	shard    string // of its retry timers
	session  *consume.Session
	clock    *clock.Clock
	client   *transport.Client
	manual   *manual.Successes
	timers   *timers.Timers
	attempts *delivery.Log
	recorder *delivery.Recorder
	order    *order // where the subscription is ordered
	settler  *settler
	// serves reports whether the subscription is still as it is in an endpoint, and sends.
	serves func(*endpoint.Endpoint) bool
	// current reports whether the subscription is still as it is in an endpoint, in a view
	// that holds every change answered by now.
	current func(context.Context, *endpoint.Endpoint) bool
	metrics *metrics
	log     *zap.Logger
}

// underway is one delivery that a worker has in hand.
type underway struct {
	m *consume.Message
	d *delivery.Delivery
	e *endpoint.Endpoint
	// observe is called with the evidence of an ordinary delivery as soon as there is a
	// response; nil: this is a probe.
	observe func(*probe.Evidence)

	// Of take.
	taken   time.Time // when it began
	again   bool      // the queue has handed it out before
	certain bool      // d.Attempt is right; it may be too low after a crash, see delivery.Log
	// Of the head of an ordered subscription that was attempted before: when this attempt is
	// due, and how many were made before they were. See ordered.Record.
	planned time.Time
	early   int
	counted int // how many times that it was handed out are in d.Attempt

	// Of render and attempt.
	request *http.Request
	body    []byte
	answer  transport.Answer
	err     error // of the request
	began   time.Time
	took    delivery.Millis

	// Of judge and record. Both times have a monotonic reading: steps of the clock do not
	// matter to them.
	a          *delivery.Attempt
	evidence   probe.Evidence
	ended, due time.Time // when the request ended, and when the next attempt is due
	aborted    bool      // the request did not end within the grace period of a stop
}

func (u *underway) isProbe() bool { return u.observe == nil }

// deliver takes one delivery through its steps, and returns what it says about the endpoint.
// A step reports whether the next one follows; otherwise it has settled the delivery or
// handed it back.
func (p *pipeline) deliver(ctx context.Context, e *endpoint.Endpoint, m *consume.Message, observe func(*probe.Evidence)) probe.Evidence {
	defer m.Leave()
	defer consume.KeepHolding(m)()
	u := &underway{m: m, e: e, observe: observe}
	if p.take(ctx, u) && p.stillCurrent(ctx, u) && p.render(ctx, u) && p.attempt(ctx, u) && p.judge(ctx, u) && p.record(ctx, u) {
		p.settler.settle(ctx, u)
	}
	return u.evidence
}

// take reads the delivery, and settles one for which no request is to be made.
func (p *pipeline) take(ctx context.Context, u *underway) bool {
	u.taken = time.Now()
	d, err := delivery.FromMessage(p.id, u.m.Header, u.m.Data)
	if err != nil {
		p.settler.keepUnreadable(ctx, u.m, err)
		return false
	}
	u.d, u.evidence.DeliveryID = d, d.ID
	u.certain, u.again = !p.session.MayForget(u.m), u.m.Delivered > 1
	if d.Manual == "" && (u.again || d.Attempt > 1) && p.manual.Has(ctx, d) {
		p.settler.drop(ctx, u)
		return false
	}
	if p.order != nil && !p.order.resume(ctx, u) {
		return false
	}
	if u.again && p.order == nil && d.Manual == "" && p.timers.IsPlanned(ctx, p.shard, d, u.m.Delivered) {
		p.settler.ack(u.m, d)
		return false
	}
	if d.Manual == "" && expired(ctx, p.clock, u.e.Subscription, d) {
		p.settler.giveUp(ctx, u, delivery.ReasonExpired, d.Attempt-1, nil)
		return false
	}
	return true
}

// slowTake is from when on take has lasted so long that the subscription may have changed.
const slowTake = time.Second

// stillCurrent reports whether the subscription is still as it was when the delivery was
// taken. That is looked up again where taking it was slow: what take reads may not answer for
// many seconds, while a cluster has no quorum, and the subscription may have been paused.
func (p *pipeline) stillCurrent(ctx context.Context, u *underway) bool {
	if time.Since(u.taken) < slowTake || p.current(ctx, u.e) {
		return true
	}
	p.settler.nak(u.m, time.Second)
	return false
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

// number is that of the attempt, or a guess: a message that was handed out before, perhaps to
// another sender, has in general had an attempt each time.
func (u *underway) number() int {
	if u.certain {
		return u.d.Attempt
	}
	return u.d.Attempt + max(u.m.Delivered-1-u.counted, 0)
}

// render writes and signs the request. A delivery that cannot be rendered is given up.
func (p *pipeline) render(ctx context.Context, u *underway) bool {
	var err error
	u.request, u.body, err = u.e.Render(u.d, u.number(), time.Now())
	switch {
	case err == nil:
		return true
	case u.d.Manual != "":
		p.recordUnsent(ctx, u, err)
	default:
		p.settler.giveUp(ctx, u, delivery.ReasonRejected, u.d.Attempt-1, &delivery.Attempt{Error: u.e.StrikeError(err)})
	}
	return false
}

// Between two tries of this machine to make a request or to store something, doubling.
const (
	firstPause = 250 * time.Millisecond
	longPause  = 10 * time.Second
)

// attempt makes the request as soon as this machine can. Until then the delivery is held: that
// is no fault of the receiver's, and no attempt.
func (p *pipeline) attempt(ctx context.Context, u *underway) bool {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		if u.m.Lost() {
			p.settler.leave(1)
			return false
		}
		u.began = time.Now()
		checked, done := transport.WhileInHand(ctx, u.m.Lost)
		u.answer, u.err = p.client.Send(checked, u.e.Subscription.Endpoint.Proxy, u.e.Timeout, u.request, u.body)
		done()
		if !transport.InHand(checked) {
			p.settler.leave(1)
			return false
		}
		u.took = delivery.Millis(time.Since(u.began))
		u.ended = u.began.Add(time.Duration(u.took))
		if u.err == nil || ctx.Err() != nil || !transport.IsMachineError(u.err) {
			return true
		}
		// A probe gives up its lease: another sender's machine may be able to make the request.
		// The subscription is checked as it would be for a delivery that arrives.
		again := !u.isProbe() && clock.Pause(ctx, pause/2+rand.N(pause)) //nolint:gosec // jitter
		if !again || !p.serves(u.e) {
			p.settler.nak(u.m, time.Second)
			return false
		}
		if !p.render(ctx, u) {
			return false
		}
	}
}

// judge turns the response into an outcome, and into evidence about the endpoint.
func (p *pipeline) judge(ctx context.Context, u *underway) bool {
	d, e, got := u.d, u.e, &u.answer
	a := &delivery.Attempt{
		DeliveryID: d.ID, SubscriptionID: d.SubscriptionID, Event: delivery.RefOf(d), Attempt: d.Attempt,
		At: u.began.UTC(), Duration: u.took, Method: u.request.Method, URL: e.Shown,
		Status: got.Status, RequestBytes: len(u.body), Manual: d.Manual != "",
	}
	if len(got.Body) > 0 {
		a.ResponseBody = delivery.StoredBody([]byte(e.Strike(string(got.Body), delivery.MaxStoredBody)))
	}
	switch {
	case u.err != nil && ctx.Err() != nil: // the end of the grace period; the receiver is not to blame
		u.aborted = true
		a.Outcome, a.Error = delivery.Retry, "broken off: the sender was stopped"
	case u.err != nil:
		a.Outcome, a.Error = delivery.Retry, e.StrikeError(u.err)
	default:
		a.Outcome = e.Judge(got.Status)
		if got.Status >= 300 && got.Status <= 399 {
			a.Error = "redirects are not followed: give the final URL"
		}
	}
	if !u.aborted {
		u.evidence.Observe(a, u.err, got.RetryAfter)
	}
	if u.observe != nil {
		u.observe(&u.evidence)
	}
	u.a = a
	return true
}

// record stores the attempt, and with it the final outcome: whether there is another attempt
// depends on its number, which the log makes exact where this sender is not certain of it. It
// reports whether the delivery can be settled now; while nothing can be stored it does not
// return, see settler.insist.
func (p *pipeline) record(ctx context.Context, u *underway) bool {
	a := u.a
	a.Redelivered = u.again
	var err error
	// Of a delivery that is lost, others may have made an attempt of the same number meanwhile;
	// and beside a retry, a process that stood still may have recorded its own.
	if u.certain && u.d.Attempt == 1 && !u.m.Lost() && a.Outcome == delivery.Delivered {
		err = p.recorder.Record(ctx, a)
	} else {
		judged := a.Outcome
		err = p.attempts.Record(ctx, a, u.d.Chain(), func(a *delivery.Attempt) { u.conclude(a, judged) })
	}
	if err != nil {
		p.log.Warn("failed to store attempt, delivery will be attempted again", append(logFields(u, a), zap.NamedError("cause", err))...)
		p.settler.nak(u.m, time.Second)
		return false
	}
	p.metrics.byOutcome[a.Outcome].Inc()
	p.metrics.seconds.Observe(time.Duration(a.Duration).Seconds())
	if a.Outcome == delivery.Delivered && a.Attempt == 1 && !a.Manual && !u.d.Accepted.IsZero() && u.d.Redrive.At.IsZero() {
		p.metrics.endToEnd.Observe(time.Since(u.d.Accepted).Seconds())
	}
	if line := p.log.Check(zap.InfoLevel, "attempt"); line != nil {
		line.Write(logFields(u, a)...)
	}
	return true
}

// recordUnsent records in the attempt log why a manual attempt was not made, for the person
// who has requested it.
func (p *pipeline) recordUnsent(ctx context.Context, u *underway, cause error) {
	u.a = &delivery.Attempt{
		DeliveryID: u.d.ID, SubscriptionID: u.d.SubscriptionID, Event: delivery.RefOf(u.d), Attempt: u.d.Attempt, Manual: true,
		At: time.Now().UTC(), Method: u.e.Subscription.Endpoint.Method, URL: u.e.Shown, Outcome: delivery.Rejected, Error: "not sent: " + u.e.StrikeError(cause),
	}
	if p.record(ctx, u) {
		p.settler.settle(ctx, u)
	}
}

// logFields are those of the one line for each attempt.
func logFields(u *underway, a *delivery.Attempt) []zap.Field {
	fields := []zap.Field{
		zap.String("subscription_id", a.SubscriptionID), zap.String("delivery_id", a.DeliveryID),
		zap.String("event_id", a.Event.ID), zap.String("event_type", a.Event.Type), zap.Int("attempt", a.Attempt),
		zap.Stringer("outcome", a.Outcome), zap.Int("status", a.Status), zap.Duration("latency", time.Duration(a.Duration)),
		zap.String("endpoint_host", u.e.Host), zap.Uint64("seq", a.Event.Sequence),
	}
	if a.Error != "" {
		fields = append(fields, zap.String("error", a.Error))
	}
	return fields
}
