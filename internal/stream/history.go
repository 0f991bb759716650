package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
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
	Subjects     []string  // or these, none of which covers another
	FromSequence uint64    // from this one on; 0: from the oldest
	FromTime     time.Time // or from the first that was stored then; zero: not by time
	Follow       bool      // go on with new ones until ctx ends
	HeadersOnly  bool      // leave the data out
}

// Read yields the records of a range. It ends at the newest that was stored when
// Read was called, or with Follow only when the stream has lost what was read
// (ErrWentBack). An error is yielded once, as the last
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
	cfg := jetstream.OrderedConsumerConfig{HeadersOnly: r.HeadersOnly}
	cfg.FilterSubjects = r.Subjects
	if r.Subject != "" {
		cfg.FilterSubjects = []string{r.Subject}
	}
	switch {
	case !r.FromTime.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &r.FromTime
	case r.FromSequence > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, r.FromSequence
	}
	if !r.Follow {
		return scan(ctx, s, cfg, s.CachedInfo().State.LastSeq, yield)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	guard := &readGuard{js: js, name: name, session: js.Conn().Stats().Reconnects}
	go guard.watch(ctx, cancel)
	err = scan(ctx, s, cfg, math.MaxUint64, func(rec Record) bool {
		guard.note(&rec)
		return yield(rec)
	})
	if errors.Is(context.Cause(ctx), ErrWentBack) {
		return ErrWentBack
	}
	return err
}

// How often the server says that it is there while it has nothing to send, and
// how long a reader that is not to wait for new records waits before it asks
// whether there are more. Longer than two missed heartbeats: those come first.
const (
	readHeartbeat = time.Second
	readPatience  = 2500 * time.Millisecond
)

// readAhead is how many bytes wait for a reader at a time, above the largest record of
// any stream: less would stall.
const readAhead = 1 << 20

// scan yields the records of a consumer up to sequence last. It ends when there
// are no more of them, unless last is beyond reach: then it waits for new ones. At
// the end of ctx it ends without an error.
func scan(ctx context.Context, s jetstream.Stream, cfg jetstream.OrderedConsumerConfig, last uint64, yield func(Record) bool) error {
	follow := last == math.MaxUint64
	cfg.InactiveThreshold = time.Minute // should it be left behind
	var wait []jetstream.NextOpt
	if !follow {
		cfg.MaxResetAttempts = 4 // 1, 2 and 4 s apart
		wait = append(wait, jetstream.NextMaxWait(readPatience))
	}
	consumer, err := s.OrderedConsumer(ctx, cfg)
	if err != nil {
		return err
	}
	in := &reader{stream: s, consumer: consumer}
	if !follow {
		if info, err := consumer.Info(ctx); err != nil || info.NumPending == 0 {
			in.discard()
			return err
		}
	}
	readCtx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the reader
	arrivals, err := in.start(readCtx, wait)
	if err != nil {
		return err
	}
	for {
		var next arrival
		select {
		case <-ctx.Done():
			return nil
		case next = <-arrivals:
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(next.err, errExhausted):
			return nil
		case next.err != nil:
			return next.err
		}
		meta, err := next.msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Stream > last || !yield(record(next.msg, meta)) {
			return nil
		}
		if !follow && (meta.NumPending == 0 || meta.Sequence.Stream == last) {
			return nil
		}
	}
}

// A reader takes messages from the client library in a goroutine of its own: while
// the server is away the library does not listen to any context, for 10 s at a time.
//
//	library ──► reader ──► arrivals ──► scan ──► yield
type reader struct {
	stream   jetstream.Stream
	consumer jetstream.Consumer
}

type arrival struct {
	msg jetstream.Msg
	err error
}

// errExhausted ends a reader that is not to wait for new records.
var errExhausted = errors.New("no more records")

// start returns the channel of what arrives until ctx ends. An error is the last
// thing in it.
func (r *reader) start(ctx context.Context, wait []jetstream.NextOpt) (<-chan arrival, error) {
	messages, err := r.consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(256, readAhead),
		jetstream.PullHeartbeat(readHeartbeat), jetstream.PullExpiry(10*time.Second))
	if err != nil {
		r.discard()
		return nil, err
	}
	arrivals := make(chan arrival, 16)
	context.AfterFunc(ctx, messages.Stop)
	go func() {
		defer r.discard()
		defer messages.Stop()
		var seen jetstream.Msg
		for {
			msg, err := messages.Next(wait...)
			if errors.Is(err, nats.ErrTimeout) {
				if err = r.exhausted(ctx, seen); err == nil {
					continue
				}
			}
			select {
			case arrivals <- arrival{msg, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			seen = msg
		}
	}()
	return arrivals, nil
}

// discard deletes the consumer. A stream admits a limited number of them, and the
// server would keep this one for its InactiveThreshold.
func (r *reader) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.stream.DeleteConsumer(ctx, r.consumer.CachedInfo().Name) // or it goes by itself
}

