package stream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream/budget"
)

// JetStream returns the JetStream context that every service uses on a
// connection. The client library never gives up waiting for an asynchronous
// publish by itself, and allows half as many under way.
func JetStream(nc *nats.Conn) (jetstream.JetStream, error) { return JetStreamWithin(nc, nil) }

// JetStreamWithin is JetStream with a bound on the bytes of asynchronous publishes
// that are not answered yet: a server in the same process holds a copy of each. They
// are shared out fairly among the streams that are published to, so that one which
// does not answer leaves room for the others. Publishing waits for room. A nil budget
// bounds nothing.
func JetStreamWithin(nc *nats.Conn, memory *budget.Budget) (jetstream.JetStream, error) {
	p := &publishing{memory: memory}
	options := []jetstream.JetStreamOpt{
		jetstream.WithPublishAsyncMaxPending(8192),
		jetstream.WithPublishAsyncTimeout(publishTimeout),
	}
	if memory != nil {
		options = append(options,
			jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, _ *jetstream.PubAck) { p.answered(m, true) }),
			jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, _ error) { p.answered(m, false) }))
	}
	js, err := jetstream.New(nc, options...)
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	if memory == nil {
		return js, nil
	}
	p.JetStream = js
	return p, nil
}

const (
	// publishTimeout is how long an asynchronous publish waits for its answer.
	publishTimeout = 10 * time.Second
	// publishStall is how long one waits for room, as the client library does for its
	// own limit.
	publishStall = 5 * time.Second
)

// publishing is a JetStream whose asynchronous publishes hold memory.
type publishing struct {
	jetstream.JetStream
	memory *budget.Budget
	flows  sync.Map // of *flow, by the name of a stream
	open   sync.Map // of *published, by the *nats.Msg: what is not answered
}

// flow is what is published to one stream.
type flow struct {
	share *budget.Share
	// stalled: there was no room for publishStall, and nothing was stored since. A stream
	// that does not answer must not hold up, publish by publish, who publishes to others too.
	stalled atomic.Bool
}

type published struct {
	flow   *flow
	weight int64
}

// PublishAsync is PublishMsgAsync.
func (p *publishing) PublishAsync(subject string, data []byte, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	return p.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, opts...)
}

// PublishMsgAsync waits for room, and publishes. It does not wait for a stream that was
// waited for before and has stored nothing since.
func (p *publishing) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	one := &published{flow: p.flowOf(m), weight: int64(len(m.Data)) + MessageOverhead}
	if err := one.takeRoom(); err != nil {
		return nil, err
	}
	// A message of its own, because one that is published again while the first time
	// is not answered must be counted twice.
	own := &nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: m.Header, Data: m.Data}
	p.open.Store(own, one)
	future, err := p.JetStream.PublishMsgAsync(own, opts...)
	if err != nil {
		p.answered(own, false)
	}
	return future, err
}

func (one *published) takeRoom() error {
	f := one.flow
	if f.share.TryTake(one.weight) {
		return nil
	}
	if f.stalled.Load() {
		return jetstream.ErrTooManyStalledMsgs
	}
	ctx, cancel := context.WithTimeout(context.Background(), publishStall)
	defer cancel()
	if f.share.Take(ctx, one.weight) != nil {
		f.stalled.Store(true)
		return jetstream.ErrTooManyStalledMsgs
	}
	return nil
}

// answered gives back what m holds. It may be called again, and under the lock of the
// client library.
func (p *publishing) answered(m *nats.Msg, stored bool) {
	if one, ok := p.open.LoadAndDelete(m); ok {
		one := one.(*published) // nothing else is stored
		if stored && one.flow.stalled.Load() {
			one.flow.stalled.Store(false)
		}
		one.flow.share.Done(one.weight)
	}
}

// flowOf is the flow of the stream that m must reach.
func (p *publishing) flowOf(m *nats.Msg) *flow {
	name := ""
	if values := m.Header[HeaderExpectedStream]; len(values) > 0 {
		name = values[0]
	}
	f, ok := p.flows.Load(name)
	if !ok {
		f, _ = p.flows.LoadOrStore(name, &flow{share: p.memory.Share(0)})
	}
	return f.(*flow) // nothing else is stored
}
