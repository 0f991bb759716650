package api

import "time"

// A Loss is what is not there any more of a stream.
type Loss struct {
	Stream     string    `json:"stream" doc:"The stream that has lost something." example:"KV_subscriptions"`
	Kind       string    `json:"kind" enum:"missing,replaced,went_back,damaged,altered,foreign" doc:"missing: the stream does not exist; replaced: another one is in its place; went_back: it ends earlier than it has ended; damaged: messages in the middle or at the end of it are lost, and it continues after them; altered: its last message is another one; foreign: the data folder belongs to another installation."`
	Detail     string    `json:"detail" doc:"The same for people."`
	Was        uint64    `json:"was" doc:"The last known sequence; for lost keys of a bucket, the number of keys it had."`
	Now        uint64    `json:"now" doc:"The part of it that is stored."`
	Count      uint64    `json:"count" doc:"How many messages, or keys of a bucket, are lost; 0 if unknown."`
	Made       time.Time `json:"made,omitzero" doc:"When the stream was made that is not there any more."`
	Hash       string    `json:"hash,omitempty" doc:"Sequence of the last known record of the audit trail."`
	Found      time.Time `json:"found" doc:"When it was noticed."`
	Accepted   time.Time `json:"accepted,omitzero" doc:"When it was accepted; missing while it is not."`
	By         string    `json:"by,omitempty" doc:"The actor who accepted it."`
	Reconciled time.Time `json:"reconciled,omitzero" doc:"When the deliveries that were lost with it were found and made again."`
	Remade     uint64    `json:"remade,omitempty" doc:"How many deliveries were made again."`
}

// An UnownedQueue is a queue without a subscription.
type UnownedQueue struct {
	Stream       string `json:"stream" doc:"The queue."`
	Subscription string `json:"subscription_id" doc:"The id of the subscription that it was made for. One that is created with this id gets what waits in it."`
	Messages     uint64 `json:"messages" doc:"How many deliveries wait in it."`
}

// A Storage is what the streams of an installation have lost.
type Storage struct {
	Installation string         `json:"installation" doc:"The id of this installation, made at its first start."`
	Losses       []Loss         `json:"losses" doc:"What streams have lost; those that were accepted are remembered."`
	Unowned      []UnownedQueue `json:"unowned_queues" doc:"Queues without a subscription, with what waits in them. They are kept."`
}

// AcceptOptions are the body of a request to accept losses.
type AcceptOptions struct {
	Streams []string `json:"streams" minItems:"1" doc:"The streams whose losses are accepted, or all." example:"[\"KV_subscriptions\"]"`
	Reason  string   `json:"reason,omitempty" maxLength:"1000" doc:"Why, for the audit trail."`
}