// exhausted is errExhausted when nothing will come behind the last message seen,
// though the server had announced more: they were erased, or expired.
func (r *reader) exhausted(ctx context.Context, seen jetstream.Msg) error {
	info, err := r.consumer.Info(ctx)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil // the server has started anew, and so will the consumer
	}
	if err != nil {
		return err
	}
	// What the server has sent and we have not seen is still on its way. Only the
	// consumer's own count tells: its place in the stream jumps when records go.
	sent := info.Delivered.Consumer
	if info.NumPending > 0 || sent > 0 && seen == nil {
		return nil
	}
	if sent > 0 {
		meta, err := seen.Metadata()
		if err != nil {
			return err
		}
		if info.Name != meta.Consumer || sent > meta.Sequence.Consumer {
			return nil
		}
	}
	return errExhausted
}

func record(msg jetstream.Msg, meta *jetstream.MsgMetadata) Record {
	return Record{
		Stream: meta.Stream, Subject: msg.Subject(), Sequence: meta.Sequence.Stream, Time: meta.Timestamp,
		Header: msg.Headers(), Data: msg.Data(),
	}
}

// Get returns one record of a stream, jetstream.ErrMsgNotFound when it is deleted.
func Get(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) (Record, error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return Record{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	raw, err := s.GetMsg(ctx, sequence)
	if err != nil {
		return Record{}, fmt.Errorf("read record %d of stream %s: %w", sequence, name, err)
	}
	for _, added := range [...]string{
		jetstream.StreamHeader, jetstream.SequenceHeader, jetstream.SubjectHeader, jetstream.TimeStampHeaer,
	} {
		delete(raw.Header, added) // the answer to a direct read says in them where it is from
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
	records, _, err := latest(ctx, js, name, subject, before, limit, latestOptions{})
	return records, err
}

// LatestWithin is Latest that ends early where the data of the records takes more than
// so many bytes, but has one in any case. cut reports that it has ended for that.
func LatestWithin(ctx context.Context, js jetstream.JetStream, name, subject string, before uint64, limit, bytes int) (records []Record, cut bool, err error) {
	return latest(ctx, js, name, subject, before, limit, latestOptions{bytes: bytes})
}

// LatestLooked is Latest whose records have no data: look is shown each of them while it
// still has it, oldest first, and whatever else was read on the way. When more has to
// be read than was thought it begins anew, further back.
func LatestLooked(ctx context.Context, js jetstream.JetStream, name, subject string, before uint64, limit int, look func(*Record)) ([]Record, error) {
	records, _, err := latest(ctx, js, name, subject, before, limit, latestOptions{look: look})
	return records, err
}

// LatestHeaders is Latest without the data of the records.
func LatestHeaders(ctx context.Context, js jetstream.JetStream, name, subject string, before uint64, limit int) ([]Record, error) {
	records, _, err := latest(ctx, js, name, subject, before, limit, latestOptions{headersOnly: true})
	return records, err
}

// latestOptions are what the kinds of Latest differ in.
type latestOptions struct {
	headersOnly bool
	look        func(*Record) // see LatestLooked
	bytes       int           // see LatestWithin; 0: any number
}

func latest(ctx context.Context, js jetstream.JetStream, name, subject string, before uint64, limit int, o latestOptions) (records []Record, cut bool, err error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return nil, false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	state := info.State
	matching := uint64(0)
	for _, n := range state.Subjects {
		matching += n
	}
	if before == 0 || before > state.LastSeq {
		before = state.LastSeq + 1
	}
	first := firstSequence(state)
	if matching == 0 || limit <= 0 || before <= first {
		return nil, false, nil
	}
	distance := max(uint64(limit)*(state.Msgs/matching+1), 256) //nolint:gosec // limit is positive
	for {
		start := first
		if before > first+distance {
			start = before - distance
		}
		records, cut, err = window(ctx, s, subject, start, before, limit, o)
		if err != nil {
			return nil, false, fmt.Errorf("read stream %s: %w", name, err)
		}
		if len(records) >= limit || cut || start == first {
			slices.Reverse(records)
			return records[:min(limit, len(records))], cut, nil
		}
		distance *= 2
	}
}

// firstSequence is where reading a stream begins. The server says 0 for one that was
// empty when it was asked, although a message that came meanwhile is counted already.
func firstSequence(state jetstream.StreamState) uint64 { return max(state.FirstSeq, 1) }

// window reads the last limit records of a subject with start <= sequence < before, or
// the last of them that fit into a number of bytes: then cut is true.
func window(ctx context.Context, s jetstream.Stream, subject string, start, before uint64, limit int, o latestOptions) (records []Record, cut bool, err error) {
	bytes := 0
	cfg := jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: start,
		HeadersOnly: o.headersOnly,
	}
	err = scan(ctx, s, cfg, before-1, func(rec Record) bool {
		if len(records) >= 2*limit { // a dense stretch must not fill the memory
			for i := range records[:len(records)-limit] {
				bytes -= len(records[i].Data)
			}
			records = slices.Delete(records, 0, len(records)-limit)
		}
		if o.look != nil {
			o.look(&rec)
			rec.Data = nil
		}
		records = append(records, rec)
		bytes += len(rec.Data)
		for o.bytes > 0 && bytes > o.bytes && len(records) > 1 {
			bytes -= len(records[0].Data)
			records[0] = Record{}
			records, cut = records[1:], true
		}
		return true
	})
	if err == nil {
		err = ctx.Err()
	}
	// What was cut off may have been more than limit.
	return records, cut && len(records) < limit, err
}
