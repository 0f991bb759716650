package api

import "time"

// The states of a redrive job.
const (
	JobDryRun    = "dry_run"
	JobRunning   = "running"
	JobDone      = "done"
	JobCancelled = "cancelled"
	JobFailed    = "failed"
)

// SelectionOptions select dead letters. The zero value selects all.
type SelectionOptions struct {
	Subscription string    `json:"subscription,omitempty" maxLength:"63" doc:"Only those of this subscription."`
	Reasons      []Reason  `json:"reasons,omitempty" doc:"Only those given up for one of these reasons: exhausted, rejected, gone, expired, overflow, unreadable, match_budget."`
	Types        []string  `json:"types,omitempty" doc:"Only those with an event of one of these types, or of types that begin alike: artifact.*" example:"[\"git.push\"]"`
	From         time.Time `json:"from,omitzero" doc:"Only those given up at this time or later."`
	To           time.Time `json:"to,omitzero" doc:"Only those given up before this time."`
	Sequences    []uint64  `json:"sequences,omitempty" doc:"Only these, by their places in the dead letter stream: up to 200."`
}

// RedriveOptions are the body of a request for a redrive job.
type RedriveOptions struct {
	SelectionOptions

	Rate   float64 `json:"rate,omitempty" minimum:"0.01" maximum:"10000" doc:"How many per second, at most. Default: 100."`
	DryRun bool    `json:"dry_run,omitempty" doc:"Only count them."`
}

// A RedriveJob redrives the dead letters of a selection, one after the other.
type RedriveJob struct {
	ID        string           `json:"id,omitempty" doc:"Missing for a dry run, which is not kept."`
	State     string           `json:"state" enum:"dry_run,running,done,cancelled,failed"`
	Selection SelectionOptions `json:"selection"`
	Rate      float64          `json:"rate" doc:"How many per second, at most."`
	Total     int              `json:"total" doc:"How many there were when the job was created. Later dead letters, also those of deliveries that fail again, are not part of it."`
	Done      int              `json:"done" doc:"How many are on their queues again, or were redriven by an admin that was killed at that moment."`
	Failed    int              `json:"failed" doc:"How many could not be redriven: they stay dead letters."`
	Gone      int              `json:"gone,omitempty" doc:"How many were redriven or discarded by another request meanwhile, or have aged out."`
	Failures  []RedriveFailure `json:"failures,omitempty" doc:"The first that failed."`
	Error     string           `json:"error,omitempty" doc:"Why the job has failed."`
	StartedAt time.Time        `json:"started_at"`
	EndedAt   *time.Time       `json:"ended_at,omitempty"`
	// Of a dry run.
	Reasons       map[string]int `json:"by_reason,omitempty" doc:"Of a dry run: how many there are of each reason."`
	Subscriptions map[string]int `json:"by_subscription,omitempty" doc:"Of a dry run: how many there are of each subscription."`
}

// A RedriveFailure is a dead letter that could not be redriven.
type RedriveFailure struct {
	Sequence uint64 `json:"sequence" doc:"Which one."`
	Error    string `json:"error" doc:"Why."`
}

// ReconcileOptions are the body of a request to make lost deliveries again.
type ReconcileOptions struct {
	DryRun bool      `json:"dry_run,omitempty" doc:"List the missing deliveries without making them."`
	Since  time.Time `json:"since,omitzero" doc:"Check events stored at this time or later. Default: as far back as the subscription's filters and deliveries are known."`
}

// Reconciled is the answer to it.
type Reconciled struct {
	SubscriptionID string            `json:"subscription_id" doc:"Which subscription."`
	Since          time.Time         `json:"since" doc:"Events stored since then were checked."`
	Owed           uint64            `json:"owed" doc:"How many of them the subscription wants."`
	Missing        uint64            `json:"missing" doc:"How many of their deliveries are in no queue, timer, attempt or dead letter."`
	Made           uint64            `json:"made" doc:"How many of these were put on the queue again."`
	Items          []MissingDelivery `json:"items" doc:"The first 100 of those that are missing."`
	Complete       bool              `json:"complete" doc:"Whether all events were checked. If not, repeat the request with since as in next."`
	Next           time.Time         `json:"next,omitzero" doc:"Where to continue."`
}

// A MissingDelivery is one that is owed and nowhere to be found.
type MissingDelivery struct {
	Domain     string    `json:"domain" doc:"Of the event."`
	Sequence   uint64    `json:"sequence" doc:"Its place in the event log."`
	Stored     time.Time `json:"stored" doc:"When the event log stored it."`
	EventID    string    `json:"event_id" doc:"The event's id."`
	EventType  string    `json:"event_type" doc:"Its type."`
	DeliveryID string    `json:"delivery_id" doc:"The webhook-id of the delivery."`
	Attempt    int       `json:"attempt" doc:"The number of its next attempt: 1, or more where earlier ones are on record."`
}
