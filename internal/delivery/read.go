package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/jetpost/jetpost/internal/stream"
)

// Next is the Sequence that the next record will have at least.
func (l *Log) Next(ctx context.Context) (uint64, error) {
	head, err := stream.ReadHead(ctx, l.js, l.layout.Attempts())
	return place(head.Last+1, 0), err
}

// Latest returns up to limit attempts of a subscription, newest first, older
// than the one at sequence before (0: from the newest).
func (l *Log) Latest(ctx context.Context, subscription string, before uint64, limit int) ([]Attempt, error) {
	below := uint64(0)
	if before > 0 {
		below = before>>indexBits + 1 // its own message too: other records in it may be older
	}
	messages, err := stream.Latest(ctx, l.js, l.layout.Attempts(), l.layout.AttemptSubject(subscription), below, limit+1)
	if err != nil {
		return nil, err
	}
	attempts := make([]Attempt, 0, limit)
	for i := range messages {
		records, err := decodeAttempts(&messages[i])
		if err != nil {
			return nil, err
		}
		for _, a := range slices.Backward(records) {
			if before > 0 && a.Sequence >= before {
				continue
			}
			if len(attempts) == limit {
				return attempts, nil
			}
			attempts = append(attempts, a)
		}
	}
	return attempts, nil
}

// OfDelivery returns the latest attempt of a delivery, nil when there is none.
func (l *Log) OfDelivery(ctx context.Context, subscription, id string) (*Attempt, error) {
	before := uint64(0)
	for chunk := firstChunk; ; chunk = min(4*chunk, lastChunk) {
		attempts, err := l.Latest(ctx, subscription, before, chunk)
		if err != nil {
			return nil, err
		}
		for i := range attempts {
			if attempts[i].DeliveryID == id {
				return &attempts[i], nil
			}
		}
		if len(attempts) < chunk {
			return nil, ctx.Err()
		}
		before = attempts[len(attempts)-1].Sequence
	}
}

// Follow yields attempts as they are recorded, from sequence on (0: from the
// oldest), until ctx ends. An empty subscription means all of them.
func (l *Log) Follow(ctx context.Context, subscription string, from uint64) iter.Seq2[Attempt, error] {
	r := stream.Range{FromSequence: from >> indexBits, Follow: true}
	if subscription != "" {
		r.Subject = l.layout.AttemptSubject(subscription)
	}
	return func(yield func(Attempt, error) bool) {
		for message, err := range stream.Read(ctx, l.js, l.layout.Attempts(), r) {
			if err != nil {
				yield(Attempt{}, err)
				return
			}
			records, err := decodeAttempts(&message)
			for _, a := range records {
				if a.Sequence >= from && !yield(a, nil) {
					return
				}
			}
			if err != nil {
				yield(Attempt{}, err)
				return
			}
		}
	}
}

// decodeAttempts reads the records of a message, oldest first.
func decodeAttempts(r *stream.Record) ([]Attempt, error) {
	var attempts []Attempt
	for line := range bytes.Lines(r.Data) {
		a := Attempt{}
		if err := json.Unmarshal(line, &a); err != nil {
			return attempts, fmt.Errorf("decode attempt record %d: %w", r.Sequence, err)
		}
		a.Sequence = place(r.Sequence, len(attempts))
		attempts = append(attempts, a)
	}
	return attempts, nil
}
