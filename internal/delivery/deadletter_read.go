package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// ErrNoDeadLetter is returned where a dead letter is not there: it never was, was
// redriven or discarded, or has aged out.
var ErrNoDeadLetter = errors.New("dead letter not found")

// A StoredDeadLetter is a dead letter with all that was kept.
type StoredDeadLetter struct {
	DeadLetter

	// Stored is when the stream stored it. With Sequence it names the dead letter: a stream
	// that has lost its end gives the same sequences again.
	Stored time.Time
	// Delivery can be made again; nil when the dead letter is not a readable one.
	Delivery *Delivery
	// Header and Data of the message that was kept; Data is that of the event.
	Header nats.Header
	Data   []byte
}

// A Selection says which dead letters. The zero value selects all.
type Selection struct {
	// Subscription they are of; stream.InvalidLetters for those of none.
	Subscription string `json:"subscription,omitempty"`
	// Reasons, of which they have one.
	Reasons []Reason `json:"reasons,omitempty"`
	// Types of their events: exact, or all that begin alike: "artifact.*".
	Types []string `json:"types,omitempty"`
	// From and To bound when they were given up: not before From, and before To.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Sequences are their places in the stream.
	Sequences []uint64 `json:"sequences,omitempty"`
}

// All reports whether s selects all dead letters.
func (s *Selection) All() bool {
	return s.Subscription == "" && len(s.Reasons) == 0 && len(s.Types) == 0 && s.From.IsZero() && s.To.IsZero() && len(s.Sequences) == 0
}

// Wants reports whether s selects a dead letter. Those that could not be read
// belong to no subscription.
func (s *Selection) Wants(l *DeadLetter) bool {
	of := l.SubscriptionID
	if of == "" {
		of = stream.InvalidLetters
	}
	return (s.Subscription == "" || s.Subscription == of) &&
		(len(s.Reasons) == 0 || slices.Contains(s.Reasons, l.Reason)) &&
		(s.From.IsZero() || !l.At.Before(s.From)) && (s.To.IsZero() || l.At.Before(s.To)) &&
		(len(s.Sequences) == 0 || slices.Contains(s.Sequences, l.Sequence)) &&
		(len(s.Types) == 0 || slices.ContainsFunc(s.Types, func(t string) bool {
			if start, wildcard := strings.CutSuffix(t, "*"); wildcard {
				return strings.HasPrefix(l.Event.Type, start)
			}
			return l.Event.Type == t
		}))
}

// subject is where what s selects is stored.
func (s *Selection) subject(layout stream.Layout) string {
	if s.Subscription == "" {
		return layout.DeadLetterSubject("*")
	}
	return layout.DeadLetterSubject(s.Subscription)
}

