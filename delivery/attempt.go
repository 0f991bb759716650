package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/stream"
)

// An Attempt records one HTTP request and how it was judged. It holds no secret:
// the URL is without its query, the headers are not kept.
type Attempt struct {
	DeliveryID     string    `json:"delivery_id"`
	SubscriptionID string    `json:"subscription_id"`
	Event          EventRef  `json:"event"`
	Attempt        int       `json:"attempt"` // from 1
	At             time.Time `json:"at"`      // when the request began
	Duration       Millis    `json:"duration_ms"`
	Outcome        Outcome   `json:"outcome"`
	// Method and URL of the request; a query is shown as "?…".
	Method string `json:"method"`
	URL    string `json:"url"`
	// Status is the receiver's answer, 0 when there was none.
	Status int `json:"status,omitempty"`
	// Error says why there was no answer, or what was wrong with it.
	Error string `json:"error,omitempty"`
	// ResponseBody is the beginning of the answer, at most 4 KiB, as text.
	ResponseBody string `json:"response_body,omitempty"`
	// RequestBytes is the size of the body sent.
	RequestBytes int `json:"request_bytes"`
	// NextAttempt is when the next attempt is due; absent when there is none.
	NextAttempt *time.Time `json:"next_attempt,omitempty"`
	// Redelivered marks a request that a crash may have repeated: the stream had
	// handed out the delivery before.
	Redelivered bool `json:"redelivered,omitempty"`
	// Sequence of the record in the attempt log. Not part of the record.
	Sequence uint64 `json:"sequence,omitempty"`
}

// An EventRef says which event a record is about and where it is kept.
type EventRef struct {
	ID       string `json:"id"`
	Source   string `json:"source"`
	Type     string `json:"type"`
	Subject  string `json:"subject,omitempty"`
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
}

// RefOf is the reference to the event of a delivery.
func RefOf(d *Delivery) EventRef {
	ref := EventRef{ID: d.Event.ID, Source: d.Event.Source, Type: d.Event.Type, Subject: d.Event.Subject}
	if log, sequence, _, err := ParseOrigin(d.Origin); err == nil {
		ref.Stream, ref.Sequence = log, sequence
	}
	return ref
}

// Millis is a duration that JSON shows as milliseconds with three decimals.
type Millis time.Duration

// MarshalJSON writes milliseconds.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(m).Microseconds())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON reads milliseconds.
func (m *Millis) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return fmt.Errorf("%q is not a number of milliseconds", b)
	}
	*m = Millis(f * float64(time.Millisecond))
	return nil
}

// MaxStoredBody is how much of an answer a record keeps, in bytes.
const MaxStoredBody = 4 << 10

// StoredBody is what a record keeps of an answer: its beginning, as text. Bytes
// that are not UTF-8 become U+FFFD.
func StoredBody(body []byte) string {
	text := string(beginning(body, MaxStoredBody))
	if utf8.ValidString(text) {
		return text
	}
	return beginning(strings.ToValidUTF8(text, "\ufffd"), MaxStoredBody) // the replacements made it longer
}

// beginning is s, cut to n bytes at most and not inside a rune.
func beginning[T string | []byte](s T, n int) T {
	if len(s) <= n {
		return s
	}
	for at := n; at > n-utf8.UTFMax; at-- {
		if utf8.RuneStart(s[at]) {
			return s[:at]
		}
	}
	return s[:n]
}

// What a record keeps, at most, of texts that others choose. A record that the
// stream would refuse for its size could never be stored, and its delivery never
// be settled.
const (
	maxRefText   = 512
	maxErrorText = 1 << 10
)

// clip cuts s to n bytes, and shows that it did.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return beginning(s, n-len("…")) + "…"
}

// fit makes a small enough to be stored, whatever is in it.
func (a *Attempt) fit() {
	for _, text := range []*string{&a.Event.ID, &a.Event.Source, &a.Event.Type, &a.Event.Subject} {
		*text = clip(*text, maxRefText)
	}
	a.Error = clip(a.Error, maxErrorText)
	a.ResponseBody = beginning(a.ResponseBody, MaxStoredBody)
}

// A Log is the attempt log: every request that was made, one record each.
type Log struct {
	js     jetstream.JetStream
	layout stream.Layout
}

// NewLog returns the attempt log of an installation.
func NewLog(js jetstream.JetStream, layout stream.Layout) *Log {
	return &Log{js: js, layout: layout}
}

