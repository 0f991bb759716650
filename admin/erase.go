package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/story"
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
	actionErase = "event.erase"
)

const (
	// eraseTimeout bounds an erasure, which goes on when its client has left. The answer
	// has to come within the time that the server gives to an answer.
	eraseTimeout = 150 * time.Second
	// routerPatience is how long routers that have the event in hand may take.
	routerPatience = 15 * time.Second
	routerPoll     = 100 * time.Millisecond
	// inHandMargin is for a sender to store what comes of a request that has ended.
	inHandMargin = 5 * time.Second
)

const eraseDescription = "Its data is overwritten in its event log, in queues, retry timers and dead letters, and the answers of its receivers are taken out of the attempts, since they may repeat it. " +
	"What is left is its place, the attempts, and on the audit trail its id, size and SHA-256. A delivery that a sender has in hand is waited for. After an error, or where the event is gone already and something may be left of it, repeat the request. " +
	"What receivers have got stays with them."

type eraseRequest struct {
	story.PlacedEvent
	httpapi.RawJSON
}

type erased struct{ Body v1.Erased }

// An eraser erases events.
type eraser struct {
	js          jetstream.JetStream
	layout      stream.Layout
	logs        *story.Logs
	keep        *subscriptions.Keeper
	attempts    *delivery.Log
	deadLetters *delivery.DeadLetters
	trail       *audit.Trail
	log         *zap.Logger
}

func (r *eraser) register(api *httpapi.API) {
	httpapi.RegisterBody[v1.EraseReason](api, huma.Operation{
		OperationID: "erase-event", Method: http.MethodPost, Path: "/v1/events/{domain}/{sequence}/erase", Tags: []string{"Events"},
		Summary: "Erase an event and all that carries its data", Description: eraseDescription,
	}, false, r.erase)
}

// erasedState is what the audit trail keeps of an event that is erased.
type erasedState struct {
	ID       string    `json:"id,omitempty"`
	Source   string    `json:"source,omitempty"`
	Type     string    `json:"type,omitempty"`
	StoredAt time.Time `json:"stored_at,omitzero"`
	Bytes    int       `json:"bytes"`
	SHA256   string    `json:"sha256,omitempty"`
}

func (r *eraser) erase(ctx context.Context, in *eraseRequest) (*erased, error) {
	var options v1.EraseReason
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	e := &erasure{with: r, domain: in.Domain, what: delivery.Erasable{Event: delivery.EventRef{Stream: r.layout.EventLog(in.Domain), Sequence: in.Sequence}}}
	state, err := e.look(ctx)
	if err != nil {
		return nil, err
	}
	// It goes on when the client has left: what is half erased has to be begun again.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), eraseTimeout)
	defer cancel()
	err = r.trail.Around(work, audit.Record{
		Action: actionErase, Target: "events/" + in.Domain + "/" + strconv.FormatUint(in.Sequence, 10), Reason: options.Reason, Before: audit.State(state),
	}, func() error { return e.run(work) })
	if err != nil {
		return nil, fmt.Errorf("erase event %d of %s: %w", in.Sequence, in.Domain, err)
	}
	e.done.SHA256 = state.SHA256
	r.log.Info("event erased", zap.String("domain", in.Domain), zap.Uint64("seq", in.Sequence), zap.String("event_id", state.ID), zap.String("event_type", state.Type),
		zap.Int("deliveries", e.done.Deliveries), zap.Int("retries", e.done.Retries), zap.Int("dead_letters", e.done.DeadLetters), zap.Int("answers", e.done.Answers),
		zap.String("reason", options.Reason), zap.String("request_id", httpapi.RequestID(ctx)))
	return &erased{e.done}, nil
}

// An erasure takes an event out of everything, in the order in which it travels: what was
// passed over can only have gone where it is looked for later.
//
//	event log ─► routers that have it ─► queues ◄─► retry timers ─► dead letters ─► attempts
type erasure struct {
	with   *eraser
	domain string
	what   delivery.Erasable
	done   v1.Erased
}

