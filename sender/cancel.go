package sender

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// cancelTimeout bounds the cancelling of a timer, which holds up a settlement.
const cancelTimeout = 5 * time.Second

// isPlanned reports whether the next attempt of a delivery that was handed out before is
// planned: another sender has stored its timer, and could not settle it any more. What
// that has brought back by now is the delivery; this is what it was before. Where it
// cannot be found out the delivery is attempted.
func (l *lane) isPlanned(ctx context.Context, u *underway) bool {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	shard, d := l.terms.queue.RetryShard, u.d
	// Whoever had it before has made an attempt, and perhaps all of them.
	for n := d.Attempt + 1; n <= d.Attempt+min(u.m.Delivered-1, mostHolders); n++ {
		had, err := l.layout.HadTimer(ctx, l.js, shard, d.SubscriptionID, d.TimerKey(), d.TimerID(n))
		if err != nil {
			l.log.Debug("cannot find out whether a delivery has a retry timer, it is attempted",
				zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
			return false
		}
		if had {
			l.log.Info("another sender has planned the next attempt", zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Int("attempt", n))
			return true
		}
	}
	return false
}

// mostHolders is of how many senders that had a delivery before the timers are looked for.
const mostHolders = 4

// nextTimer is the sequence from which on timers are stored after this; 0: not known. A
// dead letter may be redriven as soon as it is stored, and what is cancelled then must not
// be the timer of an attempt after that.
func (l *lane) nextTimer(ctx context.Context) uint64 {
	ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
	defer cancel()
	head, err := stream.ReadHead(ctx, l.js, l.layout.RetryStream(l.terms.queue.RetryShard))
	if err != nil {
		return 0
	}
	return head.Last + 1
}

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
		one, err = l.layout.CancelTimer(ctx, l.nc, l.terms.queue.RetryShard, d.SubscriptionID, keys[i], u.timersBelow)
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
