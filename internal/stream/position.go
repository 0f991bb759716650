package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A Position is where a consumer stands in its stream. A consumer whose state is ahead
// of its stream skips what is stored from then on: its files and those of the stream
// reach the disk separately, so a power loss can take the end of the one alone, and a
// stream whose files are damaged begins again at 1.
type Position struct {
	Delivered  uint64 // sequence of the last message that was handed out
	Settled    uint64 // the ack floor: all messages up to this one were acknowledged
	InFlight   uint64 // messages that were handed out and not acknowledged
	First      uint64 // sequence of the oldest message of the stream
	Last       uint64 // sequence of the last message there ever was
	Messages   uint64
	LastStored time.Time // when the last message was stored
	Created    time.Time // the stream
	Replicas   int
}

// Ahead reports whether the consumer has handed out, or settled, what its stream does
// not have.
func (p *Position) Ahead() bool { return p.Stood() > p.Last }

// Stood is up to where the consumer takes messages for handed out.
func (p *Position) Stood() uint64 { return max(p.Delivered, p.Settled) }

// ReadPosition asks for the position of a consumer. The consumer is asked first: what
// it has handed out by then, its stream has when that is asked.
func ReadPosition(ctx context.Context, js jetstream.JetStream, name, consumer string) (Position, error) {
	c, err := ask(ctx, js, "CONSUMER.INFO."+name+"."+consumer, nil, "delivered.stream_seq", "ack_floor.stream_seq", "num_ack_pending")
	if err != nil {
		return Position{}, fmt.Errorf("look up consumer %s of stream %s: %w", consumer, name, err)
	}
	s, err := ask(ctx, js, "STREAM.INFO."+name, nil, "state.last_seq", "state.first_seq", "state.messages", "state.last_ts", "created", "config.num_replicas")
	if err != nil {
		return Position{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return Position{
		Delivered: c[0].Uint(), Settled: c[1].Uint(), InFlight: c[2].Uint(),
		Last: s[0].Uint(), First: s[1].Uint(), Messages: s[2].Uint(), LastStored: s[3].Time(), Created: s[4].Time(), Replicas: int(s[5].Int()),
	}, nil
}

// SetBack has a consumer hand out again everything from a sequence on. What is in
// flight is handed out once more.
func SetBack(ctx context.Context, js jetstream.JetStream, name, consumer string, from uint64) error {
	if _, err := js.ResetConsumerToSequence(ctx, name, consumer, max(from, 1)); err != nil {
		return fmt.Errorf("set consumer %s of stream %s back to %d: %w", consumer, name, from, err)
	}
	return nil
}

// NextOf asks the leader of a stream for its first message of a subject (with
// wildcards) from a sequence on; jetstream.ErrMsgNotFound when there is none.
func NextOf(ctx context.Context, js jetstream.JetStream, name, subject string, from uint64) (*Record, error) {
	request := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, max(from, 1), subject)
	r, err := askForRecord(ctx, js, name, request)
	if err != nil {
		return nil, fmt.Errorf("read the first message of %s in stream %s from %d on: %w", subject, name, from, err)
	}
	return r, nil
}
