package api

import "time"

// PauseOptions are the body of a request to pause a subscription.
type PauseOptions struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, shown as state_reason."`
}

// RotateOptions are the body of a request for a new signing secret.
type RotateOptions struct {
	Overlap *Duration `json:"overlap,omitempty" nullable:"true" doc:"How long deliveries carry signatures by the old secrets as well: 0s to 168h. Default: 24h." example:"24h"`
	Secret  string    `json:"secret,omitempty" doc:"The new secret: whsec_ and the base64 of 24 to 64 bytes, whsk_ and that of an Ed25519 key, or what the profile takes. Default: one is made, of the same kind."`
}

// Rotated is the answer to it.
type Rotated struct {
	Secret        string    `json:"secret" doc:"The new secret. This answer is the only one that shows it."`
	PublicKey     string    `json:"public_key,omitempty" doc:"Of an Ed25519 secret: what receivers verify signatures with."`
	OldValidUntil time.Time `json:"old_valid_until" doc:"Until when the old secrets sign as well."`
}

// Secrets are the signing secrets of a subscription.
type Secrets struct {
	Secrets []string `json:"secrets" doc:"The secrets that sign deliveries now, the newest first."`
}

// TestOptions are the body of a request for a test event.
type TestOptions struct {
	Type string `json:"type,omitempty" maxLength:"255" doc:"Which of the subscription's types to send an example of. Default: the first." example:"git.push"`
}

// Tested is the answer to it.
type Tested struct {
	DeliveryID string `json:"delivery_id" doc:"Of the delivery: the webhook-id that the receiver gets."`
	EventID    string `json:"event_id"`
	EventType  string `json:"event_type"`
	State      string `json:"state" doc:"Of the subscription: while it is paused, the delivery waits."`
}

// A BreakerState is where the circuit breaker of a subscription stands.
type BreakerState struct {
	State       string    `json:"state" enum:"closed,open,half-open,off" doc:"closed: deliveries are made; open: they wait, and one at a time probes the endpoint; half-open: a few are made, to see whether it stays up; off: the subscription has no breaker."`
	Since       time.Time `json:"since,omitzero" doc:"Since when; missing when it has never opened."`
	DownSince   time.Time `json:"down_since,omitzero" doc:"Since when the endpoint has been down: its first failure since its last success, or that success. Missing while it is closed."`
	Reason      string    `json:"reason,omitempty" doc:"The reason for the state."`
	LastStatus  int       `json:"last_status,omitempty" doc:"Of the last request that failed; missing when there was no answer."`
	LastError   string    `json:"last_error,omitempty" doc:"Of the last request that failed."`
	LastFailure time.Time `json:"last_failure,omitzero" doc:"When that was."`
	Failures    int       `json:"failures" doc:"How many requests in a row have failed, probes included; 0 while it is closed."`
	Successes   int       `json:"successes,omitempty" doc:"How many have succeeded in half-open."`
	Opened      int       `json:"opened" doc:"How often it has opened."`
	Backoff     Duration  `json:"backoff,omitempty" doc:"The longest time to the next probe; it doubles with each that fails."`
	NextProbe   time.Time `json:"next_probe,omitzero" doc:"When the next probe may be made, if a delivery waits."`
	Probing     bool      `json:"probing,omitempty" doc:"One is being made."`
}

// A Backlog is what waits to be delivered for a subscription.
type Backlog struct {
	SubscriptionID string    `json:"subscription_id"`
	State          State     `json:"state" doc:"Of the subscription: nothing is delivered while it is paused."`
	Breaker        string    `json:"breaker" enum:"closed,open,half-open,off" doc:"State of its circuit breaker: while it is open, deliveries wait for the endpoint."`
	Ordered        bool      `json:"ordered,omitempty" doc:"Deliveries are made one after the other, so one that fails holds up the others."`
	Queued         uint64    `json:"queued" doc:"Deliveries in the queue, in_flight included."`
	Waiting        uint64    `json:"waiting" doc:"Those of them that no sender has."`
	InFlight       uint64    `json:"in_flight" doc:"Those that a sender has. What waits for its retry does not count, but the first delivery of an ordered subscription."`
	OldestAt       time.Time `json:"oldest_at,omitzero" doc:"When the oldest one in the queue was put there; missing when it is empty."`
	OldestAge      Duration  `json:"oldest_age,omitzero" doc:"How long ago that was, by the clock of the NATS server."`
	Retries        uint64    `json:"retries" doc:"Deliveries that wait for the time of their next attempt, outside of the queue."`
	NextRetryAt    time.Time `json:"next_retry_at,omitzero" doc:"When the next of these is due; of one subscription only, and where there are no more than 50."`
	OverBudgetAt   time.Time `json:"filters_over_budget_at,omitzero" doc:"When its filters last exceeded the step limit for an event, among its newest 20 dead letters: those events are dead letters with the reason match_budget. Of one subscription only."`
	NoQueue        bool      `json:"no_queue,omitempty" doc:"The queue was deleted past jetpost: an admin makes it again within ten minutes."`
}
