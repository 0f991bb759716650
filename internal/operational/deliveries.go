package operational

import (
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// troubles are those of a delivery.
type troubles struct {
	about

	EndpointHost string   `json:"endpoint_host"`
	DeliveryID   string   `json:"delivery_id"`
	Event        eventRef `json:"event"`
}

func troublesOf(sub *subscription.Subscription, d *delivery.Delivery) troubles {
	return troubles{aboutOf(sub), hostOf(sub), d.ID, refOf(d)}
}

// answer is the last one.
type answer struct {
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
}

// silent reports whether nothing may be said about a delivery, so that there are no
// loops. That its event is not one of these would do: it holds even while a
// subscription is made an observer, or is one no longer.
func silent(sub *subscription.Subscription, d *delivery.Delivery) bool {
	return Observes(sub) || strings.HasPrefix(d.Event.Type, typePrefix)
}

// FailingAt is the attempt, as the schedule counts them, after whose failure a
// delivery is said to be failing: the third, or in a short schedule the last but
// one. 0: never.
func FailingAt(sub *subscription.Subscription) int { return min(3, sub.Delivery.Retry.Attempts()-1) }

// Failing is the event that attempts of d have failed, a the latest of them, and more
// will follow. It is to be published once per delivery: see FailingAt.
func Failing(sub *subscription.Subscription, d *delivery.Delivery, a *delivery.Attempt) Event {
	if silent(sub, d) {
		return Event{}
	}
	var next time.Time
	if a.NextAttempt != nil {
		next = *a.NextAttempt
	}
	return newEvent(deliveryFailing, chain(d), sub.ID, struct {
		troubles

		Attempt  int `json:"attempt"`
		Attempts int `json:"attempts"`
		answer

		NextAttempt time.Time `json:"next_attempt"`
	}{troublesOf(sub, d), d.Scheduled(a.Attempt), sub.Delivery.Retry.Attempts(), answer{a.Status, clip(a.Error)}, next.UTC()})
}

// GivenUp is the event that d is a dead letter, after so many attempts. last is the
// latest of them, or nil.
func GivenUp(sub *subscription.Subscription, d *delivery.Delivery, reason delivery.Reason, attempts int, last *delivery.Attempt) Event {
	if silent(sub, d) {
		return Event{}
	}
	var said answer
	if last != nil {
		said = answer{last.Status, clip(last.Error)}
	}
	return newEvent(deliveryExhausted, chain(d)+"/"+strconv.Itoa(attempts), sub.ID, struct {
		troubles

		Reason   delivery.Reason `json:"reason"`
		Attempts int             `json:"attempts"`
		answer
	}{troublesOf(sub, d), reason, attempts, said})
}

// chain names a delivery and, where it was redriven, which time. Not its id: producers
// reuse those of events.
func chain(d *delivery.Delivery) string {
	if !d.Redrive.At.IsZero() {
		return d.Origin + "/redrive/" + d.Redrive.Name()
	}
	return d.Origin
}

// Opened is the event that the breaker of sub, which was closed, has changed to r. It is
// for the writer of r to publish.
func Opened(sub *subscription.Subscription, r *breaker.Record) Event {
	if Observes(sub) {
		return Event{}
	}
	return newEvent(breakerOpened, sub.ID+"/"+strconv.FormatInt(r.Since.UnixNano(), 10), sub.ID, struct {
		about

		EndpointHost string `json:"endpoint_host"`
		Reason       string `json:"reason"`
		Failures     int    `json:"failures"`
		answer

		NextProbe time.Time `json:"next_probe"`
		Opened    int       `json:"opened"`
	}{aboutOf(sub), hostOf(sub), r.Reason, r.Failures, answer{r.LastStatus, clip(r.LastError)}, r.NextProbe.UTC(), r.Opened})
}

// Closed is the event that the breaker of sub has changed from was to r: closed. It
// is for the writer of r to publish.
func Closed(sub *subscription.Subscription, was, r *breaker.Record, by Actor) Event {
	if Observes(sub) {
		return Event{}
	}
	return newEvent(breakerClosed, sub.ID+"/"+strconv.FormatInt(r.Since.UnixNano(), 10), sub.ID, struct {
		about

		EndpointHost string    `json:"endpoint_host"`
		Reason       string    `json:"reason"`
		Actor        Actor     `json:"actor"`
		DownSince    time.Time `json:"down_since"`
	}{aboutOf(sub), hostOf(sub), r.Reason, by, was.Outage().UTC()})
}

// An Overflow are deliveries that have found the queue of their subscription full, or
// whose subscription has filters that take too many steps for their events.
type Overflow struct {
	Count        int
	Since, Until time.Time          // of the first and the last
	First, Last  *delivery.Delivery // of them
}

// Overflowed is the event of an Overflow of the first kind.
func Overflowed(sub *subscription.Subscription, o Overflow) Event {
	return notQueued(queueOverflow, sub, o)
}

// OverBudget is the event of an Overflow of the second kind.
func OverBudget(sub *subscription.Subscription, o Overflow) Event {
	return notQueued(filtersOverBudget, sub, o)
}

func notQueued(kind string, sub *subscription.Subscription, o Overflow) Event {
	if Observes(sub) {
		return Event{}
	}
	return newEvent(kind, o.First.Origin+"/"+strconv.FormatInt(o.Since.UnixNano(), 10), sub.ID, struct {
		about

		Count      int       `json:"count"`
		Since      time.Time `json:"since"`
		Until      time.Time `json:"until"`
		DeliveryID string    `json:"delivery_id"`
	}{aboutOf(sub), o.Count, o.Since.UTC(), o.Until.UTC(), o.Last.ID})
}

// A Backlog is what waits in the queue of a subscription.
type Backlog struct {
	// Episode names the time for which it has lagged, the same for all who notice.
	Episode string
	Waiting uint64
	Oldest  time.Time // since when the oldest delivery waits
	Age     time.Duration
	Limit   time.Duration // which Age is above
	Breaker string        // its state, or subscription.BreakerOff
}

// Lagging is the event of a Backlog.
func Lagging(sub *subscription.Subscription, b Backlog) Event {
	if Observes(sub) {
		return Event{}
	}
	return newEvent(backlogLagging, sub.ID+"/"+b.Episode, sub.ID, struct {
		about

		EndpointHost string    `json:"endpoint_host"`
		Waiting      uint64    `json:"waiting"`
		Oldest       time.Time `json:"oldest"`
		AgeSeconds   float64   `json:"age_seconds"`
		LimitSeconds float64   `json:"limit_seconds"`
		Breaker      string    `json:"breaker"`
	}{aboutOf(sub), hostOf(sub), b.Waiting, b.Oldest.UTC(), b.Age.Seconds(), b.Limit.Seconds(), b.Breaker})
}
