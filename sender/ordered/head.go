// Package ordered remembers the attempts of the first delivery of an ordered subscription.
//
// The queue of an ordered subscription hands out one delivery, its head, and no other before
// that is settled. A head that waits for its next attempt stays in its place: it is handed
// back with a delay, as often as needed, and never becomes a timer, which would come back
// behind the others.
//
//	head ─► attempt ─► failed: order.<id> is written, handed back ─► 30 s ─► due? ─► attempt
//	                                     ▲                                    │ no
//	                                     └────────────────────────────────────┘
//
// A message does not say how many attempts it has had, nor when the next is due. The key
// order.<id> of the bucket state does, to whichever sender has it next.
package ordered

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/sender/clock"
)

// timeout bounds reading or writing the key.
const timeout = 3 * time.Second

// A Record is the value under order.<id>.
type Record struct {
	Chain string `json:"chain"`
	// Attempt is the number of the next one, First is when the first began.
	Attempt int       `json:"attempt"`
	First   time.Time `json:"first_attempt,omitzero"`
	// Due is when the next attempt is to be made, by the clock of the NATS server.
	Due time.Time `json:"due"`
	// Clock is the setting of that clock by which it is.
	Clock stream.Mark `json:"clock,omitzero"`
	// Early is how many attempts were made before they were due, mostly probes of an open
	// breaker. The schedule does not count them.
	Early int `json:"early,omitempty"`
	// Now: the next attempt need not wait until it is due.
	Now bool `json:"now,omitempty"`
	// Delivered is how often the queue had handed it out when this was written. When it is
	// handed out the next time, no other sender has had it since.
	Delivered int `json:"delivered"`
	// Revision of the subscription. With a later one the attempt need not wait: a person
	// may have repaired the subscription.
	Revision uint64 `json:"revision"`
}

// A Head is what a worker knows of the first delivery of an ordered subscription.
type Head struct {
	id      string
	state   *stream.Bucket
	session *consume.Session
	clock   *clock.Clock

	mu       sync.Mutex
	sequence uint64 // of the message that the record was written for, if by this worker
	stored   time.Time
	record   Record
	read     int64 // the session in which it was read or written: see consume.Session
	hurry    bool  // the next attempt need not wait until it is due
}

// New returns the head of a subscription.
func New(id string, state *stream.Bucket, session *consume.Session, clock *clock.Clock) *Head {
	return &Head{id: id, state: state, session: session, clock: clock}
}

// IsFirst reports whether m is certainly handed out for the first time, so that there is no
// record for it.
func (h *Head) IsFirst(m *consume.Message) bool {
	return m.Delivered == 1 && m.Stored.UnixNano() > h.session.Since()
}

// Recall returns the record of d; the zero record when there is none.
func (h *Head) Recall(ctx context.Context, m *consume.Message, d *delivery.Delivery) (Record, error) {
	if d.Manual != "" || h.IsFirst(m) {
		return Record{}, nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	connected := h.session.Since()
	own := h.isOwn(m, connected)
	// A first time that may not be one, because the server has crashed: all who work with it
	// have connected again, so what was read since is as it was before.
	known := m.Delivered == 1 && h.read == connected
	if !own && !known {
		record, err := h.load(ctx)
		if err != nil {
			return Record{}, err
		}
		h.record, h.sequence, h.read = record, 0, connected
	}
	if h.record.Chain != d.Chain() || h.record.Attempt <= d.Attempt {
		return Record{}, nil
	}
	record := h.record
	if read, err := h.clock.At(ctx); err == nil && !record.Due.IsZero() {
		record.Due, record.Clock = record.Due.Add(read.Mark.Since(record.Clock)), read.Mark
	}
	return record, nil
}

func (h *Head) load(ctx context.Context) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	kv, err := h.state.Open(ctx)
	if err != nil {
		return Record{}, err
	}
	var record Record
	e, err := kv.Get(ctx, stream.StateOrder(h.id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return record, nil
	case err != nil:
		return record, fmt.Errorf("read key %s: %w", stream.StateOrder(h.id), err)
	}
	if json.Unmarshal(e.Value(), &record) != nil {
		return Record{}, nil // an invalid record is overwritten
	}
	return record, nil
}

// Write writes the record for a message that is about to be handed back, also while the
// sender stops.
func (h *Head) Write(ctx context.Context, m *consume.Message, record Record) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	kv, err := h.state.Open(ctx)
	if err != nil {
		return err
	}
	record.Delivered = m.Delivered
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if _, err := kv.Put(ctx, stream.StateOrder(h.id), value); err != nil {
		return fmt.Errorf("write key %s: %w", stream.StateOrder(h.id), err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record, h.sequence, h.stored, h.read, h.hurry = record, m.Sequence, m.Stored, h.session.Since(), false
	return nil
}

// isOwn reports whether this worker has written the record for m, no other has had it since,
// and the server cannot have forgotten that it was handed out.
func (h *Head) isOwn(m *consume.Message, connected int64) bool {
	return h.sequence == m.Sequence && h.stored.Equal(m.Stored) && h.record.Delivered == m.Delivered-1 && h.read == connected
}

// Use reports once whether the record for m is certainly right: this worker has written it,
// and no other has had m since.
func (h *Head) Use(m *consume.Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.isOwn(m, h.session.Since())
	h.sequence = 0
	return own
}

// Hurry has a head that waits attempted although it is not due.
func (h *Head) Hurry() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hurry = true
}

// Hurries reports whether the next attempt need not wait until it is due.
func (h *Head) Hurries() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hurry
}
