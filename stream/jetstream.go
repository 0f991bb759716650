package stream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/stream/budget"
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
			jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, _ *jetstream.PubAck) { p.answered(m) }),
			jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, _ error) { p.answered(m) }))
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
	shares sync.Map // of *budget.Share, by the name of a stream
	open   sync.Map // of *published, by the *nats.Msg: what is not answered
}

type published struct {
	share  *budget.Share
	weight int64
}

// PublishAsync is PublishMsgAsync.
func (p *publishing) PublishAsync(subject string, data []byte, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	return p.PublishMsgAsync(&nats.Msg{Subject: subject, Data: data}, opts...)
}

// PublishMsgAsync waits for room, and publishes.
func (p *publishing) PublishMsgAsync(m *nats.Msg, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	one := &published{share: p.shareOf(m), weight: int64(len(m.Data)) + overhead}
	if !one.share.TryTake(one.weight) {
		ctx, cancel := context.WithTimeout(context.Background(), publishStall)
		defer cancel()
		if one.share.Take(ctx, one.weight) != nil {
			return nil, jetstream.ErrTooManyStalledMsgs
		}
	}
	// A message of its own, because one that is published again while the first time
	// is not answered must be counted twice.
	own := &nats.Msg{Subject: m.Subject, Reply: m.Reply, Header: m.Header, Data: m.Data}
	p.open.Store(own, one)
	future, err := p.JetStream.PublishMsgAsync(own, opts...)
	if err != nil {
		p.answered(own)
	}
	return future, err
}

// answered gives back what m holds. It may be called again, and under the lock of the
// client library.
func (p *publishing) answered(m *nats.Msg) {
	if one, ok := p.open.LoadAndDelete(m); ok {
		one := one.(*published) // nothing else is stored
		one.share.Done(one.weight)
	}
}

// shareOf is the share of the stream that m must reach.
func (p *publishing) shareOf(m *nats.Msg) *budget.Share {
	name := ""
	if values := m.Header[HeaderExpectedStream]; len(values) > 0 {
		name = values[0]
	}
	share, ok := p.shares.Load(name)
	if !ok {
		share, _ = p.shares.LoadOrStore(name, p.memory.Share(0))
	}
	return share.(*budget.Share) // nothing else is stored
}
