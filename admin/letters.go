package admin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionDiscard   = "dead_letter.discard"
	actionRedrive   = "dead_letter.redrive"
	actionRedeliver = "delivery.redeliver"
)

// LetterFilter narrows a list of dead letters.
type LetterFilter struct {
	Reason []string        `query:"reason,explode" enum:"exhausted,rejected,gone,expired,overflow,unreadable,match_budget" doc:"Only those given up for this reason. Can be repeated: for one of them."`
	Type   []string        `query:"type,explode" maxLength:"255" doc:"Only those with an event of this type, or of types that begin alike: artifact.* Can be repeated: of one of them." example:"git.push"`
	From   httpapi.Instant `query:"from" doc:"Only those given up at this time or later."`
	To     httpapi.Instant `query:"to" doc:"Only those given up before this time."`
}

func (f *LetterFilter) selection(subscriptionID string) (*delivery.Selection, error) {
	s := &delivery.Selection{Subscription: subscriptionID, Types: f.Type, From: f.From.Time, To: f.To.Time}
	for _, reason := range f.Reason {
		s.Reasons = append(s.Reasons, delivery.Reason(reason))
	}
	return s, checkTimes(s.From, s.To)
}

func checkTimes(from, to time.Time) error {
	switch {
	case !usableTime(from):
		return httpapi.Invalid("from", "is out of range: use a time from 1970 to 2261")
	case !usableTime(to):
		return httpapi.Invalid("to", "is out of range: use a time from 1970 to 2261")
	case !from.IsZero() && !to.IsZero() && !from.Before(to):
		return httpapi.Invalid("to", "is not after from")
	}
	return nil
}

type lettersRequest struct {
	subscriptions.Named
	LetterFilter
	httpapi.Paged
}

type allLettersRequest struct {
	Subscription string `query:"subscription" maxLength:"63" doc:"Only those of this subscription, which may be deleted by now; _invalid: those of none, which could not be read."`
	LetterFilter
	httpapi.Paged
}

type invalidLettersRequest struct{ httpapi.Paged }

type letterPage struct{ Body v1.Page[v1.DeadLetter] }

// PlacedLetter is a request for one dead letter.
type PlacedLetter struct {
	Sequence uint64 `path:"sequence" doc:"Its place in the dead letter stream, which lists show. It never changes; a letter that is redriven and given up again is a new one."`
}

// letterRoutes are those of the dead letters, and of making a delivery again.
func (a *Admin) letterRoutes(api *httpapi.API) {
	const letters = "Newest first. They are kept for 90 days."
	httpapi.Register(api, huma.Operation{
		OperationID: "list-dead-letters", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/dead-letters", Tags: []string{"Dead letters"},
		Summary: "List the deliveries of a subscription that were given up", Description: letters,
	}, a.listLetters)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-all-dead-letters", Method: http.MethodGet, Path: "/v1/dead-letters", Tags: []string{"Dead letters"},
		Summary: "List the deliveries of all subscriptions that were given up, and what could not be read", Description: letters,
	}, a.listAllLetters)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-invalid", Method: http.MethodGet, Path: "/v1/dead-letters/" + stream.InvalidLetters, Tags: []string{"Dead letters"},
		Summary: "List the messages that no router or sender could read", Description: letters,
	}, a.listInvalid)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-dead-letter", Method: http.MethodGet, Path: "/v1/dead-letters/{sequence}", Tags: []string{"Dead letters"},
		Summary: "Show a dead letter with its event",
	}, a.getLetter)
	httpapi.RegisterBody[v1.DiscardReason](api, huma.Operation{
		OperationID: "discard-dead-letter", Method: http.MethodPost, Path: "/v1/dead-letters/{sequence}/discard", Tags: []string{"Dead letters"},
		Summary: "Delete a dead letter", Description: "The audit trail keeps what it was, and the reason given.",
	}, false, a.discardLetter)
	httpapi.RegisterBody[v1.DiscardOptions](api, huma.Operation{
		OperationID: "discard-dead-letters", Method: http.MethodPost, Path: "/v1/dead-letters/discard", Tags: []string{"Dead letters"},
		Summary:     "Delete the dead letters of a selection",
		Description: "A request deletes as many as it can in its time: while the answer says that there are more, repeat it.",
	}, true, a.discardLetters)
	httpapi.Register(api, huma.Operation{
		OperationID: "redrive-dead-letter", Method: http.MethodPost, Path: "/v1/dead-letters/{sequence}/redrive", Tags: []string{"Dead letters"},
		Summary: "Make the delivery of a dead letter again", DefaultStatus: http.StatusAccepted,
		Description: "It goes back to its subscription's queue, with the same delivery id and its whole schedule. Its attempts are numbered on. " +
			"The dead letter is deleted when the delivery is on the queue. For many of them: POST /v1/redrives.",
	}, a.redriveLetter)
	httpapi.Register(api, huma.Operation{
		OperationID: "redeliver", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/deliveries/{delivery_id}/redeliver", Tags: []string{"Dead letters"},
		Summary: "Make one more attempt of a delivery", DefaultStatus: http.StatusAccepted,
		Description: "Whatever has become of it: delivered, waiting for its next attempt, or given up. One request is made, with the same delivery id, and marked " +
			"manual in the attempts. When it succeeds no retry follows; when it fails the schedule goes on. A dead letter stays.",
	}, a.redeliver)
}

