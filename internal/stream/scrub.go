package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// scrubSubject is the token that stands for a subscription where a shard of retry timers
// is scrubbed: no subscription has such an id.
const scrubSubject = "_scrub"

// What fills a block of a shard, whose size the server chooses, 4 MB.
const (
	scrubMessages = 18
	scrubSize     = 256 << 10
)

// ScrubRetries has the server drop the bytes of timers that have fired, or were cancelled,
// from the file of a shard. The server marks what is deleted and keeps its bytes until a
// block is empty, or is full and mostly deleted. So the block that is being written is
// filled up, and what fills it deleted: then the server writes it anew. A full block of
// which more than half still waits stays as it is.
func (l Layout) ScrubRetries(ctx context.Context, js jetstream.JetStream, shard string) error {
	name, subject := l.RetryStream(shard), l.RetryAt(shard, scrubSubject, "block") // no consumer takes from there
	s, err := js.Stream(ctx, name)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	if s.CachedInfo().State.Msgs == 0 {
		return nil // and no block has anything
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil { // of a scrubbing that was interrupted
		return fmt.Errorf("purge %s: %w", subject, err)
	}
	filling := make([]uint64, 0, scrubMessages)
	for range scrubMessages {
		msg := &nats.Msg{Subject: subject, Data: make([]byte, scrubSize), Header: nats.Header{HeaderExpectedStream: {name}}}
		ack, err := js.PublishMsg(ctx, msg)
		if err != nil {
			return fmt.Errorf("fill a block of stream %s: %w", name, err)
		}
		filling = append(filling, ack.Sequence)
	}
	for _, sequence := range filling { // one by one: a purge writes no block anew
		if err := s.DeleteMsg(ctx, sequence); err != nil {
			return fmt.Errorf("delete record %d of stream %s: %w", sequence, name, err)
		}
	}
	return nil
}
