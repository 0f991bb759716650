package delivery

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nuid"
)

// A Recorder stores the attempts of one subscription that need no number from the
// log: those of deliveries whose number is certain, and after which there is no
// other. It stores together what comes while it is waiting for the log:
//
//	attempts  ─a─┬──b─c─d──┬─e──────
//	messages     └►[a]─ack─┴►[b c d]─ack…
//
// so a record on its own is stored at once, and a crowd costs one message. None is
// reported as stored before it is.
type Recorder struct {
	log          *Log
	subscription string

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

	// ctx ends when nobody waits for it any more.
	ctx     context.Context //nolint:containedctx // the batch is work of its own
	cancel  context.CancelFunc
	waiting atomic.Int64
}

func newRecordBatch() *recordBatch {
	b := &recordBatch{stored: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// leave is called by who waits no longer.
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
	return &Recorder{log: l, subscription: subscription}
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
		case <-b.stored: // a request that was broken off is a request too
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
		_, b.err = r.log.publish(b.ctx, r.log.layout.AttemptSubject(r.subscription), nuid.Next(), b.data)
		b.cancel()
		close(b.stored)
	}
}