func (a *Admin) listLetters(ctx context.Context, in *lettersRequest) (*letterPage, error) {
	if !subscription.ValidID(in.ID) {
		return nil, fmt.Errorf("list dead letters: %w", subscription.ErrNotFound)
	}
	selected, err := in.selection(in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.checkBeginnings(ctx, selected.Types); err != nil {
		return nil, err
	}
	found, err := a.lettersOf(ctx, selected, in.Paged)
	if err != nil {
		return nil, err
	}
	if err := a.keep.CheckKnown(ctx, in.ID, len(found.Items)); err != nil {
		return nil, err
	}
	return &letterPage{found}, nil
}

func (a *Admin) listAllLetters(ctx context.Context, in *allLettersRequest) (*letterPage, error) {
	if err := checkSelected(in.Subscription); err != nil {
		return nil, err
	}
	selected, err := in.selection(in.Subscription)
	if err != nil {
		return nil, err
	}
	if err := a.checkBeginnings(ctx, selected.Types); err != nil {
		return nil, err
	}
	found, err := a.lettersOf(ctx, selected, in.Paged)
	return &letterPage{found}, err
}

func (a *Admin) listInvalid(ctx context.Context, in *invalidLettersRequest) (*letterPage, error) {
	found, err := a.lettersOf(ctx, &delivery.Selection{Subscription: stream.InvalidLetters}, in.Paged)
	return &letterPage{found}, err
}

func (a *Admin) lettersOf(ctx context.Context, s *delivery.Selection, in httpapi.Paged) (v1.Page[v1.DeadLetter], error) {
	found, err := httpapi.SequencePage(in, func(before uint64, limit int) ([]delivery.DeadLetter, error) {
		return a.letters.Page(ctx, s, before, limit)
	}, func(one delivery.DeadLetter) uint64 { return one.Sequence })
	return show.Page(found, show.DeadLetter), err
}

// checkSelected refuses what cannot be in a subject: a wildcard would select others.
func checkSelected(id string) error {
	if id != "" && id != stream.InvalidLetters && !subscription.ValidID(id) {
		return httpapi.Invalid("subscription", "is not the id of a subscription")
	}
	return nil
}

type oneLetter struct{ Body v1.ShownLetter }

func (a *Admin) getLetter(ctx context.Context, in *PlacedLetter) (*oneLetter, error) {
	letter, err := a.letters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	out := &oneLetter{v1.ShownLetter{DeadLetter: show.DeadLetter(&letter.DeadLetter)}}
	if letter.Delivery != nil {
		out.Body.Attributes = attributes(letter.Delivery.Event)
	} else {
		out.Body.Headers = map[string][]string{}
		for name, values := range letter.Header {
			if name != stream.HeaderDeadLetter && name != stream.HeaderMessageID && name != stream.HeaderExpectedStream {
				out.Body.Headers[name] = values
			}
		}
	}
	if utf8.Valid(letter.Data) {
		out.Body.Data = string(letter.Data)
	} else {
		out.Body.DataBase64 = base64.StdEncoding.EncodeToString(letter.Data)
	}
	return out, nil
}

func attributes(e *event.Event) map[string]string {
	found := map[string]string{"specversion": event.SpecVersion}
	for name, value := range map[string]string{
		"id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject, "time": e.Time,
		"datacontenttype": e.DataContentType, "dataschema": e.DataSchema,
	} {
		if value != "" {
			found[name] = value
		}
	}
	for _, extension := range e.Extensions {
		found[extension.Name] = extension.Value
	}
	return found
}

type discarded struct{ Body v1.Discarded }

type discardRequest struct {
	PlacedLetter
	httpapi.RawJSON
}

// discardTime is the part of the time for a request that deleting may take.
const discardTime = 0.6

func (a *Admin) discardLetter(ctx context.Context, in *discardRequest) (*discarded, error) {
	var options v1.DiscardReason
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	letter, err := a.letters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	out := &discarded{}
	out.Body.Discarded = 1
	ctx = stream.MakesRoom(ctx)
	return out, a.trail.Around(ctx, audit.Record{
		Action: actionDiscard, Target: letterTarget(letter.Sequence), Reason: options.Reason, Before: audit.State(stateOf(&letter.DeadLetter)),
	}, func() error { return a.discard(ctx, &letter.DeadLetter, options.Reason) })
}

func (a *Admin) discardLetters(ctx context.Context, in *httpapi.RawJSON) (*discarded, error) {
	var options v1.DiscardOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	selected, err := selectionOf(&options.SelectionOptions)
	if err != nil {
		return nil, err
	}
	if err := a.checkBeginnings(ctx, selected.Types); err != nil {
		return nil, err
	}
	ctx = stream.MakesRoom(ctx)
	if selected.All() != options.All {
		return nil, httpapi.Invalid("all", "and a selection: give one of them")
	}
	last, err := a.letters.Last(ctx)
	if err != nil {
		return nil, err
	}
	out, began := &discarded{}, time.Now()
	for from, more := uint64(1), true; more; {
		batch, err := a.letterBatch(ctx, selected, from, last)
		if err != nil {
			return nil, err
		}
		more = len(batch) == letterBatch
		if len(batch) == 0 {
			break
		}
		err = a.trail.Around(ctx, discardOf(batch, &options), func() error {
			for i := range batch {
				if err := a.discard(ctx, &batch[i], options.Reason); err != nil {
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
		if time.Since(began) > time.Duration(discardTime*float64(a.cfg.Timeout)) {
			out.Body.More = more
			break
		}
	}
	return out, nil
}

// discardOf is the record of a batch that is discarded: which letters these are.
func discardOf(batch []delivery.DeadLetter, options *v1.DiscardOptions) audit.Record {
	state := struct {
		Selection v1.SelectionOptions `json:"selection"`
		Letters   []letterState       `json:"dead_letters"`
	}{options.SelectionOptions, make([]letterState, len(batch))}
	for i := range batch {
		state.Letters[i] = stateOf(&batch[i])
	}
	return audit.Record{Action: actionDiscard, Target: "dead-letters", Reason: options.Reason, Before: audit.State(state)}
}

func letterTarget(sequence uint64) string {
	return "dead-letters/" + strconv.FormatUint(sequence, 10)
}

func (a *Admin) discard(ctx context.Context, letter *delivery.DeadLetter, why string) error {
	if err := a.letters.Remove(ctx, letter.Sequence); err != nil {
		return err
	}
	a.log.Info("dead letter discarded", zap.Uint64("seq", letter.Sequence), zap.String("subscription_id", letter.SubscriptionID),
		zap.String("delivery_id", letter.DeliveryID), zap.String("event_id", letter.Event.ID), zap.String("event_type", letter.Event.Type),
		zap.String("given_up", string(letter.Reason)), zap.String("reason", why), zap.String("request_id", httpapi.RequestID(ctx)))
	return nil
}

// letterBatch is how many dead letters are looked up and discarded at a time, in one record.
// Each costs the writing of a block, some 50 ms where that is full.
const letterBatch = 64

// letterBatch returns the first of a selection with sequences of from to last.
func (a *Admin) letterBatch(ctx context.Context, s *delivery.Selection, from, last uint64) ([]delivery.DeadLetter, error) {
	var batch []delivery.DeadLetter
	for letter, err := range a.letters.Select(ctx, s, from, last) {
		if err != nil {
			return nil, err
		}
		if batch = append(batch, letter); len(batch) == letterBatch {
			break
		}
	}
	return batch, nil
}

// queuedAgain is the answer to what puts a delivery on its queue.
type queuedAgain struct{ Body v1.QueuedAgain }

func answerQueued(id string, sub *subscription.Subscription) *queuedAgain {
	out := &queuedAgain{}
	out.Body.DeliveryID, out.Body.SubscriptionID, out.Body.State = id, sub.ID, string(sub.State)
	return out
}

func (a *Admin) redriveLetter(ctx context.Context, in *PlacedLetter) (*queuedAgain, error) {
	letter, err := a.letters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	if letter.Delivery == nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", letter.Sequence, errUnreadable)
	}
	sub, err := a.keep.Find(ctx, letter.SubscriptionID)
	if err == nil && sub.State == subscription.Disabled {
		err = fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
	}
	if err == nil {
		err = a.trail.Around(ctx, audit.Record{
			Action: actionRedrive, Target: letterTarget(letter.Sequence), Before: audit.State(stateOf(&letter.DeadLetter)),
		}, func() error { return a.redrive(ctx, letter, sub) })
	}
	if err != nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", letter.Sequence, err)
	}
	a.log.Info("dead letter redriven", zap.Uint64("seq", letter.Sequence), zap.String("subscription_id", sub.ID),
		zap.String("delivery_id", letter.DeliveryID), zap.String("request_id", httpapi.RequestID(ctx)))
	return answerQueued(letter.DeliveryID, sub), nil
}

// redrive puts the delivery of a letter on its queue and, when the queue has it,
// deletes the letter. In between it may be done again: the queue recognises it for
// stream.Dedupe, and the receiver by its delivery id.
func (a *Admin) redrive(ctx context.Context, letter *delivery.Letter, sub *subscription.Subscription) error {
	if letter.Delivery == nil {
		return errUnreadable
	}
	if sub.State == subscription.Disabled {
		return fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
	}
	if err := subscriptions.Enqueue(ctx, a.js, letter.Redriven(sub.Queue.Subject, sub.Queue.Stream, time.Now())); err != nil {
		return fmt.Errorf("subscription %s: %w", sub.ID, err)
	}
	return a.letters.Remove(ctx, letter.Sequence)
}

// RedeliverRequest names a delivery.
type RedeliverRequest struct {
	subscriptions.Named
	DeliveryID string `path:"delivery_id" maxLength:"64" doc:"The webhook-id, which attempts and dead letters show." example:"dlv_0k3v9u5c8s1qkbmv2t0q7l4m8a"`
}

func (a *Admin) redeliver(ctx context.Context, in *RedeliverRequest) (*queuedAgain, error) {
	sub, err := a.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if sub.State == subscription.Disabled {
		return nil, fmt.Errorf("redeliver %s: subscription %s: %w", in.DeliveryID, sub.ID, subscriptions.ErrDisabled)
	}
	d, err := a.deliveryOf(ctx, sub.ID, in.DeliveryID)
	if err == nil {
		err = a.trail.Around(ctx, audit.Record{Action: actionRedeliver, Target: audit.SubscriptionTarget(sub.ID) + "/deliveries/" + d.ID}, func() error {
			return subscriptions.Enqueue(ctx, a.js, d.ManualRetry(sub.Queue.Subject, sub.Queue.Stream, subscriptions.NewID()))
		})
	}
	if err != nil {
		return nil, fmt.Errorf("redeliver %s: %w", in.DeliveryID, err)
	}
	a.log.Info("one more attempt was asked for", zap.String("subscription_id", sub.ID), zap.String("delivery_id", d.ID), zap.String("request_id", httpapi.RequestID(ctx)))
	return answerQueued(d.ID, sub), nil
}

// deliveryOf makes a delivery again from the event log, by the record of its
// latest attempt, or else from its dead letter.
func (a *Admin) deliveryOf(ctx context.Context, subscriptionID, id string) (*delivery.Delivery, error) {
	last, err := a.attempts.OfDelivery(ctx, subscriptionID, id)
	if err != nil {
		return nil, err
	}
	gone := errNotAttempted
	if last != nil {
		d, err := delivery.FromEventLog(ctx, a.js, last)
		if !errors.Is(err, delivery.ErrEventGone) {
			return d, err
		}
		gone = err
	}
	letter, err := a.letters.OfDelivery(ctx, subscriptionID, id)
	if errors.Is(err, delivery.ErrNoLetter) {
		return nil, gone
	}
	if err != nil {
		return nil, err
	}
	if letter.Delivery == nil {
		return nil, errUnreadable
	}
	return letter.Delivery, nil
}

// checkBeginnings is about types that select dead letters.
func (a *Admin) checkBeginnings(ctx context.Context, types []string) error {
	for _, eventType := range types {
		if problem := a.catalogue.Seen(ctx).BeginningProblem(eventType); problem != "" {
			return httpapi.Invalid("types", problem)
		}
	}
	return nil
}

// A letterState is a dead letter as a record shows it.
type letterState struct {
	Sequence       uint64          `json:"sequence"`
	SubscriptionID string          `json:"subscription_id,omitempty"`
	DeliveryID     string          `json:"delivery_id,omitempty"`
	EventID        string          `json:"event_id,omitempty"`
	EventType      string          `json:"event_type,omitempty"`
	Reason         delivery.Reason `json:"reason"`
}

// stateOf clips what comes from outside: many of them are in one record.
func stateOf(l *delivery.DeadLetter) letterState {
	return letterState{l.Sequence, l.SubscriptionID, l.DeliveryID, httpapi.Clip(l.Event.ID), httpapi.Clip(l.Event.Type), l.Reason}
}
