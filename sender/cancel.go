package sender

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// cancelTimeout bounds the cancelling of a timer, which holds up a settlement.
const cancelTimeout = 5 * time.Second

// cancelTimer takes back the retry that waits for a delivery, and reports whether there
// was one. When it cannot, the receiver gets the delivery once more, under the same id.
func (l *lane) cancelTimer(ctx context.Context, u *underway) bool {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	d, keys := *u.d, []string{u.d.TimerKey()}
	if d.Manual != "" { // one that was asked for has no timer: it is about that of the schedule
		d.Manual = ""
		keys = d.TimerKeys()
	}
	cancelled, err := false, error(nil)
	for i := 0; i < len(keys) && err == nil; i++ {
		var one bool
		one, err = l.layout.CancelTimer(ctx, l.nc, l.terms.queue.RetryShard, d.SubscriptionID, keys[i])
		cancelled = cancelled || one
	}
	switch {
	case err != nil:
		l.log.Warn("cannot cancel the retry timer of a delivery that has been made, it may be made again",
			zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
	case cancelled:
		l.log.Info("retry timer cancelled", zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Bool("manual", u.d.Manual != ""))
	}
	return cancelled
}
