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
	// publisher does not repeat: a batch does, so that its events keep their order.
	publisher *stream.Publisher

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
	return &Publisher{
		cfg: cfg, js: js, layout: layout, log: log.Named("operational"), metrics: m,
		publisher: stream.NewPublisher(stream.PublisherConfig{Stall: cfg.Patience}, js), wake: make(chan struct{}, 1),
	}, nil
}

// Publish takes events for Run to publish, in their order. It never blocks. What does
// not fit is dropped: first of all the work goes on.
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

// An outgoing event is one that is being published.
type outgoing struct {
	Event

	msg         *nats.Msg
	sent        bool
	publication stream.Publication
	err         error // why it is not known to be stored
}

// publishAll tries until all events of a batch are stored or refused for good. When
// ctx ends, what is left is tried once more, and dropped.
func (p *Publisher) publishAll(ctx context.Context, batch []Event) {
	events := make([]*outgoing, 0, len(batch))
	for _, e := range batch {
		ce, err := e.cloudEvent(p.layout)
		if err != nil { // a mistake in this package, which a test finds
			p.metrics.count(&e, outcomeRefused)
			p.log.Error("operational event cannot be encoded", zap.Error(err))
			continue
		}
		events = append(events, &outgoing{Event: e, msg: p.message(ce, e.kind)})
	}
	pauses := backoff.ExponentialBackOff{InitialInterval: firstPause, Multiplier: 2, MaxInterval: longPause}
	for tries := 0; ; tries++ {
		events = p.try(events)
		if len(events) == 0 {
			return
		}
		if tries == 0 {
			p.log.Warn("failed to store operational events, will keep trying", zap.Int("events", len(events)), zap.Error(events[0].err))
		}
		timer := time.NewTimer(pauses.NextBackOff())
		select {
		case <-ctx.Done():
			timer.Stop()
			p.drop(p.try(events))
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

// try publishes events and returns those that are not known to be stored, in their
// order.
func (p *Publisher) try(events []*outgoing) (left []*outgoing) {
	if !p.js.Conn().IsConnected() {
		for _, e := range events {
			e.err = nats.ErrDisconnected
		}
		return events
	}
	for _, e := range events {
		if e.sent {
			e.publication.Again()
			continue
		}
		e.publication, e.sent = p.publisher.Send(e.msg), true
	}
	patience, cancel := context.WithTimeout(context.Background(), p.cfg.Patience)
	defer cancel()
	for _, e := range events {
		var ack *jetstream.PubAck
		switch ack, e.err = e.publication.Answer(patience.Done()); {
		case stream.IsTooLarge(e.err):
			p.metrics.count(&e.Event, outcomeRefused)
			p.log.Error("operational event is refused", zap.String("event_type", typePrefix+e.kind), zap.String("subscription_id", e.subject), zap.Error(e.err))
		case e.err != nil:
			left = append(left, e)
		case ack.Duplicate:
			p.metrics.count(&e.Event, outcomeDuplicate)
		default:
			p.metrics.count(&e.Event, outcomeStored)
		}
	}
	return left
}

// drop gives events up when the process ends.
func (p *Publisher) drop(events []*outgoing) {
	for _, e := range events {
		p.metrics.count(&e.Event, outcomeDropped)
	}
	if len(events) > 0 {
		p.log.Warn("operational events are dropped: jetpost is stopped before they could be stored", zap.Int("events", len(events)), zap.Error(events[0].err))
	}
}
