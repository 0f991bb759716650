package upkeep

import (
	"context"
	"slices"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Restored reports consumers of event logs that were made anew because they were
// missing: as an error in the log, an operational event and in the metric of resets.
func (p *Positions) Restored(restored ...stream.RestoredConsumer) {
	for _, r := range restored {
		p.publishReset(operational.ConsumerReset{
			Stream: r.Stream, Consumer: r.Consumer, Stood: r.Known, Last: r.Last, From: r.From, Created: r.Created,
		}, nil, "the state of the consumer of an event log was damaged or missing, and it was made anew: it goes on behind the last event that is known to be routed")
	}
}

// Discarded reports that the state of the consumer of a queue, or of a stream of
// retry timers, was damaged: it begins anew, with all that is in the stream.
func (p *Positions) Discarded(ctx context.Context, name, consumer string) {
	if !p.layout.IsWorkQueue(name, consumer) {
		return // see Restored
	}
	shape, err := stream.ReadShape(ctx, p.js, name)
	if err != nil {
		p.log.Warn("failed to look up a stream whose consumer was damaged", zap.String("stream", name), zap.Error(err))
	}
	r := operational.ConsumerReset{Stream: name, Consumer: consumer, Last: shape.Last, From: shape.First, Created: shape.Created}
	var sub *subscription.Subscription
	all := p.cfg.View.Snapshot().All()
	if n := slices.IndexFunc(all, func(s *subscription.Subscription) bool { return s.Queue.Stream == name }); n >= 0 {
		sub = all[n]
	}
	p.publishReset(r, sub, "the state of the consumer of a work queue was damaged, and it begins anew: what was in flight may be repeated")
}
