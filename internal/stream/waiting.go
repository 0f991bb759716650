package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// EachWaiting calls each with the headers of all messages of a work queue with a
// subject, a request for each. What cannot be read because its file is damaged is passed
// over. A stream that does not exist has no messages.
func EachWaiting(ctx context.Context, js jetstream.JetStream, name, subject string, each func(nats.Header)) error {
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", name, err)
	}
	damaged, err := FindDamage(ctx, js, name, 0)
	if err != nil {
		return err
	}
	seen := uint64(0)
	for _, start := range append([]uint64{0}, damaged...) { // at a damaged one, the search for the next ends
		for next := max(start, seen) + 1; ; next = seen + 1 {
			m, err := s.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				break
			}
			if err != nil {
				return fmt.Errorf("read stream %s: %w", name, err)
			}
			each(m.Header)
			seen = m.Sequence
		}
	}
	return nil
}

// RetryTimers calls each with the headers of all retry timers of a subscription, and of
// those that have fired and are not on the queue yet.
func (l Layout) RetryTimers(ctx context.Context, js jetstream.JetStream, q Queue, subscription string, each func(nats.Header)) error {
	for _, subject := range [...]string{l.RetryAt(q.RetryShard, subscription, "*"), l.RetryDue(q.RetryShard, subscription)} {
		if err := EachWaiting(ctx, js, l.RetryStream(q.RetryShard), subject, each); err != nil {
			return err
		}
	}
	return nil
}
