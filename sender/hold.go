package sender

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/stream"
)

const (
	// holdAfter is how long what follows a request may take before the server is told
	// that its delivery is still held.
	holdAfter = 2 * time.Second
	// Between two tries to store something, doubling.
	firstStorePause = 250 * time.Millisecond
	longStorePause  = 10 * time.Second
)

// holding keeps the server from handing m out again until release is called. A
// delivery whose request was made, and which cannot be settled because nothing can be
// stored, waits here: handed back, it would be requested again and again. It counts as
// in flight, so a subscription makes no more requests than that until something can be
// stored again.
func (l *lane) holding(m *stream.Message) (release func()) {
	var released atomic.Bool
	var timer atomic.Pointer[time.Timer]
	timer.Store(time.AfterFunc(holdAfter, func() {
		if released.Load() {
			return
		}
		_ = m.InProgress() // failing that, another sender gets it: as after a crash
		if t := timer.Load(); t != nil {
			t.Reset(l.cfg.HoldInterval)
		}
	}))
	return func() {
		released.Store(true)
		timer.Load().Stop()
	}
}

// insist stores what has to outlive a delivery, and tries until it is stored or ctx
// ends. what names it in the log, streamName where it belongs.
func (l *lane) insist(ctx context.Context, u *underway, what, streamName string, store func(context.Context) error) error {
	for pauseFor, failed := firstStorePause, false; ; pauseFor = min(2*pauseFor, longStorePause) {
		err := store(ctx)
		if err == nil {
			l.cfg.Health.Stored(streamName)
			return nil
		}
		l.cfg.Health.Failed(streamName, err)
		if !failed {
			l.log.Warn("cannot store "+what+", its delivery is held and not settled", zap.String("stream", streamName),
				zap.String("subscription_id", l.id), zap.String("delivery_id", u.d.ID), zap.Error(err))
		}
		failed = true
		if !pause(ctx, pauseFor) {
			return err
		}
	}
}