// Get returns the dead letter at sequence, or ErrNoDeadLetter.
func (l *DeadLetters) Get(ctx context.Context, sequence uint64) (*StoredDeadLetter, error) {
	s, err := l.handle(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := s.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || sequence == 0 {
		return nil, fmt.Errorf("dead letter %d: %w", sequence, ErrNoDeadLetter)
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letter %d: %w", sequence, err)
	}
	of := l.layout.DeadLetterSubscription(raw.Subject)
	record := stream.Record{Sequence: raw.Sequence, Time: raw.Time, Header: raw.Header, Data: raw.Data}
	deadLetter := &StoredDeadLetter{DeadLetter: decodeDeadLetter(of, &record), Stored: raw.Time, Header: raw.Header, Data: raw.Data}
	if of != stream.InvalidLetters {
		if d, err := FromMessage(of, raw.Header, raw.Data); err == nil {
			deadLetter.Delivery = d
		}
	}
	return deadLetter, nil
}

// Remove deletes the dead letter at sequence, and overwrites what was kept of its event.
// That it is gone already is not an error.
func (l *DeadLetters) Remove(ctx context.Context, sequence uint64) error {
	s, err := l.handle(ctx)
	if err != nil {
		return err
	}
	if _, err := stream.EraseOf(ctx, s, sequence); err != nil {
		return fmt.Errorf("delete dead letter %d: %w", sequence, err)
	}
	return nil
}

// Last is the sequence of the newest dead letter there has been.
func (l *DeadLetters) Last(ctx context.Context) (uint64, error) {
	head, err := stream.ReadHead(ctx, l.js, l.layout.DeadLetters())
	return head.Last, err
}

// Select yields what is selected, oldest first, with sequences of from to last. An
// error is yielded once, as the last thing. Who takes long over one should rather
// stop, and go on later from the next: meanwhile the server waits.
func (l *DeadLetters) Select(ctx context.Context, s *Selection, from, last uint64) iter.Seq2[DeadLetter, error] {
	if len(s.Sequences) > 0 {
		return l.selectByPlace(ctx, s, from, last)
	}
	r := stream.Range{Subject: s.subject(l.layout), FromSequence: from, HeadersOnly: true}
	return func(yield func(DeadLetter, error) bool) {
		for record, err := range stream.Read(ctx, l.js, l.layout.DeadLetters(), r) {
			if err != nil {
				yield(DeadLetter{}, err)
				return
			}
			if record.Sequence > last {
				return
			}
			deadLetter := decodeDeadLetter(l.layout.DeadLetterSubscription(record.Subject), &record)
			if s.Wants(&deadLetter) && !yield(deadLetter, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil { // the end of ctx ends Read as well
			yield(DeadLetter{}, err)
		}
	}
}

func (l *DeadLetters) selectByPlace(ctx context.Context, s *Selection, from, last uint64) iter.Seq2[DeadLetter, error] {
	places := slices.Compact(slices.Sorted(slices.Values(s.Sequences)))
	return func(yield func(DeadLetter, error) bool) {
		for _, sequence := range places {
			if sequence < from || sequence > last {
				continue
			}
			deadLetter, err := l.Get(ctx, sequence)
			switch {
			case errors.Is(err, ErrNoDeadLetter):
			case err != nil:
				yield(DeadLetter{}, err)
				return
			case s.Wants(&deadLetter.DeadLetter):
				if !yield(deadLetter.DeadLetter, nil) {
					return
				}
			}
		}
	}
}

// Chunks of a page of what is selected: how many dead letters are looked at first, and
// at most, at a time.
const (
	firstChunk = 256
	lastChunk  = 8192
)

// Page returns up to limit dead letters of a selection, newest first, older than
// the one at sequence before (0: from the newest).
func (l *DeadLetters) Page(ctx context.Context, s *Selection, before uint64, limit int) ([]DeadLetter, error) {
	var deadLetters []DeadLetter
	for chunk := max(firstChunk, min(limit, lastChunk)); ; chunk = min(4*chunk, lastChunk) {
		records, err := stream.LatestHeaders(ctx, l.js, l.layout.DeadLetters(), s.subject(l.layout), before, chunk)
		if err != nil {
			return nil, err
		}
		for i := range records {
			deadLetter := decodeDeadLetter(l.layout.DeadLetterSubscription(records[i].Subject), &records[i])
			if !s.Wants(&deadLetter) {
				continue
			}
			if deadLetters = append(deadLetters, deadLetter); len(deadLetters) == limit {
				return deadLetters, nil
			}
		}
		if len(records) < chunk {
			return deadLetters, nil
		}
		before = records[len(records)-1].Sequence
		if before <= 1 {
			return deadLetters, nil
		}
	}
}

// OfDelivery returns the newest dead letter of a delivery, or ErrNoDeadLetter.
func (l *DeadLetters) OfDelivery(ctx context.Context, subscription, id string) (*StoredDeadLetter, error) {
	last, err := l.Last(ctx)
	if err != nil {
		return nil, err
	}
	var newest uint64
	for deadLetter, err := range l.Select(ctx, &Selection{Subscription: subscription}, 1, last) {
		if err != nil {
			return nil, err
		}
		if deadLetter.DeliveryID == id {
			newest = deadLetter.Sequence
		}
	}
	return l.Get(ctx, newest)
}

func (l *DeadLetters) handle(ctx context.Context) (jetstream.Stream, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stream == nil {
		s, err := l.js.Stream(ctx, l.layout.DeadLetters())
		if err != nil {
			return nil, fmt.Errorf("look up stream %s: %w", l.layout.DeadLetters(), err)
		}
		l.stream = s
	}
	return l.stream, nil
}
