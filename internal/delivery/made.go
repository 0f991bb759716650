package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
)

// Made knows which deliveries of one subscription the attempt log has successes of.
//
// A queue recognizes a delivery that is published to it twice, but a NATS server that
// has crashed forgets the ids of what had left the queue by then (jetstream.md, fact 2).
// The event of such a delivery may be routed again, or its fired timer be put back
// again, because the acknowledgement of the former was lost in the same crash. The
// attempt log tells what the queue has forgotten: a delivery leaves its queue only
// after the record of its success is stored.
//
// What has been read of the log is kept for as long as it is asked for.
type Made struct {
	log          *Log
	subscription string

	mu        sync.Mutex
	successes map[success]time.Time // when the record was stored
	from, to  time.Time             // what has been read, by the time of the NATS server
	next      uint64                // sequence of the first message that has not been read
	forget    *time.Timer
}

// success names a delivery. Producers reuse ids, so its event's place belongs to it; logs
// that have lost their ends use places again, so the time at which it was stored does.
type success struct {
	delivery string
	sequence uint64
	stored   int64 // Unix nanoseconds; 0 in records of earlier versions
}

func successOf(delivery string, ref *EventRef) success {
	s := success{delivery: delivery, sequence: ref.Sequence}
	if !ref.Stored.IsZero() {
		s.stored = ref.Stored.UnixNano()
	}
	return s
}

const (
	// madeKept is for how long what was read is kept after it was last asked for.
	madeKept = 5 * time.Minute
	// maxMade bounds the successes that are kept. Of older ones it is not known that
	// there are any, so their deliveries may be made again.
	maxMade = 200_000
	// madeMargin is how much more is read than what is asked for: what is asked for next
	// may be a bit older.
	madeMargin = 10 * time.Second
)

// Made returns what the log knows of a subscription. Nothing is read before it is
// asked for.
func (l *Log) Made(subscription string) *Made { return &Made{log: l, subscription: subscription} }

// Has reports whether d was delivered before it was put on its queue at queued. now is
// the time of the NATS server, as all times here. A success of before a redrive does
// not count.
func (m *Made) Has(ctx context.Context, d *Delivery, queued, now time.Time) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.read(ctx, d.Waiting(), queued, now); err != nil {
		return false, fmt.Errorf("read the attempts of %s: %w", m.subscription, err)
	}
	ref := RefOf(d)
	stored, ok := m.successes[successOf(d.ID, &ref)]
	if !ok {
		stored, ok = m.successes[success{delivery: d.ID, sequence: ref.Sequence}]
	}
	return ok && !stored.Before(d.Waiting()), nil
}

// read reads what is needed and has not been read: all records stored from one time to
// another.
func (m *Made) read(ctx context.Context, from, to, now time.Time) error {
	if m.forget == nil {
		m.forget = time.AfterFunc(madeKept, m.drop)
	}
	m.forget.Reset(madeKept)
	if m.successes == nil || from.Before(m.from) {
		m.successes, m.from, m.to, m.next = make(map[success]time.Time), from.Add(-madeMargin), time.Time{}, 0
	}
	if to.Before(m.to) {
		return nil
	}
	r := stream.Range{Subject: m.log.layout.AttemptSubject(m.subscription)}
	if r.FromSequence = m.next; m.next == 0 {
		r.FromTime = m.from
	}
	for record, err := range stream.Read(ctx, m.log.js, m.log.layout.Attempts(), r) {
		if err != nil {
			return err
		}
		m.note(&record)
	}
	if ctx.Err() != nil { // the end of the records, or not
		return ctx.Err()
	}
	m.to = now
	return nil
}

func (m *Made) note(r *stream.Record) {
	attempts, _ := decodeAttempts(r) // a record that cannot be read shows no success
	for i := range attempts {
		if attempts[i].Outcome != Delivered {
			continue
		}
		if len(m.successes) == maxMade {
			clear(m.successes)
		}
		m.successes[successOf(attempts[i].DeliveryID, &attempts[i].Event)] = r.Time
	}
	m.next = r.Sequence + 1
}

func (m *Made) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.successes, m.from, m.to, m.next = nil, time.Time{}, time.Time{}, 0
}
