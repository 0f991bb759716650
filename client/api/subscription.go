package api

import "time"

// State is what happens to the events of a subscription.
type State string

// The states.
const (
	Active   State = "active"   // events match and are delivered
	Paused   State = "paused"   // events match and wait
	Disabled State = "disabled" // events do not match
)

// Consent is where a handshake stands.
type Consent string

// Where a handshake can stand.
const (
	Pending Consent = "pending" // the receiver has not answered yet
	Allowed Consent = "allowed" // it wants the deliveries
	Denied  Consent = "denied"  // it has not said that it wants them
)

// A Subscription says which events go to which endpoint, and how. Types and Endpoint.URL
// are all that a new one needs: what is zero gets its default.
type Subscription struct {
	ID          string            `json:"id" doc:"1 to 63 lower-case letters, digits and dashes, a letter first and no dash last. Never changes. Default: one is made."`
	Description string            `json:"description,omitempty" doc:"Free text, up to 1000 characters."`
	Types       []string          `json:"types" doc:"The event types wanted, 1 to 200: exact, or <domain>.* for all of a domain."`
	Filters     []Filter          `json:"filters,omitempty" doc:"All must match an event. Default: every event of the types."`
	Endpoint    Endpoint          `json:"endpoint" doc:"Where deliveries go."`
	Profile     string            `json:"profile" doc:"How a delivery looks to the receiver. Default: cloudevents."`
	Settings    map[string]string `json:"settings,omitempty" doc:"Options of the profile, by name."`
	Template    Template          `json:"template,omitzero" doc:"The text of the deliveries, where the profile lets the user write it."`
	Handshake   Handshake         `json:"handshake,omitzero" doc:"Whether the receiver is asked for its consent first, by the OPTIONS request of CloudEvents Web Hooks."`
	Secrets     []SigningKey      `json:"secrets,omitempty" doc:"The keys that sign deliveries, the newest first. Their values are never shown."`
	Delivery    Delivery          `json:"delivery" doc:"How hard to try."`
	State       State             `json:"state" doc:"active; paused: events match and wait; disabled: events do not match. Default: active."`
	StateReason string            `json:"state_reason,omitempty" doc:"The reason for the state."`
	Labels      map[string]string `json:"labels,omitempty" doc:"Your own, up to 32."`
	Managed     Managed           `json:"managed,omitzero" doc:"Which compatible API keeps it; missing: this one. Here only delivery, handshake, labels and the state of such a one can be changed."`
	Queue       Queue             `json:"queue,omitzero" doc:"Where its deliveries wait in JetStream."`
	CreatedAt   time.Time         `json:"created_at,omitzero" doc:"When it was created."`
	UpdatedAt   time.Time         `json:"updated_at,omitzero" doc:"When it was changed last."`
	Revision    uint64            `json:"revision,omitempty" doc:"Changes with every change; the ETag."`
	Secret      string            `json:"secret,omitempty" doc:"The signing secret: whsec_ and base64, or what the profile takes. In a request: the one to use instead of one that is made. In answers: only in that to the request that created the subscription."`
	DryRun      *TrialResult      `json:"dry_run,omitempty" doc:"The result of a request with ?dry_run=true: only in its answer."`
}

// An Endpoint is a URL and how to call it.
type Endpoint struct {
	URL           string            `json:"url" doc:"https, without user name and fragment. A query is kept as a secret, in query."`
	Query         string            `json:"query,omitempty" doc:"The query string. A secret: shown as [secret]."`
	Method        string            `json:"method" doc:"POST, PUT or PATCH, or another one that the profile allows. Default: POST."`
	Headers       map[string]string `json:"headers,omitempty" doc:"Sent with every request."`
	SecretHeaders map[string]string `json:"secret_headers,omitempty" doc:"As well, but their values are never shown."`
	Proxy         string            `json:"proxy,omitempty" doc:"The key of the HTTP proxy that requests go through, one that is configured (jetpost serve --proxy). Default: none."`
	Timeout       Duration          `json:"timeout" doc:"For one request, to the end of the answer: 1s to 30s. Default: 15s."`
}

// A Template is the text of a delivery, with places for values.
type Template struct {
	Payload string            `json:"payload,omitempty" doc:"The body, with places for values."`
	Secrets map[string]string `json:"secrets,omitempty" doc:"Values for it, by name. Shown as [secret]."`
}

// Delivery is how the deliveries of a subscription are made.
type Delivery struct {
	MaxInFlight int      `json:"max_in_flight" doc:"Requests under way to the endpoint at one time: 1 to 1000. Default: 64, or 1 where ordered."`
	Ordered     bool     `json:"ordered,omitempty" doc:"Whether deliveries are made strictly one after the other, in the order of the event log, each only when the one before was accepted or given up. Default: false."`
	Rate        float64  `json:"rate,omitempty" doc:"Requests per second, over all senders: 0.001 to 10000. Default: no bound."`
	Senders     int      `json:"senders,omitempty" doc:"How many senders pull at a time: 1 to 16. More for an endpoint that takes more than one process can send. Default: 1."`
	Retry       Retrying `json:"retry" doc:"When a delivery is tried again."`
	MaxAge      Duration `json:"max_age" doc:"How long after its event was stored a delivery is given up, even when attempts are left. Default: 120h, or as long as the schedule needs."`
	Breaker     Breaker  `json:"breaker,omitzero" doc:"When deliveries are held back because the endpoint is down."`
}