// Record stores a, and returns when it is stored.
//
// The number of an attempt is made exact here. A queue message that JetStream
// hands out again does not say how many requests were made for it: a sender may
// have crashed before or after its request. The log knows: each record is stored
// under its delivery and number, and when that number is taken, this attempt is
// the next one. Record raises a.Attempt accordingly, and calls outcome again,
// which sets what depends on the number.
//
// Record gives up after recordWithin. When ctx has ended already it takes a moment
// nevertheless: a request that was broken off is a request too.
func (l *Log) Record(ctx context.Context, a *Attempt, origin string, outcome func(*Attempt)) error {
	within := recordWithin
	if ctx.Err() != nil {
		ctx, within = context.WithoutCancel(ctx), lastMoment
	}
	deadline := time.Now().Add(within)
	subject := l.layout.AttemptSubject(a.SubscriptionID)
	a.fit()
	for {
		outcome(a)
		record, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encode attempt %d of %s: %w", a.Attempt, a.DeliveryID, err)
		}
		ack, err := l.publish(ctx, deadline, subject, origin+":a"+strconv.Itoa(a.Attempt), record)
		if err != nil {
			return fmt.Errorf("record attempt %d of %s: %w", a.Attempt, a.DeliveryID, err)
		}
		if !ack.Duplicate {
			a.Sequence = ack.Sequence
			return nil
		}
		a.Attempt++
	}
}

const (
	// recordWithin is how long a record may take to be stored: together with the
	// longest request less than the time after which the server offers the
	// delivery to another sender.
	recordWithin = stream.SenderAckWait - 40*time.Second
	// lastMoment is how long it may take for a sender that is being stopped.
	lastMoment = 3 * time.Second
)

var recordOptions = []jetstream.PublishOpt{jetstream.WithStallWait(5 * time.Second), jetstream.WithRetryAttempts(0)}

// publish tries until the record is stored, the deadline has passed or ctx ends: whether a publish that
// failed was stored is not known, but a repeat under the same id is recognised.
func (l *Log) publish(ctx context.Context, deadline time.Time, subject, id string, record []byte) (*jetstream.PubAck, error) {
	msg := &nats.Msg{Subject: subject, Data: record, Header: nats.Header{
		stream.HeaderMessageID:      {id},
		stream.HeaderExpectedStream: {l.layout.Attempts()},
	}}
	var lastErr error
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		future, err := l.js.PublishMsgAsync(msg, recordOptions...)
		if err == nil {
			select {
			case ack := <-future.Ok():
				if lastErr == nil || !ack.Duplicate {
					return ack, nil
				}
				// Was it this very record that an earlier try has stored?
				if ack.Duplicate, err = l.isOther(ctx, ack.Sequence, record); err == nil {
					return ack, nil
				}
			case err = <-future.Err():
			case <-ctx.Done():
				return nil, errors.Join(ctx.Err(), lastErr)
			}
		}
		lastErr = err
		if time.Now().Add(delay).After(deadline) {
			return nil, lastErr
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), lastErr)
		}
	}
}

// isOther reports whether the record at sequence is another one than record.
func (l *Log) isOther(ctx context.Context, sequence uint64, record []byte) (bool, error) {
	existing, err := stream.Get(ctx, l.js, l.layout.Attempts(), sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil // erased, so it is not the one that was just written
	}
	return !bytes.Equal(existing.Data, record), err
}

// Latest returns up to limit attempts of a subscription, newest first, older
// than the one at sequence before (0: from the newest).
func (l *Log) Latest(ctx context.Context, subscription string, before uint64, limit int) ([]Attempt, error) {
	records, err := stream.Latest(ctx, l.js, l.layout.Attempts(), l.layout.AttemptSubject(subscription), before, limit)
	if err != nil {
		return nil, err
	}
	attempts := make([]Attempt, 0, len(records))
	for i := range records {
		a, err := decodeAttempt(&records[i])
		if err != nil {
			return nil, err
		}
		attempts = append(attempts, a)
	}
	return attempts, nil
}

// Follow yields attempts as they are recorded, from sequence on (0: from the
// oldest), until ctx ends. An empty subscription means all of them.
func (l *Log) Follow(ctx context.Context, subscription string, from uint64) iter.Seq2[Attempt, error] {
	r := stream.Range{FromSequence: from, Follow: true}
	if subscription != "" {
		r.Subject = l.layout.AttemptSubject(subscription)
	}
	return func(yield func(Attempt, error) bool) {
		for record, err := range stream.Read(ctx, l.js, l.layout.Attempts(), r) {
			if err != nil {
				yield(Attempt{}, err)
				return
			}
			a, err := decodeAttempt(&record)
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

func decodeAttempt(r *stream.Record) (Attempt, error) {
	var a Attempt
	if err := json.Unmarshal(r.Data, &a); err != nil {
		return Attempt{}, fmt.Errorf("decode attempt record %d: %w", r.Sequence, err)
	}
	a.Sequence = r.Sequence
	return a, nil
}
