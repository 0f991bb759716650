package api

import (
	"encoding/json"
	"time"
)

// An AuditRecord says what was done, or was about to be. It holds no secrets.
type AuditRecord struct {
	Sequence  uint64          `json:"sequence" doc:"Its place on the trail: 1, 2, 3 and so on, without gaps."`
	At        time.Time       `json:"at" doc:"When it was written."`
	Action    string          `json:"action" doc:"The action: resource and verb."`
	Target    string          `json:"target" doc:"The target of the action."`
	Actor     string          `json:"actor" doc:"The id of the token, or jetpost."`
	ActorName string          `json:"actor_name,omitempty" doc:"What people call the token, or the part of jetpost: admin or sender."`
	Role      string          `json:"role,omitempty" doc:"What the token allows."`
	Address   string          `json:"address,omitempty" doc:"Of the client."`
	RequestID string          `json:"request_id,omitempty" doc:"The X-Request-Id of the request."`
	Reason    string          `json:"reason,omitempty" doc:"The reason, where one was given."`
	Changed   []string        `json:"changed,omitempty" doc:"The changed fields; the value of a secret is never shown."`
	Before    json.RawMessage `json:"before,omitempty" doc:"The target as the API shows it, with placeholders for secrets."`
	After     json.RawMessage `json:"after,omitempty" doc:"The same, after the change."`
	Failed    string          `json:"failed,omitempty" doc:"Why an action that another record announced failed, or why its result is unknown."`
	Of        uint64          `json:"of,omitempty" doc:"The sequence of that other record."`
	Previous  string          `json:"previous" doc:"The hash of the record before this one: hexadecimal SHA-256 of its bytes as exported. Empty in the first."`
}

// An AuditEntry is a record with its hash.
type AuditEntry struct {
	AuditRecord

	Hash string `json:"hash" doc:"Of this record, as the next one has it in previous."`
}

// An AuditPlace is a record's place on the audit trail, and its hash.
type AuditPlace struct {
	Sequence uint64    `json:"sequence" doc:"Of a record."`
	Hash     string    `json:"hash" doc:"Of that record."`
	At       time.Time `json:"at,omitzero" doc:"When it was written, if known."`
}

// An AuditHead is where the audit trail ends.
type AuditHead struct {
	AuditPlace

	Seen AuditPlace `json:"seen,omitzero" doc:"Where jetpost has last seen the trail end, by the list of streams that it keeps beside it: that record must be there."`
	Lost []Loss     `json:"lost,omitempty" doc:"The known losses of the trail, accepted or not: it is incomplete."`
}