// Retrying is when a delivery is tried again.
type Retrying struct {
	Schedule []Duration `json:"schedule" doc:"The delay before each attempt; the first is 0s. []: one attempt, no retries. Default, also for null: 0s, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h."`
	Jitter   float64    `json:"jitter" doc:"The share by which a delay may be longer or shorter: 0 to 1. Default: 0.2."`
}

// A Breaker says when deliveries to an endpoint that is down are held back.
type Breaker struct {
	Mode         string   `json:"mode" doc:"on or off. Default: on."`
	Failures     int      `json:"failures" doc:"After how many failures of the endpoint in a row, as one sender counts them, it opens: 1 to 1000. Default: 10."`
	DisableAfter Duration `json:"disable_after" doc:"How long the endpoint may be down before the subscription is disabled: 1m to 2160h, or 0s for never. Default: 120h."`
}

// A Handshake is the consent of a receiver to get deliveries. All but Mode and Rate is
// set by jetpost.
type Handshake struct {
	Mode          string    `json:"mode" doc:"off; preferred: the receiver is asked, and delivered to whatever it answers; required: deliveries wait for its consent. Default: off."`
	Rate          int       `json:"rate,omitempty" doc:"How many requests per minute it is asked to allow, 1 to 600000. Default: none is asked for."`
	Consent       Consent   `json:"consent,omitempty" doc:"pending, allowed or denied."`
	Reason        string    `json:"reason,omitempty" doc:"The reason for the state of consent."`
	Origin        string    `json:"origin,omitempty" doc:"The origin of the request for consent, which every delivery carries after consent."`
	AllowedRate   int       `json:"allowed_rate,omitempty" doc:"How many requests per minute it allows; missing: any."`
	CheckedAt     time.Time `json:"checked_at,omitzero" doc:"When it was asked last, or called back."`
	Callback      string    `json:"callback,omitempty" doc:"Hash of the token that it was given to call back with."`
	CallbackUntil time.Time `json:"callback_until,omitzero" doc:"Until when it may call back."`
}

// A SigningKey signs deliveries until it expires.
type SigningKey struct {
	ID        string     `json:"id" doc:"Distinguishes keys without showing them."`
	Secret    string     `json:"secret" doc:"Shown as [secret]."`
	PublicKey string     `json:"public_key,omitempty" doc:"For receivers to verify signatures of an Ed25519 key with: whpk_ and base64."`
	CreatedAt time.Time  `json:"created_at,omitzero" doc:"When it became the first key."`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When it stops signing; missing for the current key."`
}

// A SubscriptionPage is a part of all subscriptions.
type SubscriptionPage struct {
	Items      []Subscription `json:"items"`
	NextCursor string         `json:"next_cursor,omitempty" doc:"For the next page; missing in the last one."`
	Broken     []BrokenRecord `json:"broken,omitempty" doc:"Records in this part of the list that cannot be read. Nothing of them is matched or delivered; they can be deleted."`
}

// A BrokenRecord is a stored subscription that cannot be read.
type BrokenRecord struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

// A TrialResult is the result of a request with dry_run.
type TrialResult struct {
	// Changes are shown for secrets too, which cannot be compared in any other way by
	// those who keep subscriptions in files. Who can ask could as well replace them.
	Changes []string `json:"changes" doc:"The fields that would be changed, secrets among them: endpoint.url, endpoint.secret_headers.X-Key. Empty: none, or all since it would be created."`
}

// Deleted is the answer to the deletion of a subscription.
type Deleted struct {
	Dropped uint64 `json:"dropped" doc:"How many waiting deliveries are not made: queued and retries together."`
	Queued  uint64 `json:"queued" doc:"Those that were in the queue, in flight or not attempted yet or due again."`
	Retries uint64 `json:"retries" doc:"Those that waited for the time of their next attempt."`
}

// Managed says that a compatible API keeps the subscription, and as what.
type Managed struct {
	By       string `json:"by" doc:"jfrog or securesourcemanager."`
	Name     string `json:"name" doc:"What the subscription is a part of there: the key of a webhook, or the resource name of a hook."`
	Part     int    `json:"part,omitempty" doc:"Which part, where the original has several endpoints; missing: the first."`
	Document string `json:"document,omitempty" doc:"What was sent to that API. Shown as [secret]."`
}

// A Queue is where the deliveries of a subscription wait.
type Queue struct {
	Stream     string `json:"stream" doc:"Its stream."`
	Subject    string `json:"subject" doc:"The subject that it listens on."`
	Consumer   string `json:"consumer" doc:"The consumer that senders share."`
	RetryShard string `json:"retry_shard" doc:"Which stream of retry timers holds its later attempts."`
}
