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

// codeHeaderTooLarge is an error code of the JetStream API that the client library
// does not name.
const codeHeaderTooLarge jetstream.ErrorCode = 10097

const (
	firstPause = 25 * time.Millisecond // between two tries, doubling
	longPause  = time.Second
	// How long an answer is waited for before the event is sent again, doubling.
	// Longer than a busy server takes; shorter than a caller likes to wait when
	// the answer was lost with a leader.
	firstPatience = time.Second
)

// A Pending is an event that was sent and whose receipt has not arrived. It is for one
// goroutine at a time.
type Pending struct {
	producer *Producer
	prepared
	future  jetstream.PubAckFuture
	earlier jetstream.PubAckFuture // one that was not answered in time, or nil
	began   time.Time              // the first try
	sent    time.Time              // the last one
	last    error                  // why the try before did not succeed, or nil

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
	if err := w.submit(ctx); err != nil {
		w.settle(Receipt{}, err)
		return nil, w.err
	}
	return w, nil
}

// submit tries until the client library has taken the message.
func (w *Pending) submit(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		var err error
		w.future, err = w.producer.js.PublishMsgAsync(w.msg, jetstream.WithStallWait(longPause))
		w.sent = time.Now()
		if err == nil {
			return nil
		}
		if !canRetry(err) || !sleepUntil(ctx, w.sent.Add(pause)) {
			return err
		}
	}
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
	retryCtx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	patience, pause := firstPatience, firstPause
	for ; ; patience, pause = 2*patience, min(2*pause, longPause) {
		ack, err := w.await(ctx, min(patience, w.producer.cfg.Timeout/3))
		if err == nil {
			w.settle(Receipt{Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate}, nil)
			return w.receipt, nil
		}
		if ctx.Err() != nil {
			return Receipt{}, w.failure(errors.Join(ctx.Err(), w.last))
		}
		w.last = err
		// Paused since it was sent, not from now on: of a thousand that were lost
		// together, those that are waited for last have been paused enough.
		if canRetry(err) && sleepUntil(retryCtx, w.sent.Add(pause)) {
			again := w.submit(retryCtx)
			if again == nil {
				continue
			}
			err = again
		}
		w.settle(Receipt{}, err)
		return Receipt{}, w.err
	}
}

// conclude is Wait for a caller that will not wait again: an event without an answer by the
// end of ctx counts as unavailable.
func (w *Pending) conclude(ctx context.Context) (Receipt, error) {
	receipt, err := w.Wait(ctx)
	if !w.settled {
		cause := ctx.Err()
		if errors.Is(cause, context.DeadlineExceeded) { // of the publish; a client that has disconnected says nothing about NATS
			cause = errors.Join(stream.ErrNoAnswer, w.last)
		}
		w.settle(Receipt{}, cause)
		err = w.err
	}
	return receipt, err
}

// await waits for the answer to the last try. That to an earlier one, if it arrives late, is
// as good and does not call the event a duplicate of itself.
func (w *Pending) await(ctx context.Context, patience time.Duration) (*jetstream.PubAck, error) {
	var late <-chan *jetstream.PubAck
	if w.earlier != nil {
		late = w.earlier.Ok()
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case ack := <-w.future.Ok():
		return ack, nil
	case ack := <-late:
		return ack, nil
	case err := <-w.future.Err():
		return nil, err
	case <-timer.C:
		w.earlier = w.future
		return nil, stream.ErrNoAnswer
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
	case isTooLarge(err):
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

// isTooLarge reports a refusal by an event log with limits of its operator's own.
func isTooLarge(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum || api.ErrorCode == codeHeaderTooLarge)
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

// sleepUntil returns false when ctx ends first.
func sleepUntil(ctx context.Context, at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
