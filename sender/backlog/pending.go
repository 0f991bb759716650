package backlog

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// pendingEvery is how often consumers are looked at for messages that they will not
	// hand out again in time, see stream.PendingWatch.
	pendingEvery = 15 * time.Second
	// pendingMost bounds how many queues are looked at each time.
	pendingMost = 256
)

// watchPending looks at the consumers of the retry streams, and of the queues in which
// deliveries waited at the last look, until ctx ends.
func (w *Watcher) watchPending(ctx context.Context) {
	watches := make(map[string]*stream.PendingWatch) // by stream
	failed := false
	for clock.Pause(ctx, pendingEvery) {
		consumers := make(map[string]string)
		for _, shard := range w.layout.RetryShards() {
			consumers[w.layout.RetryStream(shard)] = stream.SenderConsumer
		}
		for _, q := range w.all() {
			if q.waits.Load() && len(consumers) < pendingMost {
				consumers[q.source.Queue.Stream] = q.source.Queue.Consumer
			}
		}
		var err error
		for name, consumer := range consumers {
			if watches[name] == nil {
				watches[name] = stream.NewPendingWatch(w.js, name, consumer)
			}
			if err == nil { // or the next time
				err = watches[name].Look(ctx)
			}
		}
		for name := range watches {
			if _, still := consumers[name]; !still {
				delete(watches, name)
			}
		}
		if err != nil && !failed && ctx.Err() == nil {
			w.log.Warn("failed to read what consumers have handed out, will retry", zap.Error(err))
		}
		failed = err != nil
	}
}
