package sender

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
// deliveries have waited when they were last looked at (watchBacklogs), until ctx ends.
func (s *Sender) watchPending(ctx context.Context) {
	watches := make(map[string]*stream.PendingWatch) // by stream
	failed := false
	for clock.Pause(ctx, pendingEvery) {
		consumers := make(map[string]string)
		for _, shard := range s.layout.RetryShards() {
			consumers[s.layout.RetryStream(shard)] = stream.SenderConsumer
		}
		for _, l := range s.backlogs.all() {
			if l.backlog.waits.Load() && len(consumers) < pendingMost {
				consumers[l.terms.queue.Stream] = l.terms.queue.Consumer
			}
		}
		var err error
		for name, consumer := range consumers {
			if watches[name] == nil {
				watches[name] = stream.NewPendingWatch(s.js, name, consumer)
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
			s.log.Warn("cannot look at what was handed out, will keep trying", zap.Error(err))
		}
		failed = err != nil
	}
}
