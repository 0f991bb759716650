package timers

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
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	// queueFullDelay is how long a retry waits whose queue is full.
	queueFullDelay = 30 * time.Second
	// queueDownDelay is how long a retry waits whose queue is missing or does not answer.
	queueDownDelay = 2 * time.Second
	// queuePatience is how long a queue may take to confirm a retry.
	queuePatience = 3 * time.Second
	// queueRest is for how long a queue that took none is not tried again.
	queueRest = time.Second
)

// A Pump puts the deliveries of one retry shard whose timers have fired back on their queues,
// so that every request passes the limits of its subscription:
//
//	fired ─► publish to its queue ─► confirmed ─► ack
//	                              └► refused, or no answer ─► another timer ─► ack
//
// Each is settled on its own. A retry that its queue does not take becomes a timer again and
// is not kept in hand, where it would take the place of retries of other queues: the server
// hands out only so many at a time.
type Pump struct {
	timers      *Timers
	shard       string
	view        *subscription.View
	session     *consume.Session
	reserve     *stream.Reserve
	deadLetters *delivery.DeadLetters
	health      *stream.Health
	settling    sync.WaitGroup

	mu   sync.Mutex
	down map[string]outage // by the stream of a queue
}

// An outage is that of a queue that takes no retries.
type outage struct {
	until time.Time     // the queue is not tried before
	delay time.Duration // of its retries
}

// NewPump returns the pump of a shard. health is notified of streams that store nothing.
func NewPump(t *Timers, shard string, view *subscription.View, session *consume.Session, reserve *stream.Reserve, deadLetters *delivery.DeadLetters, health *stream.Health) *Pump {
	return &Pump{timers: t, shard: shard, view: view, session: session, reserve: reserve, deadLetters: deadLetters, health: health, down: make(map[string]outage)}
}

// Run pumps until ctx ends. It settles what it has in hand by then, or drops it when work
// ends.
func (p *Pump) Run(ctx, work context.Context, pulse *consume.Pulse, memory consume.Memory) {
	defer p.settling.Wait()
	name, log := p.timers.layout.RetryStream(p.shard), p.timers.log
	pull := consume.Pull{
		Stream: name, Consumer: stream.SenderConsumer, Pulse: pulse, Memory: memory,
		Held:   consume.NewHeld(stream.AckWait, 2*stream.RetryMaxPending),
		Handle: func(ctx context.Context, msgs []*consume.Message) { p.requeue(ctx, work, msgs) },
		OnError: func(err error) {
			log.Warn("failed to pull retries, will retry", zap.String("stream", name), zap.Error(err))
		},
	}
	if err := pull.Run(ctx, p.timers.nc); err != nil && ctx.Err() == nil {
		log.Error("stopped pulling retries", zap.String("stream", name), zap.Error(err))
	}
}

// requeue publishes retries to their queues, and has each settled when its own is
// confirmed.
func (p *Pump) requeue(ctx, work context.Context, msgs []*consume.Message) {
	defer consume.KeepHolding(msgs...)()
	snapshot, err := p.view.Sync(ctx)
	if err != nil {
		for _, m := range msgs {
			p.handBack(m, err)
		}
		return
	}
	for _, m := range msgs {
		if m.Lost() { // another sender has it, or will get it
			m.Leave()
			continue
		}
		id := p.timers.layout.RetrySubscription(m.Subject)
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
		if due, mark, early := p.timers.clock.FiredEarly(work, m); early {
			p.settling.Go(func() { p.waitAgain(work, sub, m, d, due, mark) })
			continue
		}
		d.Again = d.Again || p.session.MayForget(m)
		if delay, is := p.isDown(sub.Queue.Stream); is {
			p.settling.Go(func() { p.reschedule(work, m, d, delay) })
			continue
		}
		future, err := p.timers.js.PublishMsgAsync(d.Requeued(sub.Queue.Subject, sub.Queue.Stream), requeueOptions...)
		p.settling.Go(func() { p.settle(work, sub, m, d, future, err) })
	}
}

var requeueOptions = []jetstream.PublishOpt{jetstream.WithStallWait(queuePatience), jetstream.WithRetryAttempts(0)}

var errNoAnswer = errors.New("the queue does not answer")

// settleUnowned settles a retry without a subscription. A deleted subscription has no queue,
// and its retries are deleted with it. Where the queue exists the subscription was lost: the
// queue is kept for when it is created again, and so are its retries.
func (p *Pump) settleUnowned(work context.Context, m *consume.Message, id string) {
	defer consume.KeepHolding(m)()
	ctx, cancel := context.WithTimeout(work, queuePatience)
	defer cancel()
	queue := p.timers.layout.QueueFor(id)
	_, err := p.timers.js.Stream(ctx, queue.Stream)
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
		_, err = p.timers.js.PublishMsg(ctx, d.Requeued(queue.Subject, queue.Stream), jetstream.WithRetryAttempts(0))
	}
	if err != nil {
		p.handBack(m, err)
		return
	}
	p.ack(m)
}