// look finds out what is to be erased. An event that was deleted has been in its log at least.
func (e *erasure) look(ctx context.Context) (erasedState, error) {
	record, err := e.with.logs.Stored(ctx, e.domain, e.what.Event.Sequence)
	if errors.Is(err, story.ErrNoEvent) {
		head, headErr := stream.ReadHead(ctx, e.with.js, e.what.Event.Stream)
		if headErr == nil && e.what.Event.Sequence > 0 && e.what.Event.Sequence <= head.Last {
			return erasedState{}, nil
		}
	}
	if err != nil {
		return erasedState{}, err
	}
	sum := sha256.Sum256(record.Data)
	state := erasedState{StoredAt: record.Time.UTC(), Bytes: len(record.Data), SHA256: hex.EncodeToString(sum[:])}
	e.what.Stored = record.Time
	if event, err := event.FromCheckedMessage(record.Header, record.Data); err == nil {
		state.ID, state.Source, state.Type = event.ID, event.Source, event.Type
		e.what.Event.ID, e.what.Event.Source = event.ID, event.Source
	}
	return state, nil
}

func (e *erasure) run(ctx context.Context) (err error) {
	if e.done.Event, err = stream.Erase(ctx, e.with.js, e.what.Event.Stream, e.what.Event.Sequence); err != nil {
		return err
	}
	if err := e.awaitRouters(ctx); err != nil {
		return err
	}
	snapshot, err := e.with.keep.Snapshot(ctx)
	if err != nil {
		return err
	}
	inHand := time.Duration(0)
	for _, sub := range snapshot.All() {
		handedOut, err := e.eraseDeliveries(ctx, sub)
		if err != nil {
			return err
		}
		if handedOut {
			inHand = max(inHand, time.Duration(sub.Endpoint.Timeout)+inHandMargin)
		}
	}
	if inHand > 0 { // a sender may have it, and store it once more as a timer
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(inHand):
		}
		for _, sub := range snapshot.All() {
			if _, err := e.eraseDeliveries(ctx, sub); err != nil {
				return err
			}
		}
	}
	for _, shard := range e.with.layout.RetryShards() { // timers of it may have fired
		if err := e.with.layout.ScrubRetries(ctx, e.with.js, shard); err != nil {
			return err
		}
	}
	if e.done.DeadLetters, err = e.with.deadLetters.Erase(ctx, &e.what); err != nil {
		return err
	}
	e.done.Answers, err = e.with.attempts.Erase(ctx, &e.what)
	return err
}

// awaitRouters returns when no router can put the event on a queue any more: all that
// had it in hand are done with it, or none has had it before it was erased.
func (e *erasure) awaitRouters(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, routerPatience)
	defer cancel()
	for {
		routing, err := e.with.layout.ReadRouting(ctx, e.with.js, e.domain)
		if err != nil {
			return err
		}
		if sequence := e.what.Event.Sequence; sequence <= routing.Settled || sequence > routing.HandedOut {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("a router has the event in hand and does not come to its end: repeat the request when routing goes on")
		case <-time.After(routerPoll):
		}
	}
}

// eraseDeliveries erases what waits for one subscription, and reports whether a sender
// may have had some of it in hand.
func (e *erasure) eraseDeliveries(ctx context.Context, sub *subscription.Subscription) (handedOut bool, err error) {
	carries := func(_ string, h nats.Header) bool { return e.what.IsQueued(sub.ID, h) }
	erase := func(name, subject string, count *int) ([]uint64, error) {
		found, err := stream.FindAll(ctx, e.with.js, name, subject, e.what.Stored.Add(-time.Second), carries)
		if err != nil {
			return nil, err
		}
		for _, sequence := range found {
			was, err := stream.Erase(ctx, e.with.js, name, sequence)
			if err != nil {
				return nil, err
			}
			if was {
				*count++
			}
		}
		return found, nil
	}
	queued, err := erase(sub.Queue.Stream, sub.Queue.Subject, &e.done.Deliveries)
	if err != nil {
		return false, err
	}
	for _, sequence := range queued {
		if out, err := stream.HandedOut(ctx, e.with.js, sub.Queue, sequence); err == nil && out {
			handedOut = true
		}
	}
	retries := e.with.layout.RetryStream(sub.Queue.RetryShard)
	for _, subject := range [...]string{e.with.layout.RetryAt(sub.Queue.RetryShard, sub.ID, "*"), e.with.layout.RetryDue(sub.Queue.RetryShard, sub.ID)} {
		if _, err := erase(retries, subject, &e.done.Retries); err != nil {
			return false, err
		}
	}
	return handedOut, nil
}
