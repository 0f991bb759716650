package delivery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// A Log is the attempt log: every request that was made, one record each.
//
// A message of its stream holds the records of one subscription, one JSON object
// a line: one record, or as many as a Recorder had at hand.
type Log struct {
	js        jetstream.JetStream
	layout    stream.Layout
	cfg       stream.PublisherConfig
	publisher *stream.Publisher
}

// NewLog returns the attempt log of an installation.
func NewLog(js jetstream.JetStream, layout stream.Layout) *Log {
	l := &Log{js: js, layout: layout, cfg: stream.PublisherConfig{Pause: firstRecordPause, LongPause: longRecordPause}}
	return l.configure()
}

// configure makes the publisher anew.
func (l *Log) configure() *Log {
	l.publisher = stream.NewPublisher(l.cfg, l.js)
	return l
}

// Report has the log tell h whether it stores what it is given.
func (l *Log) Report(h *stream.Health) *Log {
	l.cfg.Health = h
	return l.configure()
}

// Reserve has the log use room that is kept for it when the store is full.
func (l *Log) Reserve(r *stream.Reserve) *Log {
	l.cfg.Reserve = r
	return l.configure()
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
// Record tries until ctx ends: a delivery cannot be settled without its record, and
// one that is handed out again for want of it would be requested again. When ctx has
// ended already it takes a moment nevertheless: a request that was broken off is a
// request too.
func (l *Log) Record(ctx context.Context, a *Attempt, origin string, outcome func(*Attempt)) error {
	if ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
		defer cancel()
		ctx = last
	}
	subject := l.layout.AttemptSubject(a.SubscriptionID)
	a.fit()
	for {
		outcome(a)
		ack, err := l.publish(ctx, subject, origin+":a"+strconv.Itoa(a.Attempt), a.append(nil))
		if err != nil {
			return fmt.Errorf("record attempt %d of %s: %w", a.Attempt, a.DeliveryID, err)
		}
		if !ack.Duplicate {
			a.Sequence = place(ack.Sequence, 0)
			return nil
		}
		a.Attempt++
	}
}

// lastMoment is how long a record may take to be stored for a sender that is being
// stopped.
const lastMoment = 3 * time.Second

// Between two tries: see stream.Pauses.
const (
	firstRecordPause = 100 * time.Millisecond
	longRecordPause  = 10 * time.Second
)

// publish tries until data is stored or ctx ends. Whether a publish that failed was
// stored is not known, but a repeat under the same id is recognised.
func (l *Log) publish(ctx context.Context, subject, id string, data []byte) (*jetstream.PubAck, error) {
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
		stream.HeaderMessageID:      {id},
		stream.HeaderExpectedStream: {l.layout.Attempts()},
	}}
	publication := l.publisher.Send(msg)
	for {
		ack, err := publication.Wait(ctx, time.Time{})
		if err != nil {
			return nil, errors.Join(err, publication.Last())
		}
		if publication.Last() == nil || !ack.Duplicate {
			return ack, nil
		}
		// Was it this very record that an earlier try has stored?
		other, err := l.isOther(ctx, ack.Sequence, data)
		if err == nil {
			ack.Duplicate = other
			return ack, nil
		}
		if retryErr := publication.Retry(ctx, time.Time{}, err); retryErr != nil {
			return nil, errors.Join(retryErr, err)
		}
	}
}

// isOther reports whether the message at sequence is another one than data.
func (l *Log) isOther(ctx context.Context, sequence uint64, data []byte) (bool, error) {
	existing, err := stream.Get(ctx, l.js, l.layout.Attempts(), sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil // erased, so it is not the one that was just written
	}
	return !bytes.Equal(existing.Data, data), err
}

// indexBits are the low bits of a record's place in the log, which tell the
// records of one message apart; the others are the message's sequence.
const indexBits = 10

func place(sequence uint64, index int) uint64 { return sequence<<indexBits | uint64(index) } //nolint:gosec // a line number

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
