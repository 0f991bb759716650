// Package upkeep repairs what faults of NATS have left: it compares consumers with their
// streams and sets back those that are ahead, makes deliveries again that were lost with a
// queue or its retry timers, and knows what streams have lost.
//
// It reads everything, and writes how far event logs are routed, consumers that were ahead,
// and deliveries that are missing. Nothing that was stored is lost by it, and any number of
// admins may do so at a time.
package upkeep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Consumers and their streams are files of their own, and a power loss or a damaged
// file can set the one back and not the other. A consumer that is ahead of its stream
// skips what is stored from then on, and NATS says nothing about it. So admins compare
// the two, and set back a consumer that is ahead:
//
//	event logs     consumer router   against the log, and against what is remembered
//	                                 of how far it was routed (stream.Routed)
//	RETRIES_<nn>   consumer sender   against the stream
//	queues         consumer sender   against the stream, see sweepQueues
//
// It is safe: what is handed out again has the ids that it had before, and what is new
// at an old place has others. Any number of admins may do so at a time.
const (
	// positionsEvery is how often event logs and retry streams are looked at, at least;
	// with many of them less often, so that looking costs little.
	positionsEvery = 10 * time.Second
	positionsCost  = 100 * time.Millisecond // for each of them
	// confirmAfter is between two looks, both of which have to find a consumer ahead:
	// on a cluster a stream may be a moment behind the consumer while servers start.
	confirmAfter        = 500 * time.Millisecond
	confirmAfterCluster = 10 * time.Second
	// positionTimeout bounds what is done about one stream.
	positionTimeout = 30 * time.Second
	// markTimeout bounds what is done when the process ends.
	markTimeout = 2 * time.Second
)

// Positions compares consumers with their streams. Use NewPositions.
type Positions struct {
	cfg         PositionsConfig
	js          jetstream.JetStream
	layout      stream.Layout
	attempts    *delivery.Log
	deadLetters *delivery.DeadLetters
	log         *zap.Logger
	resets      prometheus.Counter

	mu   sync.Mutex // one check of the logs at a time
	logs map[string]*logMemory
}

// logMemory is what is known of one event log.
type logMemory struct {
	read   bool          // routed is what the bucket says
	routed stream.Routed // as it is in the bucket
	last   stream.Position
}

// PositionsConfig is what Positions are made with. Domains and View are required.
type PositionsConfig struct {
	// Domains are the names of the domains that there are.
	Domains func() []string
	// View is of the subscriptions.
	View *subscription.View
	// Events is where operational events go. Default: they are not published.
	Events *operational.Publisher
	// Inventory is notified of what streams have lost. Default: none.
	Inventory *inventory.Inventory
}

// NewPositions returns the positions of the consumers of an installation.
func NewPositions(cfg PositionsConfig, js jetstream.JetStream, layout stream.Layout, attempts *delivery.Log, deadLetters *delivery.DeadLetters, log *zap.Logger,
	reg prometheus.Registerer,
) (*Positions, error) {
	resets, err := newResets(reg)
	if err != nil {
		return nil, fmt.Errorf("register admin metrics: %w", err)
	}
	return &Positions{
		cfg: cfg, js: js, layout: layout, attempts: attempts, deadLetters: deadLetters, log: log, resets: resets, logs: make(map[string]*logMemory),
	}, nil
}

// Run looks periodically, and after each reconnect, until ctx ends.
func (p *Positions) Run(ctx context.Context) {
	nc := p.js.Conn()
	defer p.markLast(ctx)
	for {
		reconnects := nc.Stats().Reconnects
		streams := p.Check(ctx)
		every := max(positionsEvery, time.Duration(streams)*positionsCost)
		for until := time.Now().Add(every); time.Now().Before(until) && nc.Stats().Reconnects == reconnects; {
			if pauseFor(ctx, time.Second) != nil {
				return
			}
		}
	}
}

// markLast takes down how far the event logs are routed when this process ends, so that
// little is routed again if a consumer is lost until it starts again.
func (p *Positions) markLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), markTimeout)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, domain := range p.cfg.Domains() {
		if err := p.checkLog(ctx, domain); err != nil {
			p.log.Debug("cannot take down how far an event log is routed", zap.String("domain", domain), zap.Error(err))
			return
		}
	}
}

// Check looks once, and returns at how many streams. What fails is looked at again the
// next time. Run does so all the time; before the first event is accepted, it finds out
// exactly what a crash has left.
func (p *Positions) Check(ctx context.Context) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	domains, shards := p.cfg.Domains(), p.layout.RetryShards()
	look := func(name string, check func(context.Context) error) {
		if ctx.Err() != nil {
			return
		}
		within, cancel := context.WithTimeout(ctx, positionTimeout)
		defer cancel()
		err := check(within)
		if err != nil && !isMissing(err) && ctx.Err() == nil && p.js.Conn().IsConnected() {
			p.log.Warn("cannot compare a consumer with its stream, will try again", zap.String("stream", name), zap.Error(err))
		}
	}
	for _, domain := range domains {
		look(p.layout.EventLog(domain), func(ctx context.Context) error { return p.checkLog(ctx, domain) })
	}
	for _, shard := range shards {
		look(p.layout.RetryStream(shard), func(ctx context.Context) error { return p.checkRetries(ctx, shard) })
	}
	return len(domains) + len(shards)
}

func isMissing(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound)
}

