package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// enqueue publishes a delivery to its queue and returns when it is there.
func (a *Admin) enqueue(ctx context.Context, msg *nats.Msg) error {
	_, err := a.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err == nil {
		return nil
	}
	switch stream.ClassifyPublish(err) {
	case stream.Full:
		return fmt.Errorf("%w (%w)", errQueueFull, err)
	case stream.Missing:
		if a.js.Conn().IsConnected() {
			return fmt.Errorf("%w (%w)", errNoQueue, err)
		}
	case stream.Unknown:
	}
	return fmt.Errorf("queue delivery: %w", err)
}

// fromEventLog makes the delivery of an attempt again, from the event log. The
// error wraps errEventGone when the event is not there.
func (a *Admin) fromEventLog(ctx context.Context, last *delivery.Attempt) (*delivery.Delivery, error) {
	ref := last.Event
	if ref.Stream == testLog || ref.Sequence == 0 {
		return nil, fmt.Errorf("%w: a test event is in no event log", errEventGone)
	}
	gone := fmt.Errorf("%w: %s does not have number %d any more: it keeps events for 30 days, unless they are erased", errEventGone, ref.Stream, ref.Sequence)
	record, err := stream.Get(ctx, a.js, ref.Stream, ref.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	e, err := event.FromCheckedMessage(record.Header, record.Data)
	if err != nil || delivery.ID(last.SubscriptionID, e.Source, e.ID) != last.DeliveryID || !ref.Is(record.Stream, record.Sequence, record.Time) {
		return nil, gone // a log that was made anew, or has lost its end, has another event there
	}
	return &delivery.Delivery{
		ID: last.DeliveryID, SubscriptionID: last.SubscriptionID, Event: e, Attempt: 1,
		Origin: delivery.Origin(ref.Stream, ref.Sequence, record.Time, last.SubscriptionID), Accepted: record.Time,
	}, nil
}

// newID is a name that nothing else has.
func newID() string { return strings.ToLower(rand.Text()) }
