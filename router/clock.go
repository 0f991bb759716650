package router

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
)

// renewTimeout bounds renewing the ack waits of a domain.
const renewTimeout = 10 * time.Second

// followClock sees to it that the events of a domain which routers have in hand, or have
// handed back with a delay, come again in time when the clock of the NATS server is set
// back: it counts from a time of day. What it was set to for so short a time that nobody
// has read it shows in events that do not come again.
func (d *domainRoute) followClock(ctx context.Context) {
	name, first := d.layout.EventLog(d.domain), true
	set := func(by time.Duration) {
		if by > 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, renewTimeout)
		defer cancel()
		d.log.Warn("the clock of the NATS server was set back, ack waits of events begin again", zap.Duration("by", by))
		if err := stream.RenewPending(ctx, d.js, name, stream.RouterConsumer); err != nil {
			d.log.Warn("cannot renew the ack waits of events, they may come again late", zap.Error(err))
		}
	}
	pending := stream.NewPendingWatch(d.js, name, stream.RouterConsumer)
	stream.WatchClock(ctx, func(ctx context.Context) (time.Time, error) {
		if err := pending.Look(ctx); err != nil {
			d.log.Debug("cannot look at what routers have in hand, will look again", zap.Error(err))
		}
		now, last, err := stream.ServerTime(ctx, d.js, name)
		if ahead := last.Sub(now); err == nil && first && ahead > stream.LeastSet { // it was set back before this router began
			set(-ahead)
		}
		first = first && err != nil
		return now, err
	}, set)
}
