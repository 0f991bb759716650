// Package operational is what jetpost publishes about itself: events of the domain
// jetpost, which anyone can subscribe to like any others.
//
//	admin, router, sender ──► Publish ──► buffer ──► Run ──► EVENTS_jetpost ──► router ──► …
//
// A function of this package makes each type of event, with data that fits its
// schema in schemas/jetpost. A Publisher never holds up or fails those who have
// something to say. It promises less than a producer: what is in its buffer when
// the process is killed is not published, and what does not fit is dropped and
// counted.
//
// The id of an event is made of the fact that it is about, so a fact that two
// processes notice is stored once.
//
// No loops: see Observes.
package operational

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Actor is the actor of a change, in the data of an event.
type Actor string

// The actors.
const (
	// Itself is jetpost, on its own account.
	Itself Actor = "jetpost"
	// Admin is who is known by nothing else. Others are the ids of their tokens.
	Admin Actor = "admin"
)

// typePrefix is what the types of operational events begin with.
const typePrefix = stream.OperationalDomain + "."

// The events of the domain.
const (
	subscriptionCreated  = "subscription.created"
	subscriptionUpdated  = "subscription.updated"
	subscriptionPaused   = "subscription.paused"
	subscriptionResumed  = "subscription.resumed"
	subscriptionDisabled = "subscription.disabled"
	subscriptionDeleted  = "subscription.deleted"
	deliveryFailing      = "delivery.failing"
	deliveryExhausted    = "delivery.exhausted"
	breakerOpened        = "breaker.opened"
	breakerClosed        = "breaker.closed"
	queueOverflow        = "queue.overflow"
	filtersOverBudget    = "filters.over_budget"
	backlogLagging       = "backlog.lagging"
	consumerReset        = "consumer.reset"
	storageLost          = "storage.lost"
)

// Observes reports whether a subscription wants operational events, be it among
// // others. Events about its deliveries are not published: each would be another
// delivery to it, or to an observer that is observed itself, without end. Events about
// changes by people are: they are finite.
func Observes(sub *subscription.Subscription) bool {
	for _, eventType := range sub.Types { // a domain's wildcard begins with its name
		if strings.HasPrefix(eventType, typePrefix) {
			return true
		}
	}
	return false
}

// An Event is something to publish. The zero value is nothing, and is not published.
type Event struct {
	kind    string    // without the prefix of its type
	fact    string    // what it is about: the same for every process that notices
	subject string    // the id of the subscription, or a stream
	at      time.Time // when it was noticed
	data    any
}

func newEvent(kind, fact, subject string, data any) Event {
	return Event{kind: kind, fact: fact, subject: subject, at: time.Now(), data: data}
}

// cloudEvent is e as the event log has it.
func (e *Event) cloudEvent(layout stream.Layout) (*event.Event, error) {
	data, err := json.Marshal(e.data)
	if err != nil {
		return nil, fmt.Errorf("encode data of %s%s: %w", typePrefix, e.kind, err)
	}
	return &event.Event{
		ID: e.kind + "/" + e.fact, Source: layout.OperationalSource(), Type: typePrefix + e.kind, Subject: e.subject,
		Time: e.at.UTC().Format(time.RFC3339Nano), DataContentType: "application/json", Data: data,
	}, nil
}

// about is what the data of every event begins with.
type about struct {
	SubscriptionID string            `json:"subscription_id"`
	Labels         map[string]string `json:"labels,omitempty"`
}

func aboutOf(sub *subscription.Subscription) about { return about{sub.ID, sub.Labels} }

// hostOf is all that is shown of an endpoint: paths are secrets to some receivers.
func hostOf(sub *subscription.Subscription) string {
	u, err := url.Parse(sub.Endpoint.URL)
	if err != nil || u.Host == "" {
		return "?"
	}
	return u.Host
}

// revisionFact names a change of a subscription. A bucket that has lost changes in a
// crash uses revisions again, so its time belongs to it.
func revisionFact(sub *subscription.Subscription) string {
	fact := sub.ID + "/" + strconv.FormatUint(sub.Revision, 10)
	if sub.UpdatedAt.IsZero() {
		return fact
	}
	return fact + "@" + strconv.FormatInt(sub.UpdatedAt.UnixMilli(), 10)
}

// What is kept of texts that others choose, in bytes.
const maxText = 512

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// eventRef is the event of a delivery.
type eventRef struct {
	ID       string `json:"id"`
	Source   string `json:"source"`
	Type     string `json:"type"`
	Subject  string `json:"subject,omitempty"`
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
}

func refOf(d *delivery.Delivery) eventRef {
	ref := delivery.RefOf(d)
	return eventRef{clip(ref.ID), clip(ref.Source), clip(ref.Type), clip(ref.Subject), ref.Stream, ref.Sequence}
}
