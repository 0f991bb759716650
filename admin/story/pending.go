package story

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// settle finds out what has become of each delivery. What is on record says whether it
// has ended; otherwise it is in one of two places:
//
//	record: delivered, or a dead letter ──────────────────────────► ended
//	record: failed, next attempt later ─► retry timer? ─► queue? ─► pending
//	no record ──────────────────────────────────────────► queue? ─► pending
//	                                                         └ no ─► the record again, once
//
// A delivery that moves on meanwhile leaves a record, which is why that is read last.
func (b *builder) settle(ctx context.Context, _ string) error {
	ctx, cancel := context.WithDeadline(ctx, b.deadline.all)
	defer cancel()
	unlooked := 0
	for _, part := range b.order {
		if part.sub != nil && !part.Matched && !part.traced() && !part.unread && !part.ChangedSince {
			part.conclude(outcomeNotMatched, part.Reason)
			continue // it did not match then either
		}
		err := b.settleOne(ctx, part)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err != nil {
			unlooked++
			part.conclude(outcomeUnknown, "there was no time left to look for it")
		}
	}
	if unlooked > 0 {
		b.missed("where the deliveries of " + strconv.Itoa(unlooked) + " subscriptions are: ask for one subscription at a time")
	}
	return nil
}

func (p *storyPart) conclude(outcome, detail string) { p.Outcome, p.Detail = outcome, detail }

// last is the latest attempt by the schedule.
func (p *storyPart) last() *delivery.Attempt {
	for i := len(p.attempts) - 1; i >= 0; i-- {
		if !p.attempts[i].Manual {
			return &p.attempts[i]
		}
	}
	return nil
}

func (p *storyPart) delivered() *delivery.Attempt {
	for i := range p.attempts {
		if p.attempts[i].Outcome == delivery.Delivered {
			return &p.attempts[i]
		}
	}
	return nil
}

func (b *builder) settleOne(ctx context.Context, part *storyPart) error {
	if part.sub == nil {
		part.concludeGone()
		return nil
	}
	if err := b.findPending(ctx, part); err != nil {
		return err
	}
	if part.Pending == nil && part.delivered() == nil && len(part.deadLetters) == 0 && (part.Matched || part.recorded > 0) {
		if err := b.traceAgain(ctx, part); err != nil {
			return err
		}
	}
	b.concludeWhole(part)
	return nil
}

// concludeGone is about the delivery of a subscription that is deleted: what waited
// went with it.
func (p *storyPart) concludeGone() {
	switch last := p.last(); {
	case p.delivered() != nil:
		p.concludeDelivered()
	case len(p.deadLetters) > 0:
		p.concludeDead()
	case p.unread:
		p.conclude(outcomeUnknown, "what is on record of the subscription, which is deleted, was not read to its end")
	case last == nil && len(p.attempts) == 0:
		p.conclude(outcomeNotMatched, "the subscription is deleted, and nothing of the event is on record for it")
	case last != nil && last.Outcome == delivery.Retry:
		p.conclude(outcomeDropped, "attempt "+strconv.Itoa(last.Attempt)+" failed; what waited was dropped when the subscription was deleted")
	default:
		p.conclude(outcomeGivenUp, "it was given up; the subscription is deleted")
	}
}

func (p *storyPart) concludeDelivered() {
	one := p.delivered()
	p.conclude(outcomeDelivered, fmt.Sprintf("the receiver accepted attempt %d with status %d at %s", one.Attempt, one.Status, one.At.UTC().Format(time.RFC3339)))
}

func (p *storyPart) concludeDead() {
	deadLetter := p.deadLetters[len(p.deadLetters)-1]
	p.conclude(outcomeDeadLetter, fmt.Sprintf("given up after %d attempts (%s); dead letter %d can be redriven", deadLetter.Attempts, deadLetter.Reason, deadLetter.Sequence))
}

// concludeWhole is about a delivery whose places were all looked at.
func (b *builder) concludeWhole(p *storyPart) {
	last := p.last()
	switch {
	case p.delivered() != nil:
		p.concludeDelivered()
	case p.Pending != nil && !p.Pending.Manual:
		p.concludePending(last)
	case len(p.deadLetters) > 0:
		p.concludeDead()
	case p.Pending != nil: // another attempt of what was given up
		p.concludePending(last)
	case p.unread:
		p.conclude(outcomeUnknown, "what is on record of the subscription was not read to its end")
	case last != nil && last.Outcome == delivery.Retry:
		p.conclude(outcomeDue, "attempt "+strconv.Itoa(last.Attempt)+" failed, and the next one is due: it is on its way back to the queue, or is being made")
	case last != nil:
		p.conclude(outcomeGivenUp, "given up after attempt "+strconv.Itoa(last.Attempt)+"; its dead letter was discarded, redriven a moment ago, or is not there yet")
	case p.queueUnread:
		p.conclude(outcomeUnknown, "nothing is on record, and its queue is too long to be searched whole")
	case b.story.Body.Routing != "done" && p.Matched:
		p.conclude(outcomeUnrouted, "no router has settled the event yet")
	case !p.Matched:
		p.conclude(outcomeNotMatched, p.Reason)
	case p.ChangedSince:
		p.conclude(outcomeNotMatched, "nothing of it is queued or on record: the subscription was created or changed after the event was stored, and did not want it when it was routed")
	default:
		p.conclude(outcomeUnknown, "it is in no queue and on no record: it is being made at this moment, it was purged, or its records were older than they are kept")
	}
}

