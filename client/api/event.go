package api

import (
	"encoding/json"
	"time"
)

// A StoredEvent is an event and its place in an event log.
type StoredEvent struct {
	Domain   string          `json:"domain"`
	Stream   string          `json:"stream" doc:"The domain's event log."`
	Sequence uint64          `json:"sequence" doc:"Its place there."`
	StoredAt time.Time       `json:"stored_at" doc:"When the event log stored it."`
	Event    json.RawMessage `json:"event,omitempty" doc:"The event in CloudEvents' JSON format."`
	Error    string          `json:"error,omitempty" doc:"Why there is no event: the message cannot be read."`
}

// A Receipt says where a published event is stored.
type Receipt struct {
	ID        string `json:"id" doc:"Of the event."`
	Source    string `json:"source" doc:"Of the event."`
	Stream    string `json:"stream" doc:"The event log that has it."`
	Sequence  uint64 `json:"sequence" doc:"Its place there."`
	Duplicate bool   `json:"duplicate" doc:"It was there already: the same source and id were published within the last five minutes."`
}

// An EraseReason is the body of a request to erase an event.
type EraseReason struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit trail."`
}

// Erased is the answer to it.
type Erased struct {
	Event       bool   `json:"event" doc:"The event was in its event log."`
	SHA256      string `json:"sha256,omitempty" doc:"Of its data."`
	Deliveries  int    `json:"deliveries" doc:"How many of its deliveries waited in a queue."`
	Retries     int    `json:"retries" doc:"How many of them waited for the time of their next attempt."`
	DeadLetters int    `json:"dead_letters" doc:"How many of them were dead letters."`
	Answers     int    `json:"answers" doc:"How many answers of receivers were taken out of the attempts."`
}
