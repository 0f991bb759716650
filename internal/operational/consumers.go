package operational

import (
	"fmt"
	"time"

	"github.com/jetpost/jetpost/internal/subscription"
)

// A ConsumerReset says that a consumer was ahead of its stream, which has lost
// messages, and was set back.
type ConsumerReset struct {
	Stream, Consumer string
	Stood            uint64    // the last sequence that the consumer took for handed out
	Last             uint64    // the last sequence of the stream
	From             uint64    // what it hands out next
	Created          time.Time // the stream
}

// resetData is what the event has of it.
type resetData struct {
	SubscriptionID string            `json:"subscription_id,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Stream         string            `json:"stream"`
	Consumer       string            `json:"consumer"`
	Stood          uint64            `json:"stood"`
	Last           uint64            `json:"last"`
	From           uint64            `json:"from"`
}

// Reset is the event that the consumer of an event log or of a retry stream was set back.
func Reset(r ConsumerReset) Event {
	return newEvent(consumerReset, r.fact(), r.Stream, r.data())
}

// ResetQueue is the event that the consumer of the queue of sub was set back.
func ResetQueue(sub *subscription.Subscription, r ConsumerReset) Event {
	if Observes(sub) {
		return Event{}
	}
	data := r.data()
	data.SubscriptionID, data.Labels = sub.ID, sub.Labels
	return newEvent(consumerReset, r.fact(), sub.ID, data)
}

func (r *ConsumerReset) data() resetData {
	return resetData{Stream: r.Stream, Consumer: r.Consumer, Stood: r.Stood, Last: r.Last, From: r.From}
}

// fact names what has happened, for all who notice.
func (r *ConsumerReset) fact() string {
	return fmt.Sprintf("%s@%d/%d/%d", r.Stream, r.Created.UnixMilli(), r.Stood, r.From)
}
