package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Waiting is a message that was found in a queue.
type Waiting struct {
	Sequence uint64
	Stored   time.Time // when the queue stored it
	Header   nats.Header
	// HandedOut: a sender has it, or has handed it back to wait a little.
	HandedOut bool
}

// smallQueue is up to how many messages a queue is searched from its beginning.
const smallQueue = 64

// FindWaiting searches a queue for the first message that is wanted among those which
// it stored at a time or later. It looks at up to limit messages, a request each: a
// work queue cannot be read in any other way. What is nil when there is none; complete
// says that all were looked at. A queue that does not exist has no messages.
func FindWaiting(ctx context.Context, js jetstream.JetStream, q Queue, from time.Time, limit int, wanted func(nats.Header) bool) (what *Waiting, complete bool, err error) {
	s, err := js.Stream(ctx, q.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look up stream %s: %w", q.Stream, err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 || state.LastTime.Before(from) {
		return nil, true, nil
	}
	next := nextOf(ctx, s, q.Subject)
	start, err := firstSince(&state, from, next)
	if err != nil {
		return nil, false, err
	}
	for range limit {
		m, err := next(start)
		if err != nil {
			return nil, false, err
		}
		if m == nil {
			return nil, true, nil
		}
		if wanted(m.Header) {
			found := &Waiting{Sequence: m.Sequence, Stored: m.Time, Header: m.Header}
			found.HandedOut, err = handedOut(ctx, js, q, m.Sequence)
			return found, true, err
		}
		start = m.Sequence + 1
	}
	return nil, start > state.LastSeq, nil
}

// nextOf returns what reads the first message of a subject at a sequence or behind it; nil
// when there are no more.
func nextOf(ctx context.Context, s jetstream.Stream, subject string) func(sequence uint64) (*jetstream.RawStreamMsg, error) {
	return func(sequence uint64) (*jetstream.RawStreamMsg, error) {
		m, err := s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, nil //nolint:nilnil // there are no more
		}
		if err != nil {
			return nil, fmt.Errorf("read stream %s: %w", s.CachedInfo().Config.Name, err)
		}
		return m, nil
	}
}

// firstSince is the sequence from which on a stream is to be read for what it stored at a
// time or later.
func firstSince(state *jetstream.StreamState, from time.Time, next func(uint64) (*jetstream.RawStreamMsg, error)) (uint64, error) {
	start := state.FirstSeq
	if state.Msgs <= smallQueue {
		return start, nil
	}
	for end := state.LastSeq; start < end; {
		middle := start + (end-start)/2
		m, err := next(middle)
		if err != nil {
			return 0, err
		}
		if m == nil || !m.Time.Before(from) {
			end = middle
		} else {
			start = m.Sequence + 1
		}
	}
	return start, nil
}

// handedOut reports whether senders were given a message of a queue.
func handedOut(ctx context.Context, js jetstream.JetStream, q Queue, sequence uint64) (bool, error) {
	fields, err := ask(ctx, js, "CONSUMER.INFO."+q.Stream+"."+q.Consumer, nil, "delivered.stream_seq")
	if err != nil {
		return false, fmt.Errorf("look up consumer %s of stream %s: %w", q.Consumer, q.Stream, err)
	}
	return sequence <= fields[0].Uint(), nil
}

// RetryDueAt is when the retry timer of a delivery fires; found is false when it has
// none. key is that of the timer (see RetryAt).
func (l Layout) RetryDueAt(ctx context.Context, js jetstream.JetStream, q Queue, subscription, key string) (due time.Time, found bool, err error) {
	name := l.RetryStream(q.RetryShard)
	s, err := js.Stream(ctx, name)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	m, err := s.GetLastMsgForSubject(ctx, l.RetryAt(q.RetryShard, subscription, key))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read stream %s: %w", name, err)
	}
	due, err = scheduledFor(m.Header)
	return due, err == nil, err
}

// NextRetry is when the first of the retry timers of a subscription fires; zero when it
// has none. It is a request for each of them.
func (l Layout) NextRetry(ctx context.Context, js jetstream.JetStream, q Queue, subscription string) (time.Time, error) {
	name := l.RetryStream(q.RetryShard)
	s, err := js.Stream(ctx, name)
	if err != nil {
		return time.Time{}, fmt.Errorf("look up stream %s: %w", name, err)
	}
	var first time.Time
	for sequence := uint64(1); ; sequence++ {
		m, err := s.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(l.RetryAt(q.RetryShard, subscription, "*")))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return first, nil
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("read stream %s: %w", name, err)
		}
		if due, err := scheduledFor(m.Header); err == nil && (first.IsZero() || due.Before(first)) {
			first = due
		}
		sequence = m.Sequence
	}
}

// A Level says how full a queue is.
type Level struct {
	Messages uint64
	InFlight uint64    // handed out, and not settled
	Oldest   time.Time // when the first message was stored
	Now      time.Time // by the clock of the server
}

// ReadLevel looks at a queue and its consumer, one after the other. Its error wraps
// jetstream.ErrStreamNotFound when there is no such queue.
func ReadLevel(ctx context.Context, js jetstream.JetStream, q Queue) (Level, error) {
	s, err := js.Stream(ctx, q.Stream)
	if err != nil {
		return Level{}, fmt.Errorf("look up stream %s: %w", q.Stream, err)
	}
	info := s.CachedInfo()
	level := Level{Messages: info.State.Msgs, Oldest: info.State.FirstTime, Now: info.TimeStamp}
	if level.Messages == 0 {
		return level, nil // nothing can be in flight
	}
	fields, err := ask(ctx, js, "CONSUMER.INFO."+q.Stream+"."+q.Consumer, nil, "num_ack_pending")
	if err != nil {
		return Level{}, fmt.Errorf("look up consumer %s of stream %s: %w", q.Consumer, q.Stream, err)
	}
	level.InFlight = fields[0].Uint()
	return level, nil
}

// scheduledFor reads when a message schedule fires.
func scheduledFor(h nats.Header) (time.Time, error) {
	text := h.Get(HeaderSchedule)
	const at = "@at "
	if len(text) < len(at) {
		return time.Time{}, fmt.Errorf("header %s is %q", HeaderSchedule, text)
	}
	due, err := time.Parse(time.RFC3339Nano, text[len(at):])
	if err != nil {
		return time.Time{}, fmt.Errorf("header %s is %q", HeaderSchedule, text)
	}
	return due, nil
}

// A Routing is how far the routers are with an event log.
type Routing struct {
	Settled   uint64 // all events up to this one are on their queues
	HandedOut uint64 // no router has had those behind this one yet
}

// ReadRouting asks how far the routers are with the event log of a domain. A consumer
// that is ahead of its log says nothing about the events that are there: until it is
// set back, all of them wait.
func (l Layout) ReadRouting(ctx context.Context, js jetstream.JetStream, domain string) (Routing, error) {
	at, err := ReadPosition(ctx, js, l.EventLog(domain), RouterConsumer)
	if err != nil || at.Ahead() {
		return Routing{}, err
	}
	return Routing{Settled: at.Settled, HandedOut: at.Delivered}, nil
}

// SubjectCounts returns how many messages a stream keeps of each subject that matches
// a filter.
func SubjectCounts(ctx context.Context, js jetstream.JetStream, name, filter string) (map[string]uint64, error) {
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return info.State.Subjects, nil
}
