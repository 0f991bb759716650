package sender

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// queueFullDelay is how long a retry waits whose queue is full: it has to drain
	// first.
	queueFullDelay = 30 * time.Second
	// queueDownDelay is how long a retry waits whose queue is missing or does not answer.
	queueDownDelay = 2 * time.Second
	// queuePatience is how long a queue may take to confirm a retry.
	queuePatience = 3 * time.Second
	// queueRest is for how long a queue that took none is not tried with others.
	queueRest = time.Second
)

// A pump puts the deliveries of one retry shard whose timers have fired back on their
// queues, so that every request passes the limits of its subscription:
//
//	fired ─► publish to its queue ─► confirmed ─► ack
//	                              └► refused, or no answer ─► another timer ─► ack
//
// Each is settled on its own. What its queue does not take becomes a timer again and
// does not stay in hand, where it would take the place of retries of other queues: the
// server hands out only so many at a time.
type pump struct {
	s        *Sender
	shard    string
	settling sync.WaitGroup

	mu   sync.Mutex
	down map[string]outage // by the stream of a queue
}

// An outage is of a queue that takes no retries.
type outage struct {
	until time.Time     // before then it is not tried
	delay time.Duration // of what is for it
}

// pump runs the pump of a shard until ctx ends. What it has in hand by then it settles,
// or drops when work ends.
func (s *Sender) pump(ctx, work context.Context, shard string) {
	p := &pump{s: s, shard: shard, down: make(map[string]outage)}
	defer p.settling.Wait()
	pull := stream.Pull{
		Stream: s.layout.RetryStream(shard), Consumer: stream.SenderConsumer, Pulse: s.pulse, Memory: s.memoryOfPump(),
		Held:   stream.NewHeld(stream.AckWait, 2*stream.RetryMaxPending),
		Handle: func(ctx context.Context, msgs []*stream.Message) { p.requeue(ctx, work, msgs) },
		OnError: func(err error) {
			s.log.Warn("cannot pull retries, will go on trying", zap.String("stream", s.layout.RetryStream(shard)), zap.Error(err))
		},
	}
	if err := pull.Run(ctx, s.nc); err != nil && ctx.Err() == nil {
		s.log.Error("stopped pulling retries", zap.String("stream", s.layout.RetryStream(shard)), zap.Error(err))
	}
}

// requeue publishes retries to their queues, and has each settled when its own is
// confirmed.
func (p *pump) requeue(ctx, work context.Context, msgs []*stream.Message) {
	defer stream.KeepHolding(msgs...)()
	snapshot, err := p.s.view.Sync(ctx)
	if err != nil {
		for _, m := range msgs {
			p.handBack(m, err)
		}
		return
	}
	for _, m := range msgs {
		if m.Lost() { // another sender has it, or will soon
			m.Leave()
			continue
		}
		id := p.s.layout.RetrySubscription(m.Subject)
		sub, exists := snapshot.Get(id)
		if !exists {
			p.settling.Go(func() { p.settleUnowned(work, m, id) })
			continue
		}
		d, err := delivery.FromMessage(id, m.Header, m.Data)
		if err != nil {
			p.settling.Go(func() { p.keepUnreadable(work, m, err) })
			continue
		}
		if due, mark, early := p.s.clock.FiredEarly(work, m); early {
			p.settling.Go(func() { p.waitAgain(work, sub, m, d, due, mark) })
			continue
		}
		d.Again = d.Again || p.s.session.MayForget(m)
		if delay, is := p.isDown(sub.Queue.Stream); is {
			p.settling.Go(func() { p.reschedule(work, sub, m, d, delay) })
			continue
		}
		future, err := p.s.js.PublishMsgAsync(d.Requeued(sub.Queue.Subject, sub.Queue.Stream), requeueOptions...)
		p.settling.Go(func() { p.settle(work, sub, m, d, future, err) })
	}
}

var requeueOptions = []jetstream.PublishOpt{jetstream.WithStallWait(queuePatience), jetstream.WithRetryAttempts(0)}

var errNoAnswer = errors.New("the queue does not answer")

// settleUnowned settles a retry without a subscription. One that was deleted has no queue
// and takes its retries with it. Where the queue is there the subscription was lost: the
// queue is kept for when it is created again, and so is what belongs to it.
func (p *pump) settleUnowned(work context.Context, m *stream.Message, id string) {
	defer stream.KeepHolding(m)()
	ctx, cancel := context.WithTimeout(work, queuePatience)
	defer cancel()
	queue := p.s.layout.QueueFor(id)
	_, err := p.s.js.Stream(ctx, queue.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		p.ack(m)
		return
	}
	if err == nil {
		var d *delivery.Delivery
		if d, err = delivery.FromMessage(id, m.Header, m.Data); err != nil {
			p.keepUnreadable(work, m, err)
			return
		}
		_, err = p.s.js.PublishMsg(ctx, d.Requeued(queue.Subject, queue.Stream), jetstream.WithRetryAttempts(0))
	}
	if err != nil {
		p.handBack(m, err)
		return
	}
	p.ack(m)
}

