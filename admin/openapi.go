package admin

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/profile"
	"github.com/jetpost/jetpost/subscription"
)

// filterSchema stands for subscription.Filter in the description of the API.
type filterSchema struct{}

// Schema is one key, the dialect, and what stands behind it.
func (filterSchema) Schema(r huma.Registry) *huma.Schema {
	const name = "Filter"
	ref := &huma.Schema{Ref: "#/components/schemas/" + name}
	if _, known := r.Map()[name]; known {
		return ref
	}
	one := 1
	entries := func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, Description: doc, AdditionalProperties: &huma.Schema{Type: huma.TypeString}}
	}
	r.Map()[name] = &huma.Schema{
		Type: huma.TypeObject, MinProperties: &one, MaxProperties: &one, AdditionalProperties: false,
		Description: "A condition, by one dialect of the CloudEvents Subscriptions API, or by glob or ant. Names are attributes, or data.<path> for a value in JSON data.",
		Properties: map[string]*huma.Schema{
			"exact":  entries("Each attribute is exactly this."),
			"prefix": entries("Each attribute begins with this."),
			"suffix": entries("Each attribute ends with this."),
			"glob":   entries("Each attribute fits this pattern: * ? [a-z] {a,b}, where * is any characters."),
			"ant":    entries("Each attribute, a path, fits this Ant pattern: * and ? inside a segment, ** any segments."),
			"all":    {Type: huma.TypeArray, Items: ref, MinItems: &one, Description: "Every filter matches."},
			"any":    {Type: huma.TypeArray, Items: ref, MinItems: &one, Description: "One filter matches."},
			"not":    {Ref: ref.Ref},
			"sql":    {Type: huma.TypeString, Description: "A CloudEvents SQL expression on the attributes, which must be true."},
		},
		Examples: []any{map[string]any{"exact": map[string]any{"subject": "main"}}},
	}
	return ref
}

// patchSchema stands for a merge patch in the description of the API: nothing in it is
// required, and everything may be null.
type patchSchema struct{}

// Schema is an object.
func (patchSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: true,
		Description: "The fields of a Subscription to change; null removes.",
		Examples:    []any{map[string]any{"description": "Builds of main.", "labels": map[string]any{"team": "anvil"}}},
	}
}

