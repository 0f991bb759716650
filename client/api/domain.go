package api

import (
	"encoding/json"
	"time"
)

// A DomainSummary is a domain without its files.
type DomainSummary struct {
	Name        string     `json:"name"`
	Description string     `json:"description,omitempty"`
	TypePrefix  string     `json:"type_prefix" doc:"What the types of its events begin with."`
	Validation  string     `json:"validation" doc:"How an event whose data breaks its schema is treated: enforce, warn or off."`
	Open        bool       `json:"open" doc:"Events that are not registered are accepted as well."`
	Origin      string     `json:"origin" enum:"shipped,folder,registered" doc:"shipped with jetpost, from a folder given to the server, or registered over the API."`
	Types       []string   `json:"types" doc:"The types of its events."`
	Revision    uint64     `json:"revision,omitempty" doc:"Changes with every change; the ETag. Of registered domains only."`
	UpdatedAt   *time.Time `json:"updated_at,omitempty" doc:"When it was last changed. Of registered domains only."`
	Problem     string     `json:"problem,omitempty" doc:"Why it cannot be used. Its events are refused."`
}

// A DomainList is all domains.
type DomainList struct {
	Items []DomainSummary `json:"items"`
}

// DomainFiles are the files of a domain, and the body of a request to register it.
type DomainFiles struct {
	Files map[string]json.RawMessage `json:"files" doc:"By name: domain.json, and <event>.schema.json, <event>.example.json, <event>.<name>.example.json and <name>.defs.json."`
}

// A Domain is one with its files.
type Domain struct {
	DomainSummary
	DomainFiles
}

// A DomainChange is the answer to the registration of a domain.
type DomainChange struct {
	DomainSummary

	Change       string         `json:"change" enum:"created,updated,unchanged" doc:"What was done, or would be."`
	DryRun       bool           `json:"dry_run,omitempty" doc:"Nothing was done."`
	Compatible   bool           `json:"compatible" doc:"By the rules, the examples and the stored events, no accepted event would be refused, and no field is removed."`
	Checked      int            `json:"stored_events_checked" doc:"How many of the last stored events the new version was checked against."`
	Refused      int            `json:"stored_events_refused" doc:"How many of them it would refuse, though the registered version accepts them. The first are listed in incompatible."`
	Incompatible []FieldProblem `json:"incompatible,omitempty" doc:"Where not; field is a file and a JSON pointer into it, or into the event where the message names a stored one."`
	Warnings     []FieldProblem `json:"warnings,omitempty" doc:"Remarks that deserve a review."`
	Added        []string       `json:"added,omitempty" doc:"Event types that are new."`
	Changed      []string       `json:"changed,omitempty" doc:"Event types with another schema."`
	Removed      []string       `json:"removed,omitempty" doc:"Deleted event types."`
}
