package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
)

// TestLog stands in the origin of test deliveries where others have the event log: there
// is no such stream, as names of streams are not in lower case.
const TestLog = "test"

// ErrEventGone is the error of FromEventLog for an event that is not stored any more.
var ErrEventGone = errors.New("the event is gone")

// FromEventLog makes the delivery of an attempt again, from the event log. The
// error wraps ErrEventGone when the event is not there.
func FromEventLog(ctx context.Context, js jetstream.JetStream, last *Attempt) (*Delivery, error) {
	ref := last.Event
	if ref.Stream == TestLog || ref.Sequence == 0 {
		return nil, fmt.Errorf("%w: a test event is in no event log", ErrEventGone)
	}
	gone := fmt.Errorf("%w: %s does not have number %d any more: it keeps events for 30 days, unless they are erased", ErrEventGone, ref.Stream, ref.Sequence)
	record, err := stream.Get(ctx, js, ref.Stream, ref.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	e, err := event.FromCheckedMessage(record.Header, record.Data)
	if err != nil || ID(last.SubscriptionID, e.Source, e.ID) != last.DeliveryID || !ref.Is(record.Stream, record.Sequence, record.Time) {
		return nil, gone // a log that was made anew, or has lost its end, has another event there
	}
	return &Delivery{
		ID: last.DeliveryID, SubscriptionID: last.SubscriptionID, Event: e, Attempt: 1,
		Origin: Origin(ref.Stream, ref.Sequence, record.Time, last.SubscriptionID), Accepted: record.Time,
	}, nil
}
