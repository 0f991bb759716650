// Package deadletters lists, shows, discards and redrives the deliveries that were given up,
// and makes single deliveries again.
//
// It reads the dead letters, the attempt log and the event logs. It puts deliveries on queues,
// and deletes a dead letter when its delivery is on the queue. Whatever changes is on the audit
// trail first.
package deadletters

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/catalogue"
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
	return s, httpapi.CheckTimes(s.From, s.To)
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

// ErrUnreadable is the error of making a delivery of what no router could read.
var ErrUnreadable = errors.New("it could not be read, so there is no delivery to make")

// ErrNotAttempted is the error of making a delivery again that never was.
var ErrNotAttempted = errors.New("no attempt and no dead letter of this delivery is on record")

// DeadLetters are the deliveries that were given up. Use New.
type DeadLetters struct {
	js          jetstream.JetStream
	deadLetters *delivery.DeadLetters
	attempts    *delivery.Log
	keep        *subscriptions.Keeper
	catalogue   catalogue.Catalogue
	trail       *audit.Trail
	timeout     time.Duration // for one request
	log         *zap.Logger
}

// New returns the dead letters of an installation. timeout bounds the work for one request.
func New(js jetstream.JetStream, deadLetters *delivery.DeadLetters, attempts *delivery.Log, keep *subscriptions.Keeper, types catalogue.Catalogue,
	trail *audit.Trail, timeout time.Duration, log *zap.Logger,
) *DeadLetters {
	return &DeadLetters{js: js, deadLetters: deadLetters, attempts: attempts, keep: keep, catalogue: types, trail: trail, timeout: timeout, log: log}
}

// Register adds the operations to an API.
func (d *DeadLetters) Register(api *httpapi.API) {
	const deadLetters = "Newest first. They are kept for 90 days."
	httpapi.Register(api, huma.Operation{
		OperationID: "list-dead-letters", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/dead-letters", Tags: []string{"Dead letters"},
		Summary: "List the deliveries of a subscription that were given up", Description: deadLetters,
	}, d.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-all-dead-letters", Method: http.MethodGet, Path: "/v1/dead-letters", Tags: []string{"Dead letters"},
		Summary: "List the deliveries of all subscriptions that were given up, and what could not be read", Description: deadLetters,
	}, d.listAll)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-invalid", Method: http.MethodGet, Path: "/v1/dead-letters/" + stream.InvalidLetters, Tags: []string{"Dead letters"},
		Summary: "List the messages that no router or sender could read", Description: deadLetters,
	}, d.listInvalid)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-dead-letter", Method: http.MethodGet, Path: "/v1/dead-letters/{sequence}", Tags: []string{"Dead letters"},
		Summary: "Show a dead letter with its event",
	}, d.get)
	httpapi.RegisterBody[v1.DiscardReason](api, huma.Operation{
		OperationID: "discard-dead-letter", Method: http.MethodPost, Path: "/v1/dead-letters/{sequence}/discard", Tags: []string{"Dead letters"},
		Summary: "Delete a dead letter", Description: "The audit trail keeps what it was, and the reason given.",
	}, false, d.discardOne)
	httpapi.RegisterBody[v1.DiscardOptions](api, huma.Operation{
		OperationID: "discard-dead-letters", Method: http.MethodPost, Path: "/v1/dead-letters/discard", Tags: []string{"Dead letters"},
		Summary:     "Delete the dead letters of a selection",
		Description: "A request deletes as many as it can in its time: while the answer says that there are more, repeat it.",
	}, true, d.discardAll)
	httpapi.Register(api, huma.Operation{
		OperationID: "redrive-dead-letter", Method: http.MethodPost, Path: "/v1/dead-letters/{sequence}/redrive", Tags: []string{"Dead letters"},
		Summary: "Make the delivery of a dead letter again", DefaultStatus: http.StatusAccepted,
		Description: "It goes back to its subscription's queue, with the same delivery id and its whole schedule. Its attempts are numbered on. " +
			"The dead letter is deleted when the delivery is on the queue. For many of them: POST /v1/redrives.",
	}, d.redriveOne)
	httpapi.Register(api, huma.Operation{
		OperationID: "redeliver", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/deliveries/{delivery_id}/redeliver", Tags: []string{"Dead letters"},
		Summary: "Make one more attempt of a delivery", DefaultStatus: http.StatusAccepted,
		Description: "Whatever has become of it: delivered, waiting for its next attempt, or given up. One request is made, with the same delivery id, and marked " +
			"manual in the attempts. When it succeeds no retry follows; when it fails the schedule goes on. A dead letter stays.",
	}, d.redeliver)
}

func (d *DeadLetters) list(ctx context.Context, in *lettersRequest) (*letterPage, error) {
	if !subscription.ValidID(in.ID) {
		return nil, fmt.Errorf("list dead letters: %w", subscription.ErrNotFound)
	}
	selected, err := in.selection(in.ID)
	if err != nil {
		return nil, err
	}
	if err := d.checkBeginnings(ctx, selected.Types); err != nil {
		return nil, err
	}
	found, err := d.page(ctx, selected, in.Paged)
	if err != nil {
		return nil, err
	}
	if err := d.keep.CheckKnown(ctx, in.ID, len(found.Items)); err != nil {
		return nil, err
	}
	return &letterPage{found}, nil
}

func (d *DeadLetters) listAll(ctx context.Context, in *allLettersRequest) (*letterPage, error) {
	if err := checkSelected(in.Subscription); err != nil {
		return nil, err
	}
	selected, err := in.selection(in.Subscription)
	if err != nil {
		return nil, err
	}
	if err := d.checkBeginnings(ctx, selected.Types); err != nil {
		return nil, err
	}
	found, err := d.page(ctx, selected, in.Paged)
	return &letterPage{found}, err
}

func (d *DeadLetters) listInvalid(ctx context.Context, in *invalidLettersRequest) (*letterPage, error) {
	found, err := d.page(ctx, &delivery.Selection{Subscription: stream.InvalidLetters}, in.Paged)
	return &letterPage{found}, err
}

func (d *DeadLetters) page(ctx context.Context, s *delivery.Selection, in httpapi.Paged) (v1.Page[v1.DeadLetter], error) {
	found, err := httpapi.SequencePage(in, func(before uint64, limit int) ([]delivery.DeadLetter, error) {
		return d.deadLetters.Page(ctx, s, before, limit)
	}, func(one delivery.DeadLetter) uint64 { return one.Sequence })
	return show.Page(found, show.DeadLetter), err
}

type oneLetter struct{ Body v1.ShownLetter }

func (d *DeadLetters) get(ctx context.Context, in *PlacedLetter) (*oneLetter, error) {
	deadLetter, err := d.deadLetters.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	out := &oneLetter{v1.ShownLetter{DeadLetter: show.DeadLetter(&deadLetter.DeadLetter)}}
	if deadLetter.Delivery != nil {
		out.Body.Attributes = attributes(deadLetter.Delivery.Event)
	} else {
		out.Body.Headers = map[string][]string{}
		for name, values := range deadLetter.Header {
			if name != stream.HeaderDeadLetter && name != stream.HeaderMessageID && name != stream.HeaderExpectedStream {
				out.Body.Headers[name] = values
			}
		}
	}
	if utf8.Valid(deadLetter.Data) {
		out.Body.Data = string(deadLetter.Data)
	} else {
		out.Body.DataBase64 = base64.StdEncoding.EncodeToString(deadLetter.Data)
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
