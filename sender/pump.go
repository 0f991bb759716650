package sender

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/subscription"
)

// queueFullDelay is how long a retry waits whose queue is full: it has to drain
// first.
const queueFullDelay = 30 * time.Second

// pump puts the deliveries whose timers have fired back on their queues, so that
// every request passes the limits of its subscription.
func (s *Sender) pump(ctx, work context.Context, shard string) {
	pull := stream.Pull{
		Stream: s.layout.RetryStream(shard), Consumer: stream.SenderConsumer, Memory: s.memoryOfPump(), Held: stream.NewHeld(stream.RetryAckWait, 2*stream.RetryMaxPending),
		Handle: func(ctx context.Context, msgs []*stream.Message) { s.requeue(ctx, work, msgs) },
		OnError: func(err error) {
			s.log.Warn("cannot pull retries, will go on trying", zap.String("stream", s.layout.RetryStream(shard)), zap.Error(err))
		},
	}
	if err := pull.Run(ctx, s.nc); err != nil && ctx.Err() == nil {
		s.log.Error("stopped pulling retries", zap.String("stream", s.layout.RetryStream(shard)), zap.Error(err))
	}
}

// fired is a delivery whose timer has fired, on its way back to its queue.
type fired struct {
	m      *stream.Message
	queue  string                 // the stream
	future jetstream.PubAckFuture // nil: there is nothing to wait for
	err    error
}

func (s *Sender) requeue(ctx, work context.Context, msgs []*stream.Message) {
	snapshot, err := s.view.Sync(ctx)
	if err != nil {
		for _, m := range msgs {
			s.nakFired(m, time.Second, err)
		}
		return
	}
	back := make([]fired, len(msgs))
	for i, m := range msgs {
		back[i] = s.putBack(work, snapshot, m)
	}
	for i := range back {
		s.settleFired(work, &back[i])
	}
}

var requeueOptions = []jetstream.PublishOpt{jetstream.WithStallWait(5 * time.Second), jetstream.WithRetryAttempts(0)}

// putBack publishes one delivery to its queue without waiting. A subscription
// that was deleted takes its retries with it.
func (s *Sender) putBack(work context.Context, snapshot *subscription.Snapshot, m *stream.Message) fired {
	id := s.layout.RetrySubscription(m.Subject)
	sub, exists := snapshot.Get(id)
	if !exists {
		return fired{m: m}
	}
	d, err := delivery.FromMessage(id, m.Header, m.Data)
	if err != nil {
		return fired{m: m, err: s.letters.KeepUnreadable(work, m, err)}
	}
	d.Again = d.Again || s.session.MayForget(m)
	future, err := s.js.PublishMsgAsync(d.Requeued(sub.Queue.Subject, sub.Queue.Stream), requeueOptions...)
	return fired{m: m, queue: sub.Queue.Stream, future: future, err: err}
}

// settleFired acknowledges what is back on its queue. The ack may be lost: put
// back again under the same id it is stored once.
func (s *Sender) settleFired(work context.Context, f *fired) {
	if f.err == nil && f.future != nil {
		select {
		case <-f.future.Ok():
		case f.err = <-f.future.Err():
		case <-work.Done():
			f.err = work.Err()
		}
	}
	switch {
	case f.err != nil && stream.ClassifyPublish(f.err) == stream.Full:
		s.nakFired(f.m, queueFullDelay, f.err)
	case f.err != nil:
		s.cfg.Health.Failed(f.queue, f.err)
		s.nakFired(f.m, time.Second, f.err)
	default:
		s.cfg.Health.Stored(f.queue)
		if err := f.m.Ack(); err != nil {
			s.log.Warn("cannot ack retry, it will be put back again under the same id", zap.String("subject", f.m.Subject), zap.Error(err))
		}
	}
}

func (s *Sender) nakFired(m *stream.Message, delay time.Duration, cause error) {
	s.log.Warn("cannot put retry back on its queue, will try again", zap.String("subject", m.Subject), zap.Error(cause))
	if err := m.Nak(delay); err != nil {
		s.log.Warn("cannot hand retry back, it returns after the ack wait", zap.String("subject", m.Subject), zap.Error(err))
	}
}
