package stream

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A RestoredConsumer is one that was missing although its stream has messages, because its
// state was damaged or it was deleted, and that was made anew.
type RestoredConsumer struct {
	Stream, Consumer string
	Known            uint64 // up to where it is known to have been
	Last             uint64 // the last sequence of the stream
	From             uint64 // what it hands out next
	Created          time.Time
}

// ensureRouter creates the consumer of an event log that all routers share. Where the log
// has events and the consumer is missing, its state is lost. It begins behind the newest
// event up to which all are known to have been routed (Routed): from the first event on,
// all would be routed again, also to subscriptions that were created later.
func (l Layout) ensureRouter(ctx context.Context, js jetstream.JetStream, domain string, restored func(RestoredConsumer)) error {
	log := l.EventLog(domain)
	_, err := js.Consumer(ctx, log, RouterConsumer)
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return ensureConsumer(ctx, js, log, l.RouterConsumerConfig())
	}
	routed, err := l.ReadRouted(ctx, js, domain)
	if err != nil && FaultOf(err) != FaultMissing { // the bucket may be missing, too
		return err
	}
	if err := ensureConsumer(ctx, js, log, l.RouterConsumerConfig()); err != nil || len(routed.Marks) == 0 {
		return err
	}
	at, err := ReadPosition(ctx, js, log, RouterConsumer)
	if err != nil || at.Messages == 0 {
		return err
	}
	match, err := l.Match(ctx, js, domain, &routed, &at)
	if err != nil {
		return err
	}
	if !match.Unknown && match.From > at.First {
		if err := SetBack(ctx, js, log, RouterConsumer, match.From); err != nil {
			return err
		}
	}
	if restored != nil {
		restored(RestoredConsumer{
			Stream: log, Consumer: RouterConsumer, Known: routed.Newest().Sequence, Last: at.Last, From: match.From, Created: at.Created,
		})
	}
	return nil
}
