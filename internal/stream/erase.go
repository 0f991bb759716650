package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Erase deletes a message of a stream for good: the server writes its file anew, with
// random bytes in its place. It reports whether the message was there. It costs the
// writing of a block of up to 8 MB, so it is for what people want to be gone, and not for
// what comes to its end by itself.
func Erase(ctx context.Context, js jetstream.JetStream, name string, sequence uint64) (bool, error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return EraseOf(ctx, s, sequence)
}

// EraseOf is Erase for a stream that was looked up before.
func EraseOf(ctx context.Context, s jetstream.Stream, sequence uint64) (bool, error) {
	err := s.SecureDeleteMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		// The client library does not say why.
		if _, getErr := s.GetMsg(ctx, sequence); errors.Is(getErr, jetstream.ErrMsgNotFound) {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("erase record %d of stream %s: %w", sequence, s.CachedInfo().Config.Name, err)
	}
	return true, nil
}

// FindAll returns the sequences of the messages of a stream that are wanted, among those
// of a subject that were stored at a time or later. It looks at each of them, a request
// each, so it is also for work queues, which cannot be read in any other way. A stream
// that does not exist has none.
func FindAll(ctx context.Context, js jetstream.JetStream, name, subject string, from time.Time, wanted func(subject string, h nats.Header) bool) ([]uint64, error) {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	state := s.CachedInfo().State
	if state.Msgs == 0 || state.LastTime.Before(from) {
		return nil, nil
	}
	next := nextOf(ctx, s, subject)
	sequence, err := firstSince(&state, from, next)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for {
		m, err := next(sequence)
		if err != nil || m == nil {
			return found, err
		}
		if wanted(m.Subject, m.Header) {
			found = append(found, m.Sequence)
		}
		sequence = m.Sequence + 1
	}
}

// HandedOut reports whether a sender was given a message of a queue. It may have handed it
// back since.
func HandedOut(ctx context.Context, js jetstream.JetStream, q Queue, sequence uint64) (bool, error) {
	return handedOut(ctx, js, q, sequence)
}