// settle acknowledges what is back on its queue. The ack may be lost: put back again
// under the same id it is stored once.
func (p *pump) settle(work context.Context, sub *subscription.Subscription, m *stream.Message, d *delivery.Delivery, future jetstream.PubAckFuture, err error) {
	defer stream.KeepHolding(m)()
	if err == nil {
		patience := time.NewTimer(queuePatience)
		defer patience.Stop()
		select {
		case <-future.Ok():
		case err = <-future.Err():
		case <-patience.C:
			err = errNoAnswer
		case <-work.Done():
			p.handBack(m, work.Err())
			return
		}
	}
	queue := sub.Queue.Stream
	if stream.FaultOf(err) == stream.FaultStorage {
		ctx, cancel := context.WithTimeout(work, queuePatience)
		defer cancel()
		err = p.s.reserve.Settle(ctx, func() error {
			_, err := p.s.js.PublishMsg(ctx, d.Requeued(sub.Queue.Subject, queue), jetstream.WithRetryAttempts(0))
			return err
		})
	}
	if err == nil {
		p.s.cfg.Health.Stored(queue)
		p.ack(m)
		return
	}
	if m.Lost() { // this process has stood still: another one has put it back, or will
		m.Leave()
		return
	}
	delay := queueDownDelay
	if stream.ClassifyPublish(err) == stream.Full {
		delay = queueFullDelay
	} else {
		p.s.cfg.Health.Failed(queue, err)
	}
	if isNew := p.setDown(queue, delay); isNew {
		p.s.log.Warn("queue takes no retries, they wait a little longer", zap.String("stream", queue), zap.String("subscription_id", sub.ID), zap.Error(err))
	}
	p.reschedule(work, sub, m, d, delay)
}

// reschedule stores another timer for a retry that its queue did not take. Whether the
// queue has it after all may not be known: put there again under the same id it is stored
// once.
func (p *pump) reschedule(work context.Context, sub *subscription.Subscription, m *stream.Message, d *delivery.Delivery, delay time.Duration) {
	due, mark := p.s.clock.Server(work, time.Now().Add(delay+rand.N(delay/2))) //nolint:gosec // jitter
	p.setTimer(work, sub, m, d, due, mark)
}

// waitAgain stores another timer for a retry whose timer has fired too early.
func (p *pump) waitAgain(work context.Context, sub *subscription.Subscription, m *stream.Message, d *delivery.Delivery, due time.Time, mark stream.Mark) {
	p.s.log.Info("a retry timer has fired too early and waits again: the clock of the NATS server was set",
		zap.String("subscription_id", sub.ID), zap.String("delivery_id", d.ID))
	p.setTimer(work, sub, m, d, due, mark)
}

// setTimer stores another timer for a retry and settles the one that has fired, unless there
// is a timer already: the queue had the retry after all, it was attempted meanwhile, and has
// planned the next. That must not be replaced. The retry that comes back in its place would
// be recognized by its queue as one that it has had, and nothing would be left.
func (p *pump) setTimer(work context.Context, sub *subscription.Subscription, m *stream.Message, d *delivery.Delivery, due time.Time, mark stream.Mark) {
	timer := d.Timer(p.s.layout.RetryAt(p.shard, sub.ID, d.TimerKey()), p.s.layout.RetryDue(p.shard, sub.ID), due)
	mark.SetTimer(timer.Header, due)
	timer.Header.Del(stream.HeaderMessageID) // of the one that has fired: this is another
	ctx, cancel := context.WithTimeout(work, queuePatience)
	defer cancel()
	_, err := p.s.js.PublishMsg(ctx, timer, jetstream.WithRetryAttempts(0), jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil && !stream.IsWrongSequence(err) {
		p.handBack(m, err)
		return
	}
	p.ack(m)
}

// setDown notes that a queue takes no retries. It reports whether that is news.
func (p *pump) setDown(queue string, delay time.Duration) (isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	last, known := p.down[queue]
	p.down[queue] = outage{until: now.Add(queueRest), delay: delay}
	return !known || now.Sub(last.until) > 2*queueFullDelay
}

// isDown reports whether a queue is not to be tried now, and for how long its retries
// wait.
func (p *pump) isDown(queue string) (delay time.Duration, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.down[queue]
	return o.delay, time.Now().Before(o.until)
}

func (p *pump) keepUnreadable(work context.Context, m *stream.Message, cause error) {
	ctx, cancel := context.WithTimeout(work, queuePatience)
	defer cancel()
	if err := p.s.letters.KeepUnreadable(ctx, m, cause); err != nil {
		p.handBack(m, err)
		return
	}
	p.ack(m)
}

func (p *pump) ack(m *stream.Message) {
	if err := m.Ack(); err != nil {
		p.s.log.Warn("cannot ack retry, it will be put back again under the same id", zap.String("subject", m.Subject), zap.Error(err))
	}
}

func (p *pump) handBack(m *stream.Message, cause error) {
	p.s.log.Warn("cannot put retry back on its queue, will try again", zap.String("subject", m.Subject), zap.Error(cause))
	if err := m.Nak(time.Second); err != nil {
		p.s.log.Warn("cannot hand retry back, it returns after the ack wait", zap.String("subject", m.Subject), zap.Error(err))
	}
}
