package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

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

// A Recorder stores the attempts of one subscription that need no number from the log: those
// of deliveries whose number is certain, and after which there is no other. It stores together
// the records that arrive while it is waiting for the log:
//
//	attempts  ─a─┬──b─c─d──┬─e──────
//	messages     └►[a]─ack─┴►[b c d]─ack…
//
// so a single record is stored at once, and many cost one message. None is reported as stored
// before it is.
type Recorder struct {
	log     *Log
	subject string

	mu      sync.Mutex
	waiting []*recordBatch // to be stored, oldest first; the last one is being filled
	storing bool
}

// recordBatch is one message.
type recordBatch struct {
	data   []byte
	count  int
	stored chan struct{} // closed when it is stored, or err says why not
	err    error

	// ctx ends when no caller waits for it any more.
	ctx     context.Context //nolint:containedctx // the batch is work of its own
	cancel  context.CancelFunc
	waiting atomic.Int64
}

func newRecordBatch() *recordBatch {
	b := &recordBatch{stored: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// leave is called by a caller that waits no longer.
func (b *recordBatch) leave() {
	if b.waiting.Add(-1) == 0 {
		b.cancel()
	}
}

// Limits of a message: its stream takes 64 KiB with its header, its place in the
// log tells 1,024 records apart.
const (
	maxBatchBytes   = 60 << 10
	maxBatchRecords = 1 << indexBits
)

// Recorder returns a recorder for a subscription.
func (l *Log) Recorder(subscription string) *Recorder {
	return &Recorder{log: l, subject: l.layout.AttemptSubject(subscription)}
}

// Record stores a and returns when it is stored. It gives up like Log.Record.
func (r *Recorder) Record(ctx context.Context, a *Attempt) error {
	a.fit()
	b := r.add(a)
	defer b.leave()
	select {
	case <-b.stored:
	case <-ctx.Done():
		select {
		case <-b.stored: // an aborted request is a request too
		case <-time.After(lastMoment):
			return fmt.Errorf("record attempt %d of %s: %w", a.Attempt, a.DeliveryID, ctx.Err())
		}
	}
	if b.err != nil {
		return fmt.Errorf("record attempt %d of %s: %w", a.Attempt, a.DeliveryID, b.err)
	}
	return nil
}

func (r *Recorder) add(a *Attempt) *recordBatch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.waiting); n == 0 || r.waiting[n-1].count == maxBatchRecords {
		r.waiting = append(r.waiting, newRecordBatch())
	}
	b := r.waiting[len(r.waiting)-1]
	end := len(b.data)
	b.data = append(a.append(b.data), '\n')
	if len(b.data) > maxBatchBytes && b.count > 0 { // no room for this one: it begins the next
		next := newRecordBatch()
		next.data = bytes.Clone(b.data[end:])
		b.data = b.data[:end]
		r.waiting = append(r.waiting, next)
		b = next
	}
	b.count++
	b.waiting.Add(1)
	if !r.storing {
		r.storing = true
		go r.store()
	}
	return b
}

// store stores batches until none is waiting.
func (r *Recorder) store() {
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.storing = false
			r.mu.Unlock()
			return
		}
		b := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		// It is not bound to the context of any one of its attempts, but to all of them.
		_, b.err = r.log.publish(b.ctx, r.subject, nuid.Next(), b.data)
		b.cancel()
		close(b.stored)
	}
}
