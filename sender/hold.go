package sender

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// Between two tries to store something, doubling.
const (
	firstStorePause = 250 * time.Millisecond
	longStorePause  = 10 * time.Second
)

// insist stores what has to outlive a delivery, and tries until it is stored or ctx
// ends. A delivery whose request was made, and which cannot be settled, waits here: handed
// back, it would be requested again and again. It counts as in flight, so a subscription
// makes no more requests than that until something can be stored again. what names it in the log, streamName where it belongs.
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
