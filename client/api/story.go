package api

import "time"

// A Story is what has become of an event.
type Story struct {
	StoredEvent

	Routing       string      `json:"routing" enum:"done,under_way,waiting" doc:"done: all deliveries of the event are on their queues, or were; under_way: a router has it, or had it and was interrupted; waiting: no router has had it yet."`
	AsOf          time.Time   `json:"as_of" doc:"Subscriptions are taken as they were at this time, not as they were when the event was routed."`
	Complete      bool        `json:"complete" doc:"Whether everything was checked."`
	NotLookedAt   []string    `json:"not_looked_at,omitempty" doc:"What was not searched, and why."`
	Subscriptions []StoryPart `json:"subscriptions" doc:"Those that want the event, or have a trace of it, in the order of their ids; with subscription that one, whatever it wants."`
	NotMatched    []Verdict   `json:"not_matched" doc:"The first 100 of those that do not want it and have no trace of it. POST /v1/explain has all."`
	NotMatchedAll int         `json:"not_matched_total" doc:"How many these are."`
	Unreadable    *DeadLetter `json:"unreadable,omitempty" doc:"The dead letter that a router has made of a message that is not an event."`
}

// A StoryPart is what has become of an event for one subscription.
type StoryPart struct {
	Verdict

	DeliveryID   string           `json:"delivery_id" doc:"The webhook-id of the delivery, if there was one."`
	Outcome      string           `json:"outcome" enum:"delivered,queued,in_flight,retry_scheduled,retry_due,dead_letter,given_up,dropped,not_routed_yet,not_matched,unknown" doc:"The state of the delivery."`
	Detail       string           `json:"detail" doc:"The same in words."`
	Deleted      bool             `json:"deleted,omitempty" doc:"The subscription is deleted; its filters are unknown."`
	ChangedSince bool             `json:"changed_since,omitempty" doc:"It was created or changed after the event was stored, so it may have been matched differently."`
	Attempts     []Attempt        `json:"attempts" doc:"Every request that was made, oldest first; of more than 500 the newest."`
	MoreAttempts int              `json:"more_attempts,omitempty" doc:"How many older ones there are."`
	DeadLetters  []DeadLetter     `json:"dead_letters" doc:"Those that are kept, oldest first."`
	Pending      *PendingDelivery `json:"pending,omitempty" doc:"Where the delivery waits; missing when it does not."`
}

// A PendingDelivery is where a delivery waits.
type PendingDelivery struct {
	Place  string    `json:"place" enum:"queue,in_flight,timer" doc:"queue: it waits for a sender; in_flight: a sender has it, or it is the first of an ordered subscription and waits in its place; timer: it waits for the time of its next attempt."`
	Since  time.Time `json:"since,omitzero" doc:"When it was put there."`
	Due    time.Time `json:"due,omitzero" doc:"When its next attempt is due."`
	Manual bool      `json:"manual,omitempty" doc:"An extra attempt that was requested by a person or program."`
}
