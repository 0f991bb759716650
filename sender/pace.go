package sender

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/sender/clock"
)

// A line is where the deliveries of a subscription with a rate wait for their
// turn. No more wait than the subscription may have in flight: they count as that.
type line struct {
	mu      sync.Mutex
	waiting []*stream.Message // the longest first
	closed  bool
	arrived chan struct{}
}

func newLine() *line { return &line{arrived: make(chan struct{}, 1)} }

// add reports whether there is still a line.
func (q *line) add(msgs []*stream.Message) bool {
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

// wait returns how many wait, at least one; 0 when ctx has ended.
func (q *line) wait(ctx context.Context) int {
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

// take returns up to n deliveries whose turn it is. Those that the server may have
// given to somebody else are left out.
func (q *line) take(n int) (msgs, lost []*stream.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 && len(msgs) < n {
		first := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		if first.Lost() {
			lost = append(lost, first)
			continue
		}
		msgs = append(msgs, first)
	}
	return msgs, lost
}

// keep tells the server of every delivery that it is held, but for those that came just
// now.
func (q *line) keep() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.waiting {
		if m.Unheld() > stream.HoldEvery/2 {
			_ = m.HoldWaiting() // failing that, it is lost
		}
	}
}

// close ends the line and returns who is left in it.
func (q *line) close() []*stream.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left := q.waiting
	q.waiting = nil
	return left
}

// pace lets the deliveries in line go on, one at each turn, until ctx ends. Who is
// left is handed back at once, for another sender.
func (l *lane) pace(ctx, work context.Context, requests *sync.WaitGroup) {
	// With a delay, if only a token one: see Pull in package stream.
	defer func() { l.handBack(l.line.close(), time.Millisecond) }()
	turns, failed := newTurns(l.Sender, l.id, l.terms.rate), false
	for {
		waiting := l.line.wait(ctx)
		if waiting == 0 {
			return
		}
		reserved, err := turns.reserve(ctx, turns.block(waiting))
		if err != nil {
			if ctx.Err() == nil && !failed {
				l.log.Warn("cannot reserve the next requests of a subscription with a rate, its deliveries wait",
					zap.String("subscription_id", l.id), zap.Error(err))
			}
			failed = true
			clock.Pause(ctx, time.Second)
			continue
		}
		failed = false
		lateness := max(0, time.Since(reserved[0])) // of the reservation itself: all its turns share it
		for len(reserved) > 0 && clock.Pause(ctx, time.Until(reserved[0])) {
			if time.Since(reserved[0]) > lateness+lateTurn {
				break // made up for, they would come all at once: what is left is reserved anew
			}
			due := 1
			for due < len(reserved) && time.Until(reserved[due]) <= 0 {
				due++
			}
			reserved = reserved[due:]
			msgs, lost := l.line.take(due)
			if len(lost) > 0 {
				for _, m := range lost {
					m.Leave()
				}
				l.leave(len(lost))
			}
			if len(msgs) > 0 {
				l.serve(ctx, work, requests, msgs)
			}
		}
		if len(reserved) > 0 {
			turns.giveBack(work, len(reserved))
		}
	}
}

// hold keeps what waits in line from being handed out again, until ctx ends.
func (l *lane) hold(ctx context.Context) {
	tick := time.NewTicker(stream.HoldEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.line.keep()
		}
	}
}
