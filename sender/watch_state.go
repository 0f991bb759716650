package sender

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// stateWatchPause is between two watches, at least.
	stateWatchPause = time.Second
	// stateWatchAge is after how long a watch is opened anew, in case it stands
	// still without noticing.
	stateWatchAge = 10 * time.Minute
)

// A stateWatch keeps copies of some keys of the bucket state up to date.
type stateWatch struct {
	what string // for people
	keys string
	// begin is called before each watch; again says that the connection was made anew: a
	// server that has crashed may have lost changes.
	begin func(again bool)
	take  func(jetstream.KeyValueEntry)
	// complete is called when all that there was has been taken.
	complete func()
}

// follow watches until ctx ends.
func (s *Sender) follow(ctx context.Context, w *stateWatch) {
	reconnected := s.nc.StatusChanged(nats.CONNECTED)
	defer s.nc.RemoveStatusListener(reconnected)
	failed := false
	for reconnects := s.nc.Stats().Reconnects; ctx.Err() == nil; {
		now := s.nc.Stats().Reconnects
		w.begin(now != reconnects)
		reconnects = now
		err := s.watch(ctx, w, reconnected)
		if err != nil && !failed && ctx.Err() == nil {
			s.log.Warn("cannot follow the "+w.what+", will keep trying", zap.Error(err))
		}
		failed = err != nil
		clock.Pause(ctx, stateWatchPause)
	}
}

// watch reads all of the keys, and then what changes, until it is time to do so again.
func (s *Sender) watch(ctx context.Context, w *stateWatch, reconnected <-chan nats.Status) error {
	ctx, cancel := context.WithTimeout(ctx, stateWatchAge)
	defer cancel()
	kv, err := s.state.Open(ctx)
	if err != nil {
		return err
	}
	watcher, err := kv.Watch(ctx, w.keys)
	if err != nil {
		return err
	}
	defer func() {
		_ = watcher.Stop()
		go func() { // what it still has to say must be read, or its goroutine waits for ever
			for range watcher.Updates() { // reading is all there is to do
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
			case e == nil: // that were all
				w.complete()
			default:
				w.take(e)
			}
		}
	}
}