// descriptions are those of the fields whose Go types are not ours to tag, by
// schema and field.
func descriptions() map[string]map[string]string {
	return map[string]map[string]string{
		"Subscription": {
			"id":           "1 to 63 lower-case letters, digits and dashes, a letter first and no dash last. Never changes. Default: one is made.",
			"description":  "Free text, up to 1000 characters.",
			"types":        "The event types wanted, 1 to 200: exact, or <domain>.* for all of a domain.",
			"filters":      "All must match an event. Default: every event of the types.",
			"endpoint":     "Where deliveries go.",
			"profile":      "How a delivery looks to the receiver: " + strings.Join(profile.Names(), ", ") + ". Default: cloudevents.",
			"settings":     "Options of the profile, by name.",
			"template":     "The text of the deliveries, where the profile lets the user write it.",
			"handshake":    "Whether the receiver is asked for its consent first, by the OPTIONS request of CloudEvents Web Hooks.",
			"secrets":      "The keys that sign deliveries, the newest first. Their values are never shown.",
			"secret":       "The signing secret: whsec_ and base64, or what the profile takes. In a request: the one to use instead of one that is made. In answers: only in that to the request that created the subscription.",
			"delivery":     "How hard to try.",
			"state":        "active; paused: events match and wait; disabled: events do not match. Default: active.",
			"dry_run":      "What would come of a request with ?dry_run=true: only in the answer to one.",
			"state_reason": "Why the state is what it is.",
			"labels":       "Your own, up to 32.",
			"managed":      "Which compatible API keeps it; missing: this one. Here only delivery, handshake, labels and the state of such a one can be changed.",
			"queue":        "Where its deliveries wait in JetStream.",
			"created_at":   "When it was created.",
			"updated_at":   "When it was changed last.",
			"revision":     "Changes with every change; the ETag.",
		},
		"Endpoint": {
			"url":            "https, without user name and fragment. A query is kept as a secret, in query.",
			"query":          "The query string. A secret: shown as " + subscription.Placeholder + ".",
			"method":         "POST, PUT or PATCH, or another one that the profile allows. Default: POST.",
			"proxy":          "The key of the HTTP proxy that requests go through, one that the installation knows (jetpost serve --proxy). Default: none.",
			"headers":        "Sent with every request.",
			"secret_headers": "As well, but their values are never shown.",
			"timeout":        "For one request, to the end of the answer: 1s to 30s. Default: 15s.",
		},
		"Template": {
			"payload": "The body, with places for values.",
			"secrets": "Values for it, by name. Shown as " + subscription.Placeholder + ".",
		},
		"Handshake": {
			"mode":           "off; preferred: the receiver is asked, and delivered to whatever it answers; required: deliveries wait for its consent. Default: off.",
			"rate":           "How many requests per minute it is asked to allow, 1 to 600000. Default: none is asked for.",
			"consent":        "pending, allowed or denied.",
			"reason":         "Why consent is what it is.",
			"origin":         "The name under which it was asked, and which every delivery carries once it has consented.",
			"allowed_rate":   "How many requests per minute it allows; missing: any.",
			"checked_at":     "When it was asked last, or called back.",
			"callback":       "Hash of the token that it was given to call back with.",
			"callback_until": "Until when it may call back.",
		},
		"Managed": {
			"by":       "jfrog or securesourcemanager.",
			"name":     "What the subscription is a part of there: the key of a webhook, or the resource name of a hook.",
			"part":     "Which part, where the original has several endpoints; missing: the first.",
			"document": "What was sent to that API. Shown as " + subscription.Placeholder + ".",
		},
		"SigningKey": {
			"public_key": "For receivers to verify signatures of an Ed25519 key with: whpk_ and base64.",
			"id":         "Tells keys apart without showing them.",
			"secret":     "Shown as " + subscription.Placeholder + ".",
			"created_at": "When it became the first key.",
			"expires_at": "When it stops signing; missing for the current key.",
		},
		"Delivery": {
			"max_in_flight": "Requests under way to the endpoint at one time: 1 to 1000. Default: 64, or 1 where ordered.",
			"ordered":       "Whether deliveries are made strictly one after the other, in the order of the event log, each only when the one before was accepted or given up. Default: false.",
			"rate":          "Requests per second, over all senders: 0.001 to 10000. Default: no bound.",
			"senders":       "How many senders pull at a time: 1 to 16. More for an endpoint that takes more than one process can send. Default: 1.",
			"retry":         "When a delivery is tried again.",
			"max_age":       "How long after its event was stored a delivery is given up, even when attempts are left. Default: 120h, or as long as the schedule needs.",
			"breaker":       "When deliveries are held back because the endpoint is down.",
		},
		"Breaker": {
			"mode":          "on or off. Default: on.",
			"failures":      "After how many failures of the endpoint in a row, as one sender counts them, it opens: 1 to 1000. Default: 10.",
			"disable_after": "How long the endpoint may be down before the subscription is disabled: 1m to 2160h, or 0s for never. Default: 120h.",
		},
		"Retrying": {
			"schedule": "The delay before each attempt; the first is 0s. []: one attempt, no retries. Default, also for null: 0s, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h.",
			"jitter":   "The share of a delay by which it may come out longer or shorter: 0 to 1. Default: 0.2.",
		},
		"Queue": {
			"stream": "Its stream.", "subject": "The subject that it listens on.", "consumer": "The consumer that senders share.",
			"retry_shard": "Which stream of retry timers holds its later attempts.",
		},
		"Attempt": {
			"delivery_id":     "The webhook-id: the same on every attempt.",
			"subscription_id": "Whose delivery it is.",
			"event":           "What was delivered.",
			"attempt":         "Its number, from 1.",
			"at":              "When the request began.",
			"duration_ms":     "How long it took, in milliseconds.",
			"outcome":         "delivered, retry, gone, rejected or exhausted.",
			"method":          "Of the request.",
			"url":             "Of the request; a query is shown as ?…",
			"status":          "Of the answer; missing when there was none.",
			"error":           "Why there was no answer, or what was wrong with it.",
			"response_body":   "The beginning of the answer, at most 4 KiB.",
			"request_bytes":   "Size of the body that was sent.",
			"next_attempt":    "When the next attempt is due; missing when there is none.",
			"redelivered":     "A crash may have repeated this request.",
			"manual":          "Somebody has asked for this request, beside those of the schedule. Its number counts only the requests made for that.",
			"sequence":        "Its place in the attempt log.",
		},
		"DeadLetter": {
			"delivery_id":     "The webhook-id. Missing when the message could not be read.",
			"subscription_id": "Whose delivery it was.",
			"event":           "What was to be delivered.",
			"reason":          "exhausted, rejected, gone, expired, overflow, unreadable or match_budget.",
			"attempts":        "Requests that were made, also before it was redriven.",
			"status":          "Of the last answer.",
			"error":           "Of the last attempt, or why it was unreadable.",
			"response_body":   "The beginning of the last answer, at most 1 KiB.",
			"at":              "When it was given up.",
			"sequence":        "Its place in the dead letter stream.",
		},
		"Clause": {
			"path":    "Where it stands in the subscription: filters[0].any[1].exact.subject.",
			"dialect": "Which kind of filter it is.",
			"matched": "Whether the event fulfils it.",
			"wanted":  "The text, the pattern or the expression; missing where there are clauses inside.",
			"values":  "What the event has of what the clause looks at.",
			"failure": "Why an expression has no value.",
			"clauses": "Those inside.",
		},
		"Compared": {
			"name":    "An attribute, or data.<path> for a value in the data.",
			"value":   "What the event has there, up to 512 bytes. Left out for who may not read events, where it is of the data.",
			"missing": "The event has no such attribute, or no text, number or boolean there.",
		},
		"AuditEntry": auditFields(true), "AuditRecord": auditFields(false),
		"AuditHead": {
			"sequence": "Of the last record there ever was; 0 when there was none.",
			"hash":     "Of that record. Empty when it is there no more.",
			"at":       "When it was written.",
		},
		"AuditPlace": {
			"sequence": "Of a record.", "hash": "Of that record.", "at": "When it was written, where that is known.",
		},
		"EventRef": {
			"id": "The event's id.", "source": "Its source.", "type": "Its type.", "subject": "Its subject.",
			"stream": "The event log that has it; " + testLog + " for a test event, which none has.", "sequence": "Its place there.",
			"stored_at": "When it was stored there. A log that has lost its end in a crash uses sequences again: both together name an event. Missing from records of earlier versions.",
		},
	}
}

// describe completes what huma has made of the Go types and returns the document.
func describe(api huma.API) ([]byte, error) {
	describeIngest(api)
	document := api.OpenAPI()
	completeAnswers(document)
	schemas := document.Components.Schemas.Map()
	delete(schemas, "ErrorModel") // errors have another form, see conform
	delete(schemas, "ErrorDetail")
	property := func(schema, field string, change func(*huma.Schema)) {
		if s := schemas[schema]; s != nil && s.Properties[field] != nil {
			change(s.Properties[field])
		}
	}
	for schema, fields := range descriptions() {
		for field, text := range fields {
			property(schema, field, func(s *huma.Schema) { s.Description = text })
		}
	}
	for _, field := range []string{"managed", "queue", "created_at", "updated_at", "revision", "state_reason"} {
		property("Subscription", field, func(s *huma.Schema) { s.ReadOnly = true })
	}
	property("Subscription", "state", func(s *huma.Schema) {
		s.Enum = []any{subscription.Active, subscription.Paused, subscription.Disabled}
	})
	schemas["Subscription"].Required = []string{"types", "endpoint"}
	schemas["Endpoint"].Required = []string{"url"}
	describeInstants(document)
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return text, nil
}
