package operational

import (
	"strconv"

	"github.com/jetpost/jetpost/internal/subscription"
)

// Created is the event that sub was created.
func Created(sub *subscription.Subscription, by Actor) Event {
	return newEvent(subscriptionCreated, revisionFact(sub), sub.ID, struct {
		about

		EndpointHost string             `json:"endpoint_host"`
		Revision     uint64             `json:"revision"`
		Actor        Actor              `json:"actor"`
		Types        []string           `json:"types"`
		Profile      string             `json:"profile"`
		State        subscription.State `json:"state"`
	}{aboutOf(sub), hostOf(sub), sub.Revision, by, sub.Types, sub.Profile, sub.State})
}

// Changed are the events of a change of a subscription: none when it is the same, one
// about its fields and one about its state. They name the fields without their values.
func Changed(before, after *subscription.Subscription, by Actor) []Event {
	var events []Event
	if fields := subscription.Changes(before, after); len(fields) > 0 {
		events = append(events, newEvent(subscriptionUpdated, revisionFact(after), after.ID, struct {
			about

			Revision uint64   `json:"revision"`
			Actor    Actor    `json:"actor"`
			Changed  []string `json:"changed"`
		}{aboutOf(after), after.Revision, by, fields}))
	}
	if before.State != after.State {
		events = append(events, stateChanged(before.State, after, by))
	}
	return events
}

// Disabled is the event that jetpost has disabled sub, whose state was another one.
func Disabled(was subscription.State, sub *subscription.Subscription) Event {
	return stateChanged(was, sub, Itself)
}

func stateChanged(was subscription.State, sub *subscription.Subscription, by Actor) Event {
	var kind string
	switch sub.State {
	case subscription.Active:
		kind = subscriptionResumed
	case subscription.Paused:
		kind = subscriptionPaused
	case subscription.Disabled:
		kind = subscriptionDisabled
	}
	return newEvent(kind, revisionFact(sub), sub.ID, struct {
		about

		Revision uint64             `json:"revision"`
		Actor    Actor              `json:"actor"`
		Was      subscription.State `json:"was"`
		Reason   string             `json:"reason,omitempty"`
	}{aboutOf(sub), sub.Revision, by, was, clip(sub.StateReason)})
}

// Deleted is the event that sub was deleted, and with it so many deliveries
// that waited. Of one that could not be read only the id is known.
func Deleted(sub *subscription.Subscription, dropped uint64, by Actor) Event {
	fact := sub.ID + "/" + strconv.FormatInt(sub.CreatedAt.UnixMilli(), 10)
	if sub.CreatedAt.IsZero() {
		fact = revisionFact(sub)
	}
	return newEvent(subscriptionDeleted, fact, sub.ID, struct {
		about

		Actor   Actor  `json:"actor"`
		Dropped uint64 `json:"dropped"`
	}{aboutOf(sub), by, dropped})
}
