package sender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
)

// The queue of an ordered subscription hands out one delivery, its head, and no
// other before that is settled. So a head that has to wait for its next attempt
// stays where it is: it is handed back with a delay, for as long as it takes, and
// never becomes a timer, which would come back behind the others.
//
//	head ─► attempt ─► failed: order.<id> is written, handed back ─► 30 s ─► due? ─► attempt
//	                                     ▲                                    │ no
//	                                     └────────────────────────────────────┘
//
// A message does not say how many attempts it has had, nor when it is due. The key
// order.<id> of the bucket state does, to whichever sender has it next.
const (
	// stateTimeout bounds reading or writing that key.
	stateTimeout = 3 * time.Second
	// dueSlack is how much too early a head may come back and be attempted: the
	// server keeps delays by the second.
	dueSlack = time.Second
	// lostRecordDelay is how long a head waits at most whose record could not be written.
	lostRecordDelay = 10 * time.Second
)

// A headRecord is the value under order.<id>.
type headRecord struct {
	Chain string `json:"chain"`
	// Attempt is the number of the next one, First is when the first began.
	Attempt int       `json:"attempt"`
	First   time.Time `json:"first_attempt,omitzero"`
	// Due is when the next attempt is to be made, by the clock of the NATS server.
	Due time.Time `json:"due"`
	// Clock is by which setting of that clock it is.
	Clock stream.Mark `json:"clock,omitzero"`
	// Early is how many attempts were made before they were due: probes of an open
	// breaker, for the most part. The schedule does not count them.
	Early int `json:"early,omitempty"`
	// Now: the next attempt need not wait until it is due.
	Now bool `json:"now,omitempty"`
	// Delivered is how often the queue had handed it out when this was written. When
	// this is the next time, nobody else has had it since.
	Delivered int `json:"delivered"`
	// Revision of the subscription. With a later one the attempt need not wait: that
	// is how somebody who has mended something goes on.
	Revision uint64 `json:"revision"`
}

// A head is what a lane knows of the first delivery of an ordered subscription.
type head struct {
	mu       sync.Mutex
	sequence uint64 // of the message that the record was written for, if by this lane
	stored   time.Time
	record   headRecord
	read     int64 // when the connection was made over which it was read or written: see stream.Session
	hurry    bool  // the next one need not wait until it is due
}

// recall returns what is written down about the attempts of d; the zero record when
// there is nothing. Only a message that was handed out before, or may have been, can
// have a record.
func (l *lane) recall(ctx context.Context, m *stream.Message, d *delivery.Delivery) (headRecord, error) {
	if d.Manual != "" || m.Delivered == 1 && l.remembers(m) {
		return headRecord{}, nil
	}
	h := l.head
	h.mu.Lock()
	defer h.mu.Unlock()
	connected := l.session.Since()
	own := h.isOwn(m, connected)
	// A first time that may not be one, because the server has crashed: all who work
	// with it have connected anew, so what was read since is as it was before.
	known := m.Delivered == 1 && h.read == connected
	if !own && !known {
		record, err := l.readHead(ctx)
		if err != nil {
			return headRecord{}, err
		}
		h.record, h.sequence, h.read = record, 0, connected
	}
	if h.record.Chain != d.Chain() || h.record.Attempt <= d.Attempt {
		return headRecord{}, nil
	}
	record := h.record
	if read, err := l.clock.At(ctx); err == nil && !record.Due.IsZero() {
		record.Due, record.Clock = record.Due.Add(read.Mark.Since(record.Clock)), read.Mark
	}
	return record, nil
}

func (l *lane) readHead(ctx context.Context) (headRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	kv, err := l.state.Open(ctx)
	if err != nil {
		return headRecord{}, err
	}
	var record headRecord
	e, err := kv.Get(ctx, stream.StateOrder(l.id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return record, nil
	case err != nil:
		return record, fmt.Errorf("read key %s: %w", stream.StateOrder(l.id), err)
	}
	if json.Unmarshal(e.Value(), &record) != nil {
		return headRecord{}, nil // it is of no use, and will be written over
	}
	return record, nil
}

// writeHead writes the record for a message that is about to be handed back. It may
// take its moment although the sender is being stopped.
func (l *lane) writeHead(ctx context.Context, m *stream.Message, record headRecord) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTimeout)
	defer cancel()
	kv, err := l.state.Open(ctx)
	if err != nil {
		return err
	}
	record.Delivered = m.Delivered
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if _, err := kv.Put(ctx, stream.StateOrder(l.id), value); err != nil {
		return fmt.Errorf("write key %s: %w", stream.StateOrder(l.id), err)
	}
	h := l.head
	h.mu.Lock()
	defer h.mu.Unlock()
	h.record, h.sequence, h.stored, h.read, h.hurry = record, m.Sequence, m.Stored, l.session.Since(), false
	return nil
}

