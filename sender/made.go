package sender

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// madeTimeout bounds the reading of the attempt log.
const madeTimeout = 4 * time.Second

// whenNotMade calls next with the messages whose deliveries are still to be made. Those
// that may have been queued twice, because a NATS server has crashed, are acknowledged when
// the attempt log says that they were delivered: see delivery.Made. It comes before
// everything else, as it may take a while: what follows must not go by a subscription
// that has changed meanwhile.
func (l *lane) whenNotMade(next func(context.Context, []*stream.Message)) func(context.Context, []*stream.Message) {
	return func(ctx context.Context, msgs []*stream.Message) {
		if !slices.ContainsFunc(msgs, func(m *stream.Message) bool { return delivery.MayBeMade(m.Header) }) {
			next(ctx, msgs)
			return
		}
		defer stream.KeepHolding(msgs...)()
		limited, cancel := context.WithTimeout(ctx, madeTimeout)
		defer cancel()
		toMake := msgs[:0]
		for _, m := range msgs {
			if !delivery.MayBeMade(m.Header) || !l.settleMade(limited, m) {
				toMake = append(toMake, m)
			}
		}
		if len(toMake) > 0 {
			next(ctx, toMake)
		}
	}
}

// settleMade settles a delivery that was made, and reports whether it has settled it. When
// the log cannot be read the delivery waits: its attempt could not be recorded either.
func (l *lane) settleMade(ctx context.Context, m *stream.Message) bool {
	d, err := delivery.FromMessage(l.id, m.Header, m.Data)
	if err != nil || d.Manual != "" {
		return false // for deliver to settle; what a person asks for is made once more
	}
	made, err := l.made.Has(ctx, d, m.Stored, l.breakerNow(ctx))
	switch {
	case err != nil:
		l.log.Warn("failed to read whether a delivery was made before, it waits",
			zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
		l.nak(m, time.Second)
	case made:
		l.metrics.repeatsAvoided.Inc()
		l.log.Info("delivery was made before NATS crashed, it is not repeated", zap.String("subscription_id", l.id),
			zap.String("delivery_id", d.ID), zap.String("event_id", d.Event.ID), zap.Uint64("seq", m.Sequence))
		l.ack(m, d)
	}
	return err != nil || made
}
