package folder

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
)

// maxBatch is how many events are published at once.
const maxBatch = 100

// The wait between two attempts to publish doubles from the first to the last.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 30 * time.Second
)

// A batch is a number of changes that are in the journal, and their events.
type batch struct {
	changes []*change
	events  []*event.Event
}

// offered is what became of a batch. What is in neither list was not published
// when Run ended.
type offered struct {
	accepted []*change
	refused  []*change
}

// offer publishes batches, one at a time, each until it is acknowledged or
// refused. When ctx has ended it begins no attempt more; the one under way goes
// on until lasting ends.
func (w *Watcher) offer(ctx, lasting context.Context, batches <-chan batch, out chan<- offered) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-batches:
			out <- w.offerBatch(ctx, lasting, b)
		}
	}
}

func (w *Watcher) offerBatch(ctx, lasting context.Context, b batch) offered {
	err := w.insist(ctx, lasting, b.events)
	switch {
	case err == nil:
		return offered{accepted: b.changes}
	case !errors.Is(err, ErrRejected):
		return offered{}
	case len(b.changes) == 1:
		w.log.Error("change refused, it will be offered again later",
			zap.String("event_id", b.events[0].ID), zap.String("event_type", b.events[0].Type),
			zap.String("path", b.changes[0].path), zap.Error(err))
		return offered{refused: b.changes}
	}
	// One by one, to find the refused one.
	var all offered
	for i := range b.changes {
		one := w.offerBatch(ctx, lasting, batch{b.changes[i : i+1], b.events[i : i+1]})
		all.accepted = append(all.accepted, one.accepted...)
		all.refused = append(all.refused, one.refused...)
	}
	return all
}

// insist publishes events until that succeeds or they are refused, and returns
// ctx's error when that ends before.
func (w *Watcher) insist(ctx, lasting context.Context, events []*event.Event) error {
	attempt := 0
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if ctx.Err() != nil {
			return struct{}{}, backoff.Permanent(ctx.Err())
		}
		attempt++
		err := w.publish(lasting, events)
		switch {
		case err == nil:
		case errors.Is(err, ErrRejected):
			err = backoff.Permanent(err)
		case attempt == 1:
			w.log.Warn("failed to publish, changes wait and will be published later", zap.Error(err))
		default:
			w.log.Debug("publishing still fails", zap.Int("attempt", attempt), zap.Error(err))
		}
		return struct{}{}, err
	}, backoff.WithBackOff(stream.Pauses(firstWait, lastWait)), backoff.WithMaxElapsedTime(0))
	switch {
	case errors.Is(err, ErrRejected):
		return err
	case err != nil:
		return ctx.Err()
	case attempt > 1:
		w.log.Info("publishing works again", zap.Int("attempt", attempt))
	}
	return nil
}
