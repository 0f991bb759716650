package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Routed is the memory of how far an event log was routed, which is kept apart from
// the log and its consumer: some events, by place and time, up to each of which all
// were routed. An event log that has lost its end has others at their places, and the
// newest that is still where it was says from where on to route again.
//
//	marks      10  20  30  40  50        the log: 1 … 33 | 34 … 60, the latter new
//	still there ✓   ✓   ✓   –   –  ─► route again from 31 on
//
// What is routed again and has been before is recognised by its id.
type Routed struct {
	Marks []Place // by sequence
}

// A Place is an event of a log up to which all were routed.
type Place struct {
	Sequence uint64
	Stored   time.Time
}

// maxMarks bounds a Routed, so that it fits into a value of the state bucket. When
// there are more, every other one of the older half goes: near the end they are
// dense, as that is what a power loss takes.
const maxMarks = 40

// routedValue is its form in the bucket.
type routedValue struct {
	Marks [][2]int64 `json:"marks"` // sequence and Unix nanoseconds
}

// ReadRouted returns what is remembered of an event log; the zero value when that is
// nothing, or is not readable.
func (l Layout) ReadRouted(ctx context.Context, js jetstream.JetStream, domain string) (Routed, error) {
	key, err := ReadKey(ctx, js, l.StateStream(), l.StateRoutedSubject(domain))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Routed{}, nil
	}
	if err != nil {
		return Routed{}, fmt.Errorf("read how far %s was routed: %w", domain, err)
	}
	var value routedValue
	var r Routed
	if json.Unmarshal(key.Value, &value) != nil {
		return r, nil //nolint:nilerr // it is of no use, and written over
	}
	for _, m := range value.Marks {
		r.Marks = append(r.Marks, Place{uint64(m[0]), time.Unix(0, m[1])}) //nolint:gosec // as it was written
	}
	return r, nil
}

// WriteRouted replaces what is remembered of an event log.
func (l Layout) WriteRouted(ctx context.Context, js jetstream.JetStream, domain string, r Routed) error {
	value := routedValue{Marks: make([][2]int64, 0, len(r.Marks))}
	for _, m := range r.Marks {
		value.Marks = append(value.Marks, [2]int64{int64(m.Sequence), m.Stored.UnixNano()}) //nolint:gosec // no log has so many
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode how far %s was routed: %w", domain, err)
	}
	if _, err := js.Publish(ctx, l.StateRoutedSubject(domain), b); err != nil {
		return fmt.Errorf("store how far %s was routed: %w", domain, err)
	}
	return nil
}

// Newest is the last mark; the zero Place when there is none.
func (r *Routed) Newest() Place {
	if len(r.Marks) == 0 {
		return Place{}
	}
	return r.Marks[len(r.Marks)-1]
}

// Add adds a mark behind the others.
func (r *Routed) Add(m Place) {
	r.Marks = append(r.Marks, m)
	if len(r.Marks) <= maxMarks {
		return
	}
	kept := make([]Place, 0, maxMarks)
	for i, mark := range r.Marks {
		if i >= maxMarks/2 || i%2 == 0 {
			kept = append(kept, mark)
		}
	}
	r.Marks = kept
}

// Keep drops the marks behind a sequence.
func (r *Routed) Keep(upTo uint64) {
	for len(r.Marks) > 0 && r.Newest().Sequence > upTo {
		r.Marks = r.Marks[:len(r.Marks)-1]
	}
}

// A Match is what a log has at the places of the marks.
type Match struct {
	// Intact: the newest event that the log should have is there, so nothing was lost.
	Intact bool
	// From is the sequence behind the newest event that is still where it was: from
	// there on the log has to be routed again when it is not intact.
	From uint64
	// Unknown: all of the events have been erased or aged out.
	Unknown bool
}

// Match compares r with the log at a position.
func (l Layout) Match(ctx context.Context, js jetstream.JetStream, domain string, r *Routed, p *Position) (Match, error) {
	start := max(p.First, 1)
	if len(r.Marks) == 0 {
		return Match{Intact: true, From: start, Unknown: true}, nil
	}
	differs := false
	for _, m := range slices.Backward(r.Marks) {
		if m.Sequence > p.Last {
			differs = true
			continue
		}
		if m.Sequence < p.First {
			break // aged out: what is left came later
		}
		record, err := GetFromLeader(ctx, js, l.EventLog(domain), m.Sequence)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			continue // erased
		case err != nil:
			return Match{}, err
		case record.Time.Equal(m.Stored):
			return Match{Intact: !differs, From: m.Sequence + 1}, nil
		}
		differs = true
	}
	return Match{Intact: !differs, From: start, Unknown: !differs}, nil
}