func (p *storyPart) concludePending(last *delivery.Attempt) {
	after := ""
	if last != nil {
		after = "attempt " + strconv.Itoa(last.Attempt) + " failed; "
	}
	held := ""
	if p.State == v1.Paused {
		held = "; the subscription is paused"
	}
	switch p.Pending.Place {
	case "timer":
		p.conclude(outcomeRetry, after+"the next one is due at "+p.Pending.Due.UTC().Format(time.RFC3339)+held)
	case "in_flight":
		if !p.Pending.Due.IsZero() {
			p.conclude(outcomeRetry, after+"the next one is due at "+p.Pending.Due.UTC().Format(time.RFC3339)+", in its place in the queue"+held)
			return
		}
		p.conclude(outcomeInFlight, after+"a sender has it, or has handed it back to wait a little"+held)
	default:
		p.conclude(outcomeQueued, after+"it waits in the queue since "+p.Pending.Since.UTC().Format(time.RFC3339)+held)
	}
}

// findPending looks at the retry timers and then at the queue, in the order in which
// a delivery moves on.
func (b *builder) findPending(ctx context.Context, part *storyPart) error {
	origins := delivery.Origins(b.record.Stream, b.record.Sequence, b.record.Time, part.SubscriptionID)
	last := part.last()
	ended := part.delivered() != nil || len(part.deadLetters) > 0
	var due time.Time
	if last != nil && last.Outcome == delivery.Retry && !ended {
		for _, key := range (&delivery.Delivery{Origin: origins[0]}).TimerKeys() {
			at, found, err := b.from.layout.RetryDueAt(ctx, b.from.js, part.sub.Queue, part.SubscriptionID, key)
			if err != nil {
				return err
			}
			if found {
				part.Pending = &v1.PendingDelivery{Place: "timer", Since: last.At.Add(time.Duration(last.Duration)).UTC(), Due: at.UTC()}
				return nil
			}
		}
		if last.NextAttempt != nil && last.NextAttempt.After(time.Now()) {
			due = last.NextAttempt.UTC()
		}
	}
	// Where it was put first, and where its last attempt or a redrive has put it again.
	starts := []time.Time{b.record.Time}
	if last != nil {
		starts = append(starts, last.At)
	}
	limit := maxQueueLook
	if ended {
		limit = quickQueueLook
	}
	whole := false
	for _, from := range starts {
		found, complete, err := stream.FindWaiting(ctx, b.from.js, part.sub.Queue, from.Add(-time.Second), limit, func(h nats.Header) bool {
			has, _ := delivery.OriginOf(h)
			return slices.Contains(origins, has)
		})
		if err != nil {
			return err
		}
		whole = whole || complete
		if found == nil {
			continue
		}
		_, manual := delivery.OriginOf(found.Header)
		part.Pending = &v1.PendingDelivery{Place: "queue", Since: found.Stored.UTC(), Due: due, Manual: manual}
		if found.HandedOut {
			part.Pending.Place = "in_flight"
		}
		return nil
	}
	if !whole && !ended {
		part.queueUnread = true
		b.missed("all of the queue of " + part.SubscriptionID)
	}
	return nil
}

// traceAgain reads what a delivery may have left on record since it was read first.
func (b *builder) traceAgain(ctx context.Context, part *storyPart) error {
	from := b.record.Time
	if last := part.last(); last != nil {
		from = last.At
	}
	one := map[string]string{part.DeliveryID: part.SubscriptionID}
	if _, err := b.from.attempts.Trace(ctx, one, from, b.addAttempt); err != nil {
		return err
	}
	known := len(part.deadLetters)
	part.deadLetters = part.deadLetters[:0]
	complete, err := b.from.deadLetters.Trace(ctx, one, from, b.addDeadLetter)
	if complete || err != nil {
		return err
	}
	part.deadLetters = part.deadLetters[:known]
	return nil
}
