package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/stream"
)

// recordStart is how a record begins, up to the id of its delivery. Every record is
// written by Attempt.append.
const recordStart = `{"delivery_id":"`

// Trace calls each with all attempts of some deliveries that were recorded at a time
// or later, oldest first. deliveries has the subscription of each by its id. It
// reads all that these subscriptions have recorded since, and ends early, and without
// an error, when ctx does: complete is false then.
func (l *Log) Trace(ctx context.Context, deliveries map[string]string, from time.Time, each func(Attempt)) (complete bool, err error) {
	r := stream.Range{Subjects: subjectsOf(deliveries, l.layout.AttemptSubject), FromTime: from}
	if len(r.Subjects) == 0 {
		return true, nil
	}
	for message, err := range stream.Read(ctx, l.js, l.layout.Attempts(), r) {
		if err != nil {
			return false, err
		}
		index := -1
		for line := range bytes.Lines(message.Data) {
			index++
			id, _, _ := bytes.Cut(bytes.TrimPrefix(line, []byte(recordStart)), []byte{'"'})
			subscription, wanted := deliveries[string(id)]
			if !wanted {
				continue
			}
			a := Attempt{}
			if err := json.Unmarshal(line, &a); err != nil {
				return false, fmt.Errorf("decode attempt record %d: %w", message.Sequence, err)
			}
			if a.SubscriptionID == subscription {
				a.Sequence = place(message.Sequence, index)
				each(a)
			}
		}
	}
	return ctx.Err() == nil, nil
}

// Trace calls each with all dead letters of some deliveries that were kept at a time
// or later, as that of Log does with attempts.
func (l *DeadLetters) Trace(ctx context.Context, deliveries map[string]string, from time.Time, each func(DeadLetter)) (complete bool, err error) {
	r := stream.Range{Subjects: subjectsOf(deliveries, l.layout.DeadLetterSubject), FromTime: from, HeadersOnly: true}
	if len(r.Subjects) == 0 {
		return true, nil
	}
	for record, err := range stream.Read(ctx, l.js, l.layout.DeadLetters(), r) {
		if err != nil {
			return false, err
		}
		deadLetter := decodeDeadLetter(l.layout.DeadLetterSubscription(record.Subject), &record)
		if _, wanted := deliveries[deadLetter.DeliveryID]; wanted {
			each(deadLetter)
		}
	}
	return ctx.Err() == nil, nil
}

func subjectsOf(deliveries map[string]string, subject func(string) string) []string {
	var subjects []string
	for _, subscription := range slices.Compact(slices.Sorted(maps.Values(deliveries))) {
		subjects = append(subjects, subject(subscription))
	}
	return subjects
}

// Recorded returns the subscriptions, also those that are deleted by now, of which
// there are attempts, and how many messages of the log each has.
func (l *Log) Recorded(ctx context.Context) (map[string]uint64, error) {
	return countBy(l.layout.AttemptSubscription)(stream.SubjectCounts(ctx, l.js, l.layout.Attempts(), l.layout.AttemptSubject("*")))
}

// Recorded returns the subscriptions of which there are dead letters, and how many.
func (l *DeadLetters) Recorded(ctx context.Context) (map[string]uint64, error) {
	return countBy(l.layout.DeadLetterSubscription)(stream.SubjectCounts(ctx, l.js, l.layout.DeadLetters(), l.layout.DeadLetterSubject("*")))
}

func countBy(subscription func(subject string) string) func(map[string]uint64, error) (map[string]uint64, error) {
	return func(subjects map[string]uint64, err error) (map[string]uint64, error) {
		found := make(map[string]uint64, len(subjects))
		for subject, n := range subjects {
			found[subscription(subject)] = n
		}
		return found, err
	}
}

// OriginOf is the origin of the delivery that a message of a queue carries; manual
// says that it is a manual attempt. It reads no more of the
// header than that.
func OriginOf(h nats.Header) (origin string, manual bool) {
	return header(h, stream.HeaderOrigin), header(h, stream.HeaderManual) != ""
}