// checkLog looks at the event log of a domain and the routers' consumer on it.
func (p *Positions) checkLog(ctx context.Context, domain string) error {
	m := p.logs[domain]
	if m == nil {
		m = &logMemory{}
		p.logs[domain] = m
	}
	reconnects := p.js.Conn().Stats().Reconnects
	at, err := p.position(ctx, domain)
	if err != nil {
		return err
	}
	if m.read && at == m.last && !at.Ahead() {
		return nil // nothing has happened
	}
	match, err := p.match(ctx, domain, m, &at)
	if err != nil {
		return err
	}
	if at.Ahead() || !match.Intact {
		if at, match, err = p.confirm(ctx, domain, m, at); err != nil {
			return err
		}
	}
	if at.Ahead() || !match.Intact {
		err = p.repairLog(ctx, domain, m, &at, match)
	} else if p.js.Conn().Stats().Reconnects == reconnects { // or the place may be another event's by now
		err = p.mark(ctx, domain, m, &at)
	}
	m.last, m.read = at, err == nil
	return err
}

func (p *Positions) position(ctx context.Context, domain string) (stream.Position, error) {
	return stream.ReadPosition(ctx, p.js, p.layout.EventLog(domain), stream.RouterConsumer)
}

// match compares an event log with what is remembered of it, which is read first: it
// may be another admin's.
func (p *Positions) match(ctx context.Context, domain string, m *logMemory, at *stream.Position) (stream.Match, error) {
	var err error
	if m.routed, err = p.layout.ReadRouted(ctx, p.js, domain); err != nil {
		return stream.Match{}, err
	}
	return p.layout.Match(ctx, p.js, domain, &m.routed, at)
}

// confirm looks again, a moment later.
func (p *Positions) confirm(ctx context.Context, domain string, m *logMemory, before stream.Position) (stream.Position, stream.Match, error) {
	if err := pauseFor(ctx, confirmPause(before.Replicas)); err != nil {
		return before, stream.Match{}, err
	}
	at, err := p.position(ctx, domain)
	if err != nil {
		return at, stream.Match{}, err
	}
	match, err := p.match(ctx, domain, m, &at)
	return at, match, err
}

func confirmPause(replicas int) time.Duration {
	if replicas > 1 {
		return confirmAfterCluster
	}
	return confirmAfter
}

func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// repairLog has the routers go on from the first event of which it is not certain that
// it was routed, and forgets what is not there any more.
func (p *Positions) repairLog(ctx context.Context, domain string, m *logMemory, at *stream.Position, match stream.Match) error {
	log, known := p.layout.EventLog(domain), m.routed.Newest().Sequence
	found := operational.ConsumerReset{
		Stream: log, Consumer: stream.RouterConsumer, Stood: at.Stood(), Last: at.Last, From: match.From, Created: at.Created,
	}
	p.lost(ctx, log, at)
	if at.Stood() < match.From { // the server has set it back itself
		p.log.Error("an event log has lost events that were routed; those behind them are routed under ids of their own",
			zap.String("stream", log), zap.String("domain", domain), zap.Uint64("seq", at.Last), zap.Uint64("routed", known))
	} else {
		if err := stream.SetBack(ctx, p.js, log, stream.RouterConsumer, match.From); err != nil {
			return err
		}
		p.tellReset(found, nil)
	}
	m.routed.Keep(match.From - 1)
	return p.layout.WriteRouted(ctx, p.js, domain, m.routed)
}

// lost has the end of a stream on record as lost that its consumer has had. Of a queue and
// of retry timers that makes the deliveries again that were there.
func (p *Positions) lost(ctx context.Context, name string, at *stream.Position) {
	if !at.Ahead() {
		return
	}
	if err := p.cfg.Inventory.WentBack(ctx, name, at.Stood()); err != nil {
		p.log.Warn("cannot take note of what a stream has lost", zap.String("stream", name), zap.Error(err))
	}
}

// mark takes down how far an event log is routed.
func (p *Positions) mark(ctx context.Context, domain string, m *logMemory, at *stream.Position) error {
	if at.Settled == 0 || at.Settled <= m.routed.Newest().Sequence {
		return nil
	}
	record, err := stream.GetFromLeader(ctx, p.js, p.layout.EventLog(domain), at.Settled)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // erased: a later one will do
	}
	if err != nil {
		return err
	}
	m.routed.Add(stream.Place{Sequence: record.Sequence, Stored: record.Time})
	return p.layout.WriteRouted(ctx, p.js, domain, m.routed)
}

// tellReset says that a consumer was set back. sub is that of the queue, nil otherwise.
func (p *Positions) tellReset(r operational.ConsumerReset, sub *subscription.Subscription) {
	p.publishReset(r, sub, "a consumer was ahead of its stream, which has lost messages, and was set back: what it skipped is handed out now")
}

func (p *Positions) publishReset(r operational.ConsumerReset, sub *subscription.Subscription, what string) {
	fields := []zap.Field{
		zap.String("stream", r.Stream), zap.String("consumer", r.Consumer), zap.Uint64("stood", r.Stood), zap.Uint64("seq", r.Last), zap.Uint64("from", r.From),
	}
	if sub != nil {
		fields = append(fields, zap.String("subscription_id", sub.ID))
		p.cfg.Events.Publish(operational.ResetQueue(sub, r))
	} else {
		p.cfg.Events.Publish(operational.Reset(r))
	}
	p.resets.Inc()
	p.log.Error(what, fields...)
}