// settle acknowledges a retry that is back on its queue. The ack may be lost: put back again
// under the same id, the retry is stored once.
func (p *Pump) settle(work context.Context, sub *subscription.Subscription, m *consume.Message, d *delivery.Delivery, future jetstream.PubAckFuture, err error) {
	defer consume.KeepHolding(m)()
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
		err = p.reserve.Settle(ctx, func() error {
			_, err := p.timers.js.PublishMsg(ctx, d.Requeued(sub.Queue.Subject, queue), jetstream.WithRetryAttempts(0))
			return err
		})
	}
	if err == nil {
		p.health.Stored(queue)
		p.ack(m)
		return
	}
	if m.Lost() { // this process has stood still: another one puts it back
		m.Leave()
		return
	}
	delay := queueDownDelay
	if stream.ClassifyPublish(err) == stream.Full {
		delay = queueFullDelay
	} else {
		p.health.Failed(queue, err)
	}
	if isNew := p.setDown(queue, delay); isNew {
		p.timers.log.Warn("queue takes no retries, they wait longer", zap.String("stream", queue), zap.String("subscription_id", sub.ID), zap.Error(err))
	}
	p.reschedule(work, m, d, delay)
}

// reschedule stores another timer for a retry that its queue did not take. The queue may have
// it after all: put there again under the same id, it is stored once.
func (p *Pump) reschedule(work context.Context, m *consume.Message, d *delivery.Delivery, delay time.Duration) {
	due, mark := p.timers.clock.Server(work, time.Now().Add(delay+rand.N(delay/2))) //nolint:gosec // jitter
	p.setTimer(work, m, d, due, mark)
}

// waitAgain stores another timer for a retry whose timer has fired too early.
func (p *Pump) waitAgain(work context.Context, sub *subscription.Subscription, m *consume.Message, d *delivery.Delivery, due time.Time, mark stream.Mark) {
	p.timers.log.Info("retry timer has fired too early and waits again: the clock of the NATS server was set",
		zap.String("subscription_id", sub.ID), zap.String("delivery_id", d.ID))
	p.setTimer(work, m, d, due, mark)
}

// setTimer stores another timer for a retry and settles the one that has fired, unless there
// is a timer already: the queue had the retry after all, and its attempt has planned the next.
// That timer must not be replaced: the queue would reject this retry as a duplicate, and
// nothing would be left.
func (p *Pump) setTimer(work context.Context, m *consume.Message, d *delivery.Delivery, due time.Time, mark stream.Mark) {
	timer := p.timers.message(p.shard, d, due, mark)
	timer.Header.Del(stream.HeaderMessageID) // that of the timer that has fired
	ctx, cancel := context.WithTimeout(work, queuePatience)
	defer cancel()
	_, err := p.timers.js.PublishMsg(ctx, timer, jetstream.WithRetryAttempts(0), jetstream.WithExpectLastSequencePerSubject(0))
	if err != nil && !stream.IsWrongSequence(err) {
		p.handBack(m, err)
		return
	}
	p.ack(m)
}

// setDown records that a queue takes no retries. It reports whether that is new.
func (p *Pump) setDown(queue string, delay time.Duration) (isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	last, known := p.down[queue]
	p.down[queue] = outage{until: now.Add(queueRest), delay: delay}
	return !known || now.Sub(last.until) > 2*queueFullDelay
}

// isDown reports whether a queue is not to be tried now, and for how long its retries wait.
func (p *Pump) isDown(queue string) (delay time.Duration, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.down[queue]
	return o.delay, time.Now().Before(o.until)
}

func (p *Pump) keepUnreadable(work context.Context, m *consume.Message, cause error) {
	ctx, cancel := context.WithTimeout(work, queuePatience)
	defer cancel()
	if err := p.deadLetters.KeepUnreadable(ctx, m, cause); err != nil {
		p.handBack(m, err)
		return
	}
	p.ack(m)
}

func (p *Pump) ack(m *consume.Message) {
	if err := m.Ack(); err != nil {
		p.timers.log.Warn("failed to ack retry, it will be put back again under the same id", zap.String("subject", m.Subject), zap.Error(err))
	}
}

func (p *Pump) handBack(m *consume.Message, cause error) {
	p.timers.log.Warn("failed to put retry back on its queue, will try again", zap.String("subject", m.Subject), zap.Error(cause))
	if err := m.Nak(time.Second); err != nil {
		p.timers.log.Warn("failed to hand retry back, it returns after the ack wait", zap.String("subject", m.Subject), zap.Error(err))
	}
}
