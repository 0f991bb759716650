package deadletters

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

type discarded struct{ Body v1.Discarded }

type discardRequest struct {
	PlacedLetter
	httpapi.RawJSON
}

// discardTime is the part of the time for a request that deleting may take.
const discardTime = 0.6

func (d *DeadLetters) discardOne(ctx context.Context, in *discardRequest) (*discarded, error) {
	var options v1.DiscardReason
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	deadLetter, err := d.deadLetters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	out := &discarded{}
	out.Body.Discarded = 1
	ctx = stream.MakesRoom(ctx)
	return out, d.trail.Around(ctx, audit.Record{
		Action: actionDiscard, Target: deadLetterTarget(deadLetter.Sequence), Reason: options.Reason, Before: audit.State(stateOf(&deadLetter.DeadLetter)),
	}, func() error { return d.discard(ctx, &deadLetter.DeadLetter, options.Reason) })
}

func (d *DeadLetters) discardAll(ctx context.Context, in *httpapi.RawJSON) (*discarded, error) {
	var options v1.DiscardOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	selected, err := d.Selection(ctx, &options.SelectionOptions)
	if err != nil {
		return nil, err
	}
	ctx = stream.MakesRoom(ctx)
	if selected.All() != options.All {
		return nil, httpapi.Invalid("all", "and a selection: give one of them")
	}
	last, err := d.deadLetters.Last(ctx)
	if err != nil {
		return nil, err
	}
	out, began := &discarded{}, time.Now()
	for from, more := uint64(1), true; more; {
		batch, err := d.Batch(ctx, selected, from, last)
		if err != nil {
			return nil, err
		}
		more = len(batch) == BatchSize
		if len(batch) == 0 {
			break
		}
		err = d.trail.Around(ctx, discardOf(batch, &options), func() error {
			for i := range batch {
				if err := d.discard(ctx, &batch[i], options.Reason); err != nil {
					return err
				}
				out.Body.Discarded++
				from = batch[i].Sequence + 1
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if time.Since(began) > time.Duration(discardTime*float64(d.timeout)) {
			out.Body.More = more
			break
		}
	}
	return out, nil
}

// discardOf is the record of a batch that is discarded: which dead letters these are.
func discardOf(batch []delivery.DeadLetter, options *v1.DiscardOptions) audit.Record {
	state := struct {
		Selection v1.SelectionOptions `json:"selection"`
		Letters   []recorded          `json:"dead_letters"`
	}{options.SelectionOptions, make([]recorded, len(batch))}
	for i := range batch {
		state.Letters[i] = stateOf(&batch[i])
	}
	return audit.Record{Action: actionDiscard, Target: "dead-letters", Reason: options.Reason, Before: audit.State(state)}
}

func deadLetterTarget(sequence uint64) string {
	return "dead-letters/" + strconv.FormatUint(sequence, 10)
}

func (d *DeadLetters) discard(ctx context.Context, deadLetter *delivery.DeadLetter, why string) error {
	if err := d.deadLetters.Remove(ctx, deadLetter.Sequence); err != nil {
		return err
	}
	d.log.Info("dead letter discarded", zap.Uint64("seq", deadLetter.Sequence), zap.String("subscription_id", deadLetter.SubscriptionID),
		zap.String("delivery_id", deadLetter.DeliveryID), zap.String("event_id", deadLetter.Event.ID), zap.String("event_type", deadLetter.Event.Type),
		zap.String("given_up", string(deadLetter.Reason)), zap.String("reason", why), zap.String("request_id", httpapi.RequestID(ctx)))
	return nil
}

// BatchSize is how many dead letters are looked up and discarded at a time, in one record.
// Each costs the writing of a block, some 50 ms where that is full.
const BatchSize = 64

// Batch returns the first of a selection with sequences of from to last.
func (d *DeadLetters) Batch(ctx context.Context, s *delivery.Selection, from, last uint64) ([]delivery.DeadLetter, error) {
	var batch []delivery.DeadLetter
	for deadLetter, err := range d.deadLetters.Select(ctx, s, from, last) {
		if err != nil {
			return nil, err
		}
		if batch = append(batch, deadLetter); len(batch) == BatchSize {
			break
		}
	}
	return batch, nil
}

// A recorded is a dead letter as a record shows it.
type recorded struct {
	Sequence       uint64          `json:"sequence"`
	SubscriptionID string          `json:"subscription_id,omitempty"`
	DeliveryID     string          `json:"delivery_id,omitempty"`
	EventID        string          `json:"event_id,omitempty"`
	EventType      string          `json:"event_type,omitempty"`
	Reason         delivery.Reason `json:"reason"`
}

// stateOf clips what comes from outside: many of them are in one record.
func stateOf(l *delivery.DeadLetter) recorded {
	return recorded{l.Sequence, l.SubscriptionID, l.DeliveryID, httpapi.Clip(l.Event.ID), httpapi.Clip(l.Event.Type), l.Reason}
}

// DiscardedOf are the ids of the deliveries of a subscription whose dead letters were
// discarded since a time, among the newest limit records of the audit trail.
func (d *DeadLetters) DiscardedOf(ctx context.Context, subscriptionID string, since time.Time, limit int) ([]string, error) {
	records, err := d.trail.Latest(ctx, &audit.Filter{Action: actionDiscard, From: since}, 0, limit)
	if err != nil {
		return nil, err
	}
	var ids []string
	for n := range records {
		var state struct {
			recorded

			Letters []recorded `json:"dead_letters"`
		}
		if json.Unmarshal(records[n].Before, &state) != nil {
			continue // too large for a record: it says how large it was
		}
		for _, deadLetter := range append(state.Letters, state.recorded) {
			if deadLetter.SubscriptionID == subscriptionID {
				ids = append(ids, deadLetter.DeliveryID)
			}
		}
	}
	return ids, nil
}
