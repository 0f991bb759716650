package timers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/sender/clock"
)

// overdueEvery is how often each shard is checked for overdue timers.
const overdueEvery = 15 * time.Second

// WatchOverdue finds timers that the server does not fire, see stream.OverdueWatch, until
// ctx ends, and stores them again. leads reports whether this sender does so for a shard:
// one of them is enough. rearmed counts the timers.
func (t *Timers) WatchOverdue(ctx context.Context, leads func(shard string) bool, rearmed prometheus.Counter) {
	watches := make(map[string]*stream.OverdueWatch)
	for _, shard := range t.layout.RetryShards() {
		watches[shard] = t.layout.NewOverdueWatch(t.js, shard)
	}
	failed := false
	for clock.Pause(ctx, overdueEvery) {
		read, err := t.clock.At(ctx)
		for shard, watch := range watches {
			if err != nil || !leads(shard) {
				continue
			}
			var n int
			n, err = watch.Look(ctx, read.Now(), read.Mark)
			if n > 0 {
				rearmed.Add(float64(n))
				t.log.Error("the NATS server has not fired retry timers that were due, they were stored again", zap.String("stream", t.Stream(shard)), zap.Int("timers", n))
			}
		}
		if err != nil && !failed && ctx.Err() == nil {
			t.log.Warn("failed to check for overdue retry timers, will retry", zap.Error(err))
		}
		failed = err != nil
	}
}
