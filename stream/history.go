package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Record is one message as it lies in a stream.
type Record struct {
	Stream   string
	Subject  string
	Sequence uint64
	Time     time.Time // when the stream stored it
	Header   nats.Header
	Data     []byte
}

// A Range says which records of a stream to read, oldest first.
type Range struct {
	Subject      string    // only these, with wildcards; empty: all
	FromSequence uint64    // from this one on; 0: from the oldest
	FromTime     time.Time // or from the first that was stored then; zero: not by time
	Follow       bool      // go on with new ones until ctx ends
}

// Read yields the records of a range. It ends at the newest that was stored when
// Read was called, or never with Follow. An error is yielded once, as the last
// thing; the end of ctx is not an error.
func Read(ctx context.Context, js jetstream.JetStream, name string, r Range) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		err := read(ctx, js, name, r, func(rec Record) bool { return yield(rec, nil) })
		if err != nil && ctx.Err() == nil {
			yield(Record{}, fmt.Errorf("read stream %s: %w", name, err))
		}
	}
}

func read(ctx context.Context, js jetstream.JetStream, name string, r Range, yield func(Record) bool) error {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	cfg := jetstream.OrderedConsumerConfig{InactiveThreshold: time.Minute}
	if r.Subject != "" {
		cfg.FilterSubjects = []string{r.Subject}
	}
	switch {
	case !r.FromTime.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.FromTime
	case r.FromSequence > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.FromSequence
	}
	consumer, err := s.OrderedConsumer(ctx, cfg)
	if err != nil {
		return err
	}
	if !r.Follow {
		info, err := consumer.Info(ctx)
		if err != nil {
			return err
		}
		if info.NumPending == 0 {
			return nil
		}
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(2*time.Second), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	for {
		msg, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if !r.Follow && meta.Sequence.Stream > last {
			return nil
		}
		if !yield(record(name, msg, meta)) {
			return nil
		}
		if !r.Follow && (meta.NumPending == 0 || meta.Sequence.Stream == last) {
			return nil
		}
	}
}

func record(name string, msg jetstream.Msg, meta *jetstream.MsgMetadata) Record {
	return Record{
		Stream: name, Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
		Header: msg.Headers(), Data: msg.Data(),
	}
}

// Get returns one record of a stream, jetstream.ErrMsgNotFound when it is gone.
func Get(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) (Record, error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return Record{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	raw, err := s.GetMsg(ctx, sequence)
	if err != nil {
		return Record{}, fmt.Errorf("read record %d of stream %s: %w", sequence, name, err)
	}
	return Record{
		Stream: name, Subject: raw.Subject, Sequence: raw.Sequence, Time: raw.Time,
		Header: raw.Header, Data: raw.Data,
	}, nil
}

// Latest returns up to limit records of a subject, newest first, that are older
// than sequence before (0: from the newest). Pages are stable: pass the sequence
// of the last record of one page to get the next.
//
// JetStream reads forwards only, so Latest guesses from how dense the subject is
// where limit records ago must be, and reads from there; when the guess was too
// near it doubles the distance.
func Latest(ctx context.Context, js jetstream.JetStream, name, subject string, before uint64, limit int) ([]Record, error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	state := info.State
	matching := uint64(0)
	for _, n := range state.Subjects {
		matching += n
	}
	if before == 0 || before > state.LastSeq {
		before = state.LastSeq + 1
	}
	if matching == 0 || limit <= 0 || before <= state.FirstSeq {
		return nil, nil
	}
	distance := max(uint64(limit)*(state.Msgs/matching+1), 256) //nolint:gosec // limit is positive
	for {
		start := state.FirstSeq
		if before > state.FirstSeq+distance {
			start = before - distance
		}
		records, err := window(ctx, s, subject, start, before, limit)
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", name, err)
		}
		if len(records) >= limit || start == state.FirstSeq {
			slices.Reverse(records)
			return records[:min(limit, len(records))], nil
		}
		distance *= 2
	}
}

// window reads the last limit records of a subject with start <= sequence < before.
func window(ctx context.Context, s jetstream.Stream, subject string, start, before uint64, limit int) ([]Record, error) {
	consumer, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: start,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, err
	}
	var records []Record
	for ctx.Err() == nil {
		batch, err := consumer.FetchNoWait(256)
		if err != nil {
			return nil, err
		}
		n := 0
		for msg := range batch.Messages() {
			n++
			meta, err := msg.Metadata()
			if err != nil {
				return nil, err
			}
			if meta.Sequence.Stream < before {
				records = append(records, record(meta.Stream, msg, meta))
			}
			if len(records) >= 2*limit { // a dense stretch must not fill the memory
				records = append(records[:0], records[len(records)-limit:]...)
			}
			if meta.NumPending == 0 || meta.Sequence.Stream+1 >= before {
				return records, nil
			}
		}
		if err := batch.Error(); err != nil {
			return nil, err
		}
		if n == 0 {
			return records, nil
		}
	}
	return nil, ctx.Err()
}