// isOwn reports whether this lane has written the record for m, nobody else has had
// it since, and the server cannot have forgotten that it was handed out.
func (h *head) isOwn(m *stream.Message, connected int64) bool {
	return h.sequence == m.Sequence && h.stored.Equal(m.Stored) && h.record.Delivered == m.Delivered-1 && h.read == connected
}

// use is isOwn, once.
func (h *head) use(m *stream.Message, connected int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := h.isOwn(m, connected)
	h.sequence = 0
	return own
}

// goOn has a head that waits now attempted although it is not due.
func (h *head) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hurry = true
}

func (h *head) hurries() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hurry
}

// whenDue calls next with the messages whose attempts are due, and hands the others
// back. It comes before the line for a turn: who is not due takes none.
func (l *lane) whenDue(next func(context.Context, []*stream.Message)) func(context.Context, []*stream.Message) {
	return func(ctx context.Context, msgs []*stream.Message) {
		defer stream.KeepHolding(msgs...)()
		due := make([]*stream.Message, 0, len(msgs))
		for _, m := range msgs {
			if !l.waits(ctx, m) {
				due = append(due, m)
			}
		}
		if len(due) > 0 {
			next(ctx, due)
		}
	}
}

// waits hands m back when its attempt is not due, and reports whether it has.
func (l *lane) waits(ctx context.Context, m *stream.Message) bool {
	if m.Delivered == 1 && l.remembers(m) {
		return false
	}
	d, err := delivery.FromMessage(l.id, m.Header, m.Data)
	if err != nil {
		return false // for deliver to settle
	}
	record, err := l.recall(ctx, m, d)
	if err != nil {
		l.cannotRecall(ctx, m, d, err)
		return true
	}
	sub, ok := l.view.Snapshot().Get(l.id)
	if record.Due.IsZero() || record.Now || !ok || sub.Revision > record.Revision || l.head.hurries() {
		return false
	}
	wait := record.Due.Sub(l.breakerNow(ctx))
	e, err := l.endpointFor(sub)
	if wait <= dueSlack || err != nil || expired(ctx, l.clock, e.Subscription, d) {
		return false
	}
	if err := l.writeHead(ctx, m, record); err != nil { // the number of the attempt stands there all the same
		l.log.Debug("cannot note that a delivery was handed back", zap.String("subscription_id", l.id), zap.Error(err))
	}
	l.nak(m, min(wait, l.cfg.OrderedRecheck))
	return true
}

func (l *lane) cannotRecall(ctx context.Context, m *stream.Message, d *delivery.Delivery, err error) {
	if ctx.Err() == nil {
		l.log.Warn("cannot read how often an ordered delivery was attempted, it waits",
			zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
	}
	l.nak(m, time.Second)
}

// resume tells u what was written down about its attempts. It reports whether to
// go on; otherwise the delivery was handed back.
func (l *lane) resume(ctx context.Context, u *underway) bool {
	record, err := l.recall(ctx, u.m, u.d)
	if err != nil {
		l.cannotRecall(ctx, u.m, u.d, err)
		return false
	}
	u.counted = u.m.Delivered // without a record it was handed back before its request
	if record.Attempt == 0 {
		return true
	}
	u.d.Attempt, u.d.FirstAttempt = record.Attempt, record.First
	u.early, u.planned = record.Early, time.Now().Add(record.Due.Sub(l.breakerNow(ctx)))
	// Otherwise the log of attempts makes sure: somebody may have crashed between
	// recording an attempt and writing it down here.
	u.certain = l.head.use(u.m, l.session.Since())
	u.again = record.Delivered != u.m.Delivered-1
	return true
}

// isEarly reports whether an attempt was made before its time: then it does not
// count in the schedule.
func (u *underway) isEarly(a *delivery.Attempt) bool {
	return !u.planned.IsZero() && u.planned.Sub(a.At) > dueSlack
}

// retryInOrder hands the head back, to be attempted again before any other.
func (l *lane) retryInOrder(ctx context.Context, u *underway, a *delivery.Attempt) {
	m, d := u.m, u.d
	due, mark := l.clock.Server(ctx, u.due)
	record := headRecord{
		Chain: d.Chain(), Attempt: a.Attempt + 1, First: d.FirstAttempt, Due: due.UTC(), Clock: mark, Early: u.early,
		Now: u.trial || u.brokenOff, Revision: u.e.Subscription.Revision,
	}
	if u.isEarly(a) {
		record.Early++
	}
	delay := min(time.Until(u.due), l.cfg.OrderedRecheck)
	if record.Now { // the breaker says when
		delay = time.Millisecond
	}
	if err := l.writeHead(ctx, m, record); err != nil {
		// The log of attempts knows the number for as long as it remembers ids: better
		// to be attempted too soon than to begin again.
		l.log.Warn("cannot write down the attempt of an ordered delivery, the next one is made soon",
			zap.String("subscription_id", l.id), zap.String("delivery_id", d.ID), zap.Error(err))
		delay = min(delay, lostRecordDelay)
	}
	l.nak(m, max(delay, time.Millisecond))
}
