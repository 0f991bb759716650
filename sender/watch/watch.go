// Package watch follows keys of the state bucket.
package watch

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// pause is between two watches, at least.
	pause = time.Second
	// maxAge is after how long a watch is opened again, in case it has stopped without an
	// error.
	maxAge = 10 * time.Minute
)

// Keys are the keys to follow, and what to do with their values.
type Keys struct {
	// What the keys hold, for the log.
	What string
	// Pattern of the keys.
	Pattern string
	// Begin is called before each watch; again: the connection is a new one, and a server
	// that has crashed may have lost changes.
	Begin func(again bool)
	// Take is called for each value and deletion.
	Take func(jetstream.KeyValueEntry)
	// Complete is called when all values that exist have been taken.
	Complete func()
}

// Follow watches until ctx ends.
func (k *Keys) Follow(ctx context.Context, nc *nats.Conn, bucket *stream.Bucket, log *zap.Logger) {
	reconnected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(reconnected)
	failed := false
	for reconnects := nc.Stats().Reconnects; ctx.Err() == nil; {
		now := nc.Stats().Reconnects
		k.Begin(now != reconnects)
		reconnects = now
		err := k.watch(ctx, bucket, reconnected)
		if err != nil && !failed && ctx.Err() == nil {
			log.Warn("failed to watch the "+k.What+", will retry", zap.Error(err))
		}
		failed = err != nil
		clock.Pause(ctx, pause)
	}
}

// watch takes all values, and then what changes, until it is time to do so again.
func (k *Keys) watch(ctx context.Context, bucket *stream.Bucket, reconnected <-chan nats.Status) error {
	ctx, cancel := context.WithTimeout(ctx, maxAge)
	defer cancel()
	kv, err := bucket.Open(ctx)
	if err != nil {
		return err
	}
	watcher, err := kv.Watch(ctx, k.Pattern)
	if err != nil {
		return err
	}
	defer func() {
		_ = watcher.Stop()
		go func() { // its goroutine ends only when all updates are read
			for range watcher.Updates() { // discarded
			}
		}()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-reconnected: // the server may have forgotten the watch
			return nil
		case e, ok := <-watcher.Updates():
			switch {
			case !ok:
				return errors.New("the watch was closed")
			case e == nil: // all values were sent
				k.Complete()
			default:
				k.Take(e)
			}
		}
	}
}
