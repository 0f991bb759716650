package delivery

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// An Erasable is an event of which nothing but its place, its attributes and its
// attempts is to be left.
type Erasable struct {
	// Event that is meant. Where its id is not known any more its place says it all.
	Event EventRef
	// Stored is when its event log stored it; zero where that is not known any more.
	Stored time.Time
}

// Is reports whether a record is about the event. Records hold long texts cut. A log that
// has lost its end in a crash has other events at the places of those that are gone.
func (e *Erasable) Is(ref EventRef) bool {
	return ref.Stream == e.Event.Stream && ref.Sequence == e.Event.Sequence && (e.Stored.IsZero() || ref.Stored.IsZero() || ref.Stored.Equal(e.Stored)) &&
		(e.Event.ID == "" || ref.ID == "" || sameText(ref.ID, e.Event.ID) && sameText(ref.Source, e.Event.Source))
}

func sameText(kept, whole string) bool {
	start, cut := strings.CutSuffix(kept, "…")
	return kept == whole || cut && strings.HasPrefix(whole, start)
}

// IsQueued reports whether a message of a queue, or a retry timer, of a subscription
// carries the event.
func (e *Erasable) IsQueued(subscription string, h nats.Header) bool {
	d, err := FromMessage(subscription, h, nil)
	return err == nil && e.Is(RefOf(d))
}

// Erase deletes the dead letters of an event, and returns how many these were.
func (l *DeadLetters) Erase(ctx context.Context, e *Erasable) (int, error) {
	r := stream.Range{Subject: l.layout.DeadLetterSubject("*"), FromTime: e.Stored, HeadersOnly: true}
	var found []uint64
	for record, err := range stream.Read(ctx, l.js, l.layout.DeadLetters(), r) {
		if err != nil {
			return 0, err
		}
		deadLetter := decodeDeadLetter(l.layout.DeadLetterSubscription(record.Subject), &record)
		if e.Is(deadLetter.Event) {
			found = append(found, deadLetter.Sequence)
		}
	}
	if err := ctx.Err(); err != nil { // the end of ctx ends Read as well
		return 0, err
	}
	for n, sequence := range found {
		if err := l.Remove(ctx, sequence); err != nil {
			return n, err
		}
	}
	return len(found), nil
}

// erasedBody stands in a record for an answer that may have shown the event.
const erasedBody = "[erased]"

// Erase takes the answers of receivers out of the records about an event, since an answer
// may repeat what it is an answer to. It returns of how many. The records are stored
// anew, in their order, behind all others, and then overwritten where they were: an
// interruption in between leaves some twice.
func (l *Log) Erase(ctx context.Context, e *Erasable) (int, error) {
	erased := 0
	moved := make(map[string]bool) // deliveries with a record that has moved: those behind it follow, so that their order stays
	var from []stream.Record
	for record, err := range stream.Read(ctx, l.js, l.layout.Attempts(), stream.Range{Subject: l.layout.AttemptSubject("*"), FromTime: e.Stored}) {
		if err != nil {
			return 0, err
		}
		attempts, err := decodeAttempts(&record)
		if err != nil {
			continue // it is of no event that is known
		}
		for i := range attempts {
			if a := &attempts[i]; e.Is(a.Event) && (a.ResponseBody != "" && a.ResponseBody != erasedBody || moved[a.DeliveryID]) {
				moved[a.DeliveryID] = true
				from = append(from, record)
				break
			}
		}
	}
	if err := ctx.Err(); err != nil { // the end of ctx ends Read as well
		return 0, err
	}
	if len(from) == 0 {
		return 0, nil
	}
	s, err := l.js.Stream(ctx, l.layout.Attempts())
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", l.layout.Attempts(), err)
	}
	for i := range from {
		n, err := l.eraseAnswers(ctx, s, e, &from[i])
		erased += n
		if err != nil {
			return erased, err
		}
	}
	return erased, nil
}

func (l *Log) eraseAnswers(ctx context.Context, s jetstream.Stream, e *Erasable, record *stream.Record) (int, error) {
	attempts, err := decodeAttempts(record)
	if err != nil {
		return 0, err
	}
	erased := 0
	var data []byte
	for i := range attempts {
		a := &attempts[i]
		if e.Is(a.Event) && a.ResponseBody != "" {
			a.ResponseBody = erasedBody
			erased++
		}
		if i > 0 {
			data = append(data, '\n')
		}
		data = a.append(data)
	}
	msg := &nats.Msg{Subject: record.Subject, Data: data, Header: nats.Header{stream.HeaderExpectedStream: {l.layout.Attempts()}}}
	if id := header(record.Header, stream.HeaderMessageID); id != "" { // which the log has remembered for the record as it was
		msg.Header[stream.HeaderMessageID] = []string{id + ":erased"}
	}
	if _, err := l.js.PublishMsg(ctx, msg); err != nil {
		return 0, fmt.Errorf("store attempt record %d without its answer: %w", record.Sequence, err)
	}
	if _, err := stream.EraseOf(ctx, s, record.Sequence); err != nil {
		return 0, err
	}
	return erased, nil
}
