package api

import "encoding/json"

// ExplainOptions are the body of a request to explain an event.
type ExplainOptions struct {
	Event        json.RawMessage `json:"event,omitempty" doc:"The event to explain, in CloudEvents' JSON format. It is not stored. Or give domain and sequence."`
	Domain       string          `json:"domain,omitempty" maxLength:"63" doc:"Of an event that is stored, with sequence." example:"git"`
	Sequence     uint64          `json:"sequence,omitempty" doc:"The place of a stored event in its domain's log." example:"42"`
	Subscription string          `json:"subscription,omitempty" maxLength:"63" doc:"Explain this subscription only, with every clause of its filters. Default: all, each with the clause that decided."`
	Only         string          `json:"only,omitempty" enum:"matched,unmatched" doc:"Only subscriptions that want the event, or only those that do not."`
}

// An Explanation says which subscriptions want an event.
type Explanation struct {
	Event      ExplainedEvent `json:"event" doc:"What was explained."`
	Items      []Verdict      `json:"items" doc:"A verdict for each subscription, in the order of their ids."`
	NextCursor string         `json:"next_cursor,omitempty" doc:"For the next page, with the same body; missing in the last one."`
}

// An ExplainedEvent is the event that was explained.
type ExplainedEvent struct {
	ID       string         `json:"id"`
	Source   string         `json:"source"`
	Type     string         `json:"type"`
	Subject  string         `json:"subject,omitempty"`
	Domain   string         `json:"domain,omitempty" doc:"That of its type; missing when no domain has it."`
	Valid    bool           `json:"valid" doc:"Whether it would be stored when it is published."`
	Problems []FieldProblem `json:"problems" doc:"What is wrong with it by the catalogue, also where the domain only warns. Fields are JSON pointers into the event."`
}

// A Verdict says whether a subscription wants an event, and why.
type Verdict struct {
	SubscriptionID string   `json:"subscription_id"`
	State          State    `json:"state" doc:"Of the subscription."`
	Matched        bool     `json:"matched" doc:"Whether it gets a delivery."`
	Because        Because  `json:"because" enum:"matched,disabled,type,filter,match_budget,deleted" doc:"What decides: matched, all conditions match; disabled, the subscription's state; type, none of its types is that of the event; filter, the clause in decided; match_budget, the filters take more steps than one event may take, so it becomes a dead letter; deleted, in stories: the subscription is deleted."`
	Reason         string   `json:"reason" doc:"The same in words."`
	Type           string   `json:"type,omitempty" doc:"Which of the subscription's types is that of the event."`
	Decided        *Clause  `json:"decided,omitempty" doc:"The innermost clause that does not match."`
	Filters        []Clause `json:"filters,omitempty" doc:"All its filters with their clauses, if one subscription was requested. They are not evaluated when no type matches the event's."`
}

// Because is what decided whether a subscription wants an event.
type Because string

// What can decide.
const (
	BecauseMatched  Because = "matched"      // state, types and filters: all want it
	BecauseDisabled Because = "disabled"     // the subscription does not match, whatever it wants
	BecauseType     Because = "type"         // none of its types is that of the event
	BecauseFilter   Because = "filter"       // a filter does not match
	BecauseBudget   Because = "match_budget" // the filters need more steps than one event may take
	BecauseDeleted  Because = "deleted"      // in stories: the subscription is not there any more
)

// A Clause is a part of a filter, and what it says of an event.
type Clause struct {
	Path    string     `json:"path" doc:"Its place in the subscription: filters[0].any[1].exact.subject."`
	Dialect string     `json:"dialect" doc:"Which kind of filter it is."`
	Matched bool       `json:"matched" doc:"Whether the event fulfils it."`
	Wanted  string     `json:"wanted,omitempty" doc:"The text, the pattern or the expression; missing where there are clauses inside."`
	Values  []Compared `json:"values,omitempty" doc:"The values of the event that the clause reads."`
	Failure string     `json:"failure,omitempty" doc:"Why an expression has no value."`
	Clauses []Clause   `json:"clauses,omitempty" doc:"Those inside."`
}

// Compared is what an event has under a name: an attribute, or data.<path>.
type Compared struct {
	Name    string `json:"name" doc:"An attribute, or data.<path> for a value in the data."`
	Value   string `json:"value,omitempty" doc:"What the event has there, up to 512 bytes. Left out for tokens that may not read events, if it is from the data."`
	Missing bool   `json:"missing,omitempty" doc:"The event has no such attribute, or no text, number or boolean there."`
}
