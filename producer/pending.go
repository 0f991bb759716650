package producer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

const (
	firstPause = 25 * time.Millisecond // between two tries, doubling
	longPause  = time.Second
	// How long an answer is waited for before the event is sent again, doubling.
	// Longer than a busy server takes; shorter than a caller likes to wait when
	// the answer was lost with a leader.
	firstPatience = time.Second
)

// newPublisher returns the publisher of events, which retries while an error may disappear.
func newPublisher(cfg Config, js jetstream.JetStream) *stream.Publisher {
	return stream.NewPublisher(stream.PublisherConfig{
		Stall: longPause, LibraryRetries: jetstream.DefaultPubRetryAttempts,
		Patience: min(firstPatience, cfg.Timeout/3), LongPatience: cfg.Timeout / 3,
		Pause: firstPause, LongPause: longPause, Retry: canRetry,
	}, js)
}

// A Pending is an event that was sent and whose receipt has not arrived. It is for one
// goroutine at a time.
type Pending struct {
	producer *Producer
	prepared
	publication stream.Publication
	began       time.Time // the first try

	settled bool // receipt and err are final
	receipt Receipt
	err     error
}

// send hands the message to the client library. It blocks while the library has
// as many under way as it may, and while there is no connection.
func (p *Producer) send(ctx context.Context, ready prepared) (*Pending, error) {
	w := &Pending{producer: p, prepared: ready, began: time.Now()}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	w.publication = p.publisher.Send(ready.msg)
	if err := w.publication.Submit(ctx); err != nil {
		w.settle(Receipt{}, err)
		return nil, w.err
	}
	return w, nil
}

// Wait returns the receipt, or the error that Publish would have returned. When
// ctx ends first the event may yet be stored: the error wraps ErrUnavailable and
// that of ctx, and Wait may be called again. Otherwise it keeps its answer.
//
// When the answer is lost, because the connection was or a leader has changed,
// Wait sends the event again under the same message id, for up to Config.Timeout.
func (w *Pending) Wait(ctx context.Context) (Receipt, error) {
	if w.settled {
		return w.receipt, w.err
	}
	// Sending again is safe only as long as the first one is remembered.
	deadline := time.Now().Add(w.producer.cfg.Timeout)
	if forgotten := w.began.Add(Dedupe / 2); forgotten.Before(deadline) {
		deadline = forgotten
	}
	ack, err := w.publication.Wait(ctx, deadline)
	if err == nil {
		w.settle(Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil)
		return w.receipt, nil
	}
	if ctx.Err() != nil {
		return Receipt{}, w.failure(errors.Join(ctx.Err(), w.publication.Last()))
	}
	w.settle(Receipt{}, err)
	return Receipt{}, w.err
}

// conclude is Wait for a caller that will not wait again: an event without an answer by the
// end of ctx counts as unavailable.
func (w *Pending) conclude(ctx context.Context) (Receipt, error) {
	receipt, err := w.Wait(ctx)
	if !w.settled {
		cause := ctx.Err()
		if errors.Is(cause, context.DeadlineExceeded) { // of the publish; a client that has disconnected says nothing about NATS
			cause = errors.Join(stream.ErrNoAnswer, w.publication.Last())
		}
		w.settle(Receipt{}, cause)
		err = w.err
	}
	return receipt, err
}

// settle keeps the answer and counts it.
func (w *Pending) settle(receipt Receipt, err error) {
	p := w.producer
	w.settled, w.receipt = true, receipt
	switch {
	case err == nil:
		outcome := outcomeStored
		if receipt.Duplicate {
			outcome = outcomeDuplicate
		}
		p.metrics.events.WithLabelValues(w.domain, outcome).Inc()
		p.metrics.seconds.Observe(time.Since(w.began).Seconds())
		if p.cfg.Health != nil {
			p.cfg.Health.Stored(receipt.Stream)
		}
		if entry := p.log.Check(zap.DebugLevel, "event stored"); entry != nil {
			entry.Write(zap.String("event_id", w.event.ID), zap.String("event_type", w.event.Type),
				zap.String("stream", receipt.Stream), zap.Uint64("seq", receipt.Sequence))
		}
	case stream.IsTooLarge(err):
		p.metrics.rejected(w.domain, outcomeTooLarge)
		w.err = fmt.Errorf("publish %s: %w: %w", naming(w.event), ErrTooLarge, err)
	default:
		p.metrics.rejected(w.domain, outcomeUnavailable)
		if p.cfg.Health != nil {
			p.cfg.Health.Failed(p.layout.EventLog(w.domain), err)
		}
		w.err = w.failure(err)
	}
}

func (w *Pending) failure(cause error) error {
	return fmt.Errorf("publish %s: %w: %w", naming(w.event), ErrUnavailable, cause)
}

// canRetry reports an error that may disappear by itself: the connection is lost, the stream
// has no leader, no answer arrived. Whether the event was stored is not known. A refusal is
// final, above all that of a full event log: the caller gets it at once and decides.
func canRetry(err error) bool {
	if _, ok := errors.AsType[*jetstream.APIError](err); ok {
		fault := stream.FaultOf(err)
		return fault == stream.FaultLeaderless || fault == stream.FaultDisconnected || fault == stream.FaultSilent
	}
	return !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrMaxPayload)
}
