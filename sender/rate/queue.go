package rate

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/sender/clock"
)

// A Queue holds the deliveries of a subscription until its rate limiter admits them. No more
// wait than the subscription may have in flight: they count as that.
type Queue struct {
	mu      sync.Mutex
	waiting []*consume.Message // the longest waiting first
	closed  bool
	arrived chan struct{}
}

// NewQueue returns an empty queue.
func NewQueue() *Queue { return &Queue{arrived: make(chan struct{}, 1)} }

// Add reports whether the queue has taken the deliveries: it does not after Run has ended.
func (q *Queue) Add(msgs []*consume.Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, msgs...)
	select {
	case q.arrived <- struct{}{}:
	default:
	}
	return true
}

// Outlet is where a Queue passes its deliveries on.
type Outlet struct {
	// Serve is called with the deliveries whose slots are due.
	Serve func([]*consume.Message)
	// Lost is called with the number of deliveries that the server may have handed to
	// another sender.
	Lost func(n int)
	// Log gets a warning when no slot can be reserved.
	Log *zap.Logger
}

// Run passes deliveries on, one at each slot, until ctx ends, and returns those that are
// left. work bounds what is done after that.
func (q *Queue) Run(ctx, work context.Context, l *Limiter, out Outlet) (left []*consume.Message) {
	var holding sync.WaitGroup
	defer holding.Wait()
	holding.Go(func() { q.hold(ctx) })
	failed := false
	for {
		waiting := q.wait(ctx)
		if waiting == 0 {
			return q.close()
		}
		reserved, err := l.reserve(ctx, l.block(waiting))
		if err != nil {
			if ctx.Err() == nil && !failed {
				out.Log.Warn("failed to reserve the next requests of a subscription with a rate, its deliveries wait", zap.Error(err))
			}
			failed = true
			clock.Pause(ctx, time.Second)
			continue
		}
		failed = false
		if unused := q.serve(ctx, reserved, out); unused > 0 {
			l.giveBack(work, unused)
		}
	}
}

// serve passes deliveries on at reserved slots, and returns how many slots are unused.
func (q *Queue) serve(ctx context.Context, reserved []time.Time, out Outlet) (unused int) {
	lateness := max(0, time.Since(reserved[0])) // of the reservation itself: all its slots share it
	for len(reserved) > 0 && clock.Pause(ctx, time.Until(reserved[0])) {
		if time.Since(reserved[0]) > lateness+maxLate {
			break // the rest would be served all at once: it is reserved again
		}
		due := 1
		for due < len(reserved) && time.Until(reserved[due]) <= 0 {
			due++
		}
		reserved = reserved[due:]
		msgs, lost := q.take(due)
		if lost > 0 {
			out.Lost(lost)
		}
		if len(msgs) > 0 {
			out.Serve(msgs)
		}
	}
	return len(reserved)
}

// wait returns how many deliveries wait, at least one; 0 when ctx has ended.
func (q *Queue) wait(ctx context.Context) int {
	for ctx.Err() == nil {
		q.mu.Lock()
		n := len(q.waiting)
		q.mu.Unlock()
		if n > 0 {
			return n
		}
		select {
		case <-ctx.Done():
		case <-q.arrived:
		}
	}
	return 0
}

// take returns up to n deliveries. It leaves out those that the server may have handed to
// another sender, and counts them.
func (q *Queue) take(n int) (msgs []*consume.Message, lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 && len(msgs) < n {
		first := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		if first.Lost() {
			first.Leave()
			lost++
			continue
		}
		msgs = append(msgs, first)
	}
	return msgs, lost
}

// hold keeps the server from handing out again what waits, until ctx ends.
func (q *Queue) hold(ctx context.Context) {
	tick := time.NewTicker(consume.HoldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		q.mu.Lock()
		for _, m := range q.waiting {
			if m.Unheld() > consume.HoldEvery/2 { // not those that arrived just now
				_ = m.HoldWaiting() // failing that, it is lost
			}
		}
		q.mu.Unlock()
	}
}

// close closes the queue and returns what is left in it.
func (q *Queue) close() []*consume.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left := q.waiting
	q.waiting = nil
	return left
}
