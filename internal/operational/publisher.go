package operational

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
)

// Config of a Publisher. The zero value is usable.
type Config struct {
	// Buffer is how many events may wait to be published. Default: 1024.
	Buffer int
	// Patience is how long the server may take to answer before an event is published
	// again, under the same id. Default: 5 s.
	Patience time.Duration
	// Grace is how long Run may take to publish what waits when its context has ended.
	// Default: 2 s.
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Buffer == 0 {
		c.Buffer = 1024
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = 2 * time.Second
	}
	return c
}

func (c Config) validate() error {
	if c.Buffer < 0 || c.Patience < 0 || c.Grace < 0 {
		return errors.New("operational events: buffer, patience and grace must be positive")
	}
	return nil
}

const (
	// inFlight is how many events are under way at a time.
	inFlight = 64
	// firstPause is between two tries, doubling up to longPause.
	firstPause = 100 * time.Millisecond
	longPause  = 5 * time.Second
)

// A Publisher publishes operational events in the background. A nil one publishes
// nothing. It is safe for concurrent use.
type Publisher struct {
	cfg     Config
	js      jetstream.JetStream
	layout  stream.Layout
	log     *zap.Logger
	metrics *metrics

	mu      sync.Mutex
	waiting []Event
	full    bool // since the buffer was last empty, and that was logged
	wake    chan struct{}
}

// NewPublisher makes one, on a connection that may publish to the domain's subjects
// (stream.RoleRouter, RoleSender or RoleControl).
func NewPublisher(cfg Config, js jetstream.JetStream, layout stream.Layout, log *zap.Logger, reg prometheus.Registerer) (*Publisher, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Publisher{cfg: cfg, js: js, layout: layout, log: log.Named("operational"), metrics: m, wake: make(chan struct{}, 1)}, nil
}

// Publish takes events for Run to publish, in their order. It never blocks. What does
// not fit is dropped: the services have priority.
func (p *Publisher) Publish(events ...Event) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		if e.kind == "" {
			continue
		}
		if len(p.waiting) >= p.cfg.Buffer {
			p.metrics.count(&e, outcomeDropped)
			if !p.full {
				p.full = true
				p.log.Warn("operational events are dropped: too many wait to be published", zap.Int("waiting", len(p.waiting)),
					zap.String("event_type", typePrefix+e.kind), zap.String("subscription_id", e.subject))
			}
			continue
		}
		p.waiting = append(p.waiting, e)
	}
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// take returns what is to be published next, or nothing.
func (p *Publisher) take() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(len(p.waiting), inFlight)
	batch := p.waiting[:n:n]
	if p.waiting = p.waiting[n:]; len(p.waiting) == 0 {
		p.waiting, p.full = nil, false
	}
	return batch
}

// Run publishes until ctx ends, and then what waits, as far as that is possible within
// the grace period. It returns nil.
func (p *Publisher) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if batch := p.take(); len(batch) > 0 {
			p.publishAll(ctx, batch)
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.Grace)
	defer cancel()
	for batch := p.take(); len(batch) > 0; batch = p.take() {
		p.publishAll(last, batch)
	}
	return nil
}

// A pendingEvent is an event that is not known to be stored.
type pendingEvent struct {
	Event

	msg    *nats.Msg
	future jetstream.PubAckFuture
	err    error
}

// publishAll tries until all events of a batch are stored or refused for good. When
// ctx ends, what is left is tried once more, and dropped.
func (p *Publisher) publishAll(ctx context.Context, batch []Event) {
	pending := make([]*pendingEvent, 0, len(batch))
	for _, e := range batch {
		ce, err := e.cloudEvent(p.layout)
		if err != nil { // a mistake in this package, which a test finds
			p.metrics.count(&e, outcomeRefused)
			p.log.Error("operational event cannot be encoded", zap.Error(err))
			continue
		}
		pending = append(pending, &pendingEvent{Event: e, msg: p.message(ce, e.kind)})
	}
	pauses := backoff.ExponentialBackOff{InitialInterval: firstPause, Multiplier: 2, MaxInterval: longPause}
	for tries := 0; ; tries++ {
		pending = p.try(pending)
		if len(pending) == 0 {
			return
		}
		if tries == 0 {
			p.log.Warn("failed to store operational events, will keep trying", zap.Int("events", len(pending)), zap.Error(pending[0].err))
		}
		timer := time.NewTimer(pauses.NextBackOff())
		select {
		case <-ctx.Done():
			timer.Stop()
			p.drop(p.try(pending))
			return
		case <-timer.C:
		}
	}
}

func (p *Publisher) message(e *event.Event, kind string) *nats.Msg {
	h := make(nats.Header, 10)
	e.SetHeader(h)
	h[stream.HeaderMessageID] = []string{e.MessageID()}
	h[stream.HeaderExpectedStream] = []string{p.layout.EventLog(stream.OperationalDomain)}
	return &nats.Msg{Subject: p.layout.EventSubject(stream.OperationalDomain, kind), Header: h, Data: e.Data}
}

// try publishes pending and returns those that are not known to be stored, in their
// order.
func (p *Publisher) try(pending []*pendingEvent) (left []*pendingEvent) {
	if !p.js.Conn().IsConnected() {
		for _, l := range pending {
			l.err = nats.ErrDisconnected
		}
		return pending
	}
	for _, l := range pending {
		// A missing stream is not waited for here: the next try is.
		l.future, l.err = p.js.PublishMsgAsync(l.msg, jetstream.WithRetryAttempts(0), jetstream.WithStallWait(p.cfg.Patience))
	}
	patience := time.NewTimer(p.cfg.Patience)
	defer patience.Stop()
	late := false
	for _, l := range pending {
		switch ack := l.await(patience.C, &late); {
		case ack == nil && isTooLarge(l.err):
			p.metrics.count(&l.Event, outcomeRefused)
			p.log.Error("operational event is refused", zap.String("event_type", typePrefix+l.kind), zap.String("subscription_id", l.subject), zap.Error(l.err))
		case ack == nil:
			left = append(left, l)
		case ack.Duplicate:
			p.metrics.count(&l.Event, outcomeDuplicate)
		default:
			p.metrics.count(&l.Event, outcomeStored)
		}
	}
	return left
}

var errNoAnswer = errors.New("no answer from the server")

// await returns the answer, or nil and sets err. Once it was late, only answers that
// are there already count.
func (l *pendingEvent) await(patience <-chan time.Time, late *bool) *jetstream.PubAck {
	if l.err != nil {
		return nil
	}
	if !*late {
		select {
		case ack := <-l.future.Ok():
			return ack
		case l.err = <-l.future.Err():
			return nil
		case <-patience:
			*late = true
		}
	}
	select {
	case ack := <-l.future.Ok():
		return ack
	case l.err = <-l.future.Err():
	default:
		l.err = errNoAnswer
	}
	return nil
}

// isTooLarge reports a refusal of this one event, by a log with limits of its
// operator's own. Whatever else is wrong is wrong with the log, and will be repaired.
func isTooLarge(err error) bool {
	if errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum
}

// drop gives pending up, when the process ends.
func (p *Publisher) drop(pending []*pendingEvent) {
	for _, l := range pending {
		p.metrics.count(&l.Event, outcomeDropped)
	}
	if len(pending) > 0 {
		p.log.Warn("operational events are dropped: jetpost is stopped before they could be stored", zap.Int("events", len(pending)), zap.Error(pending[0].err))
	}
}
