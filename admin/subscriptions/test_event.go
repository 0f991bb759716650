package subscriptions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

const (
	// testSource is the source of test events, so that receivers can tell them.
	testSource = "/jetpost/test"
	// testExample is the name of the example that is sent, where a type has it.
	testExample = "test"
)

// Send puts an example event on the subscription's queue, past router and event
// log, so that no other subscription gets it, and returns the event. eventType is one
// of the subscription's; empty: the first.
func (te *Tester) Send(ctx context.Context, sub *subscription.Subscription, eventType string) (*event.Event, error) {
	if sub.State == subscription.Disabled {
		return nil, fmt.Errorf("test subscription %s: %w", sub.ID, ErrDisabled)
	}
	t, err := te.exampleType(sub, eventType)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	e := exampleEvent(t, now)
	origin := delivery.Origin(delivery.TestLog, uint64(now.UnixNano()), now, sub.ID) //nolint:gosec // the clock is after 1970
	msg := delivery.Queued(e, sub.Queue.Subject, sub.Queue.Stream, origin, now)
	err = te.keep.trail.Around(ctx, audit.Record{
		Action: actionTest, Target: audit.SubscriptionTarget(sub.ID), After: audit.State(map[string]string{"event_id": e.ID, "event_type": e.Type}),
	}, func() error {
		_, err := te.keep.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
		if stream.ClassifyPublish(err) == stream.Full {
			err = errors.Join(ErrQueueFull, err)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("test subscription %s: %w", sub.ID, err)
	}
	return e, nil
}

// exampleType is the type to send an example of: the one asked for, which must be
// one of the subscription's, or the first that there is.
func (te *Tester) exampleType(sub *subscription.Subscription, asked string) (schemas.Type, error) {
	var found []schemas.Type
	for _, wanted := range sub.Types {
		if domain, ok := strings.CutSuffix(wanted, ".*"); ok {
			if d, known := te.keep.catalogue.Domain(domain); known {
				found = append(found, d.Types...)
			}
		} else if t, err := te.keep.catalogue.Resolve(wanted); err == nil {
			found = append(found, t)
		}
	}
	var names []string
	for _, t := range found {
		if asked == "" || asked == t.Name {
			return t, nil
		}
		names = append(names, t.Name)
	}
	if len(found) == 0 {
		return schemas.Type{}, httpapi.Invalid("type", "none of the subscription's types is in the catalogue any more")
	}
	return schemas.Type{}, httpapi.Invalid("type", strconv.Quote(asked)+" is not a type of this subscription: use "+strings.Join(names, ", "))
}

func exampleEvent(t schemas.Type, now time.Time) *event.Event {
	data := []byte(`{"test":true}`) // for types of an open domain, which have no schema
	if len(t.Examples) > 0 {
		data = t.Examples[0].Data
	}
	for _, example := range t.Examples { // what the vendor's own Test button sends
		if example.Name == testExample {
			data = example.Data
		}
	}
	return &event.Event{
		ID: "test-" + strings.ToLower(rand.Text()), Source: testSource, Type: t.Name, Subject: "test",
		Time: now.Format(time.RFC3339Nano), DataContentType: "application/json", Data: data,
	}
}
