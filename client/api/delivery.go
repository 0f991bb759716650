package api

import "time"

// Outcome is how an attempt was judged.
type Outcome string

// The outcomes.
const (
	Delivered Outcome = "delivered" // the receiver accepted it
	Retry     Outcome = "retry"     // it failed, and will be tried again
	Gone      Outcome = "gone"      // the receiver wants no more: the subscription is disabled
	Rejected  Outcome = "rejected"  // a status that the profile takes for final
	Exhausted Outcome = "exhausted" // it failed, and that was the last attempt
)

// An Attempt records one HTTP request and how it was judged.
type Attempt struct {
	DeliveryID     string     `json:"delivery_id" doc:"The webhook-id: the same on every attempt."`
	SubscriptionID string     `json:"subscription_id" doc:"Whose delivery it is."`
	Event          EventRef   `json:"event" doc:"What was delivered."`
	Attempt        int        `json:"attempt" doc:"Its number, from 1."`
	At             time.Time  `json:"at" doc:"When the request began."`
	DurationMS     float64    `json:"duration_ms" doc:"How long it took, in milliseconds."`
	Outcome        Outcome    `json:"outcome" doc:"delivered, retry, gone, rejected or exhausted."`
	Method         string     `json:"method" doc:"Of the request."`
	URL            string     `json:"url" doc:"Of the request; a query is shown as ?…"`
	Status         int        `json:"status,omitempty" doc:"Of the answer; missing when there was none."`
	Error          string     `json:"error,omitempty" doc:"Why there was no answer, or why it failed."`
	ResponseBody   string     `json:"response_body,omitempty" doc:"The beginning of the answer, at most 4 KiB."`
	RequestBytes   int        `json:"request_bytes" doc:"Size of the body that was sent."`
	NextAttempt    *time.Time `json:"next_attempt,omitempty" doc:"When the next attempt is due; missing when there is none."`
	Redelivered    bool       `json:"redelivered,omitempty" doc:"A crash may have repeated this request."`
	Manual         bool       `json:"manual,omitempty" doc:"This attempt was requested, beside those of the schedule. Its number counts only requested attempts."`
	Sequence       uint64     `json:"sequence,omitempty" doc:"Its place in the attempt log."`
}

// Duration is how long the request took.
func (a *Attempt) Duration() time.Duration {
	return time.Duration(a.DurationMS * float64(time.Millisecond))
}

// An EventRef says which event a record is about and where it is kept.
type EventRef struct {
	ID       string    `json:"id" doc:"The event's id."`
	Source   string    `json:"source" doc:"Its source."`
	Type     string    `json:"type" doc:"Its type."`
	Subject  string    `json:"subject,omitempty" doc:"Its subject."`
	Stream   string    `json:"stream" doc:"The event log that has it; test for a test event, which none has."`
	Sequence uint64    `json:"sequence" doc:"Its place there."`
	Stored   time.Time `json:"stored_at,omitzero" doc:"When it was stored there. A log that has lost its end in a crash uses sequences again: both together name an event. Missing from records of earlier versions."`
}

// A Reason says why a delivery was given up.
type Reason string

// The reasons.
const (
	ReasonExhausted   Reason = "exhausted"    // the last attempt of the schedule failed
	ReasonRejected    Reason = "rejected"     // the receiver's status is final for the profile
	ReasonGone        Reason = "gone"         // the receiver answered 410
	ReasonExpired     Reason = "expired"      // it waited longer than the subscription's max_age
	ReasonOverflow    Reason = "overflow"     // the subscription's queue was full
	ReasonUnreadable  Reason = "unreadable"   // it is not an event, or not a delivery
	ReasonMatchBudget Reason = "match_budget" // the filters need more steps than one event may take
)

// A DeadLetter is a delivery that was given up.
type DeadLetter struct {
	DeliveryID     string    `json:"delivery_id,omitempty" doc:"The webhook-id. Missing when the message could not be read."`
	SubscriptionID string    `json:"subscription_id,omitempty" doc:"Whose delivery it was."`
	Event          EventRef  `json:"event" doc:"What was to be delivered."`
	Reason         Reason    `json:"reason" doc:"exhausted, rejected, gone, expired, overflow, unreadable or match_budget."`
	Attempts       int       `json:"attempts" doc:"Requests that were made, also before it was redriven."`
	Status         int       `json:"status,omitempty" doc:"Of the last answer."`
	Error          string    `json:"error,omitempty" doc:"Of the last attempt, or why it was unreadable."`
	ResponseBody   string    `json:"response_body,omitempty" doc:"The beginning of the last answer, at most 1 KiB."`
	At             time.Time `json:"at" doc:"When it was given up."`
	Sequence       uint64    `json:"sequence" doc:"Its place in the dead letter stream."`
}

// A ShownLetter is a dead letter with its event.
type ShownLetter struct {
	DeadLetter

	Attributes map[string]string   `json:"attributes,omitempty" doc:"Of the event, by their CloudEvents names. Missing when it could not be read."`
	Headers    map[string][]string `json:"headers,omitempty" doc:"Of the message that could not be read."`
	Data       string              `json:"data,omitempty" doc:"Of the event or the message, byte for byte, where it is text."`
	DataBase64 string              `json:"data_base64,omitempty" doc:"The same in base64, where it is not."`
}

// A DiscardReason is the body of a request to discard one dead letter.
type DiscardReason struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit trail."`
}

// DiscardOptions are the body of a request to discard those of a selection.
type DiscardOptions struct {
	SelectionOptions

	All    bool   `json:"all,omitempty" doc:"Confirms that all dead letters are selected."`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit trail."`
}

// Discarded is the answer to both.
type Discarded struct {
	Discarded int  `json:"discarded" doc:"How many were deleted."`
	More      bool `json:"more,omitempty" doc:"There are more of them."`
}

// QueuedAgain is the answer to what puts a delivery on its queue again.
type QueuedAgain struct {
	DeliveryID     string `json:"delivery_id" doc:"The webhook-id: as before."`
	SubscriptionID string `json:"subscription_id"`
	State          string `json:"state" doc:"Of the subscription: while it is paused, the delivery waits."`
}
