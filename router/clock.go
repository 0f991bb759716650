package router

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// renewTimeout bounds renewing the ack waits of a domain.
const renewTimeout = 10 * time.Second

// followClock lets the ack waits of a domain begin again when the clock of the NATS server is
// set back: they count from a time of day, and events that routers have in hand, or have handed
// back with a delay, would be handed out late. It also checks that events are handed out again
// at all, which shows a clock that was set for so short a time that no router has read it.
func (r *Router) followClock(ctx context.Context, domain string, log *zap.Logger) {
	name, first := r.layout.EventLog(domain), true
	set := func(by time.Duration) {
		if by > 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, renewTimeout)
		defer cancel()
		log.Warn("clock of the NATS server was set back, ack waits of events begin again", zap.Duration("by", by))
		if err := stream.RenewPending(ctx, r.js, name, stream.RouterConsumer); err != nil {
			log.Warn("failed to renew the ack waits of events, they may be handed out late", zap.Error(err))
		}
	}
	pending := stream.NewPendingWatch(r.js, name, stream.RouterConsumer)
	stream.WatchClock(ctx, func(ctx context.Context) (time.Time, error) {
		if err := pending.Look(ctx); err != nil {
			log.Debug("failed to read what routers have in hand, will retry", zap.Error(err))
		}
		now, last, err := stream.ServerTime(ctx, r.js, name)
		if ahead := last.Sub(now); err == nil && first && ahead > stream.LeastSet { // it was set back before this router started
			set(-ahead)
		}
		first = first && err != nil
		return now, err
	}, set)
}
