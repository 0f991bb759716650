package sender

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/stream"
)

// holdLimit is for how long a delivery may wait after the server was last told
// that it is held, and still be sent: a request of the longest timeout must fit in
// what is left of the server's patience, or another sender gets it meanwhile.
const holdLimit = stream.SenderAckWait - 32*time.Second

// A line is where the deliveries of a subscription with a rate wait for their
// turn. No more wait than the subscription may have in flight: they count as that.
type line struct {
	mu      sync.Mutex
	waiting []held // the longest first
	closed  bool
	arrived chan struct{}
}

// held is a delivery that waits, and when the server was last told so.
type held struct {
	m    *stream.Message
	told time.Time
}

func newLine() *line { return &line{arrived: make(chan struct{}, 1)} }

// add reports whether there is still a line.
func (q *line) add(msgs []*stream.Message) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	now := time.Now()
	for _, m := range msgs {
		q.waiting = append(q.waiting, held{m, now})
	}
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
func (q *line) take(n int) (msgs []*stream.Message, lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 && len(msgs) < n {
		first := q.waiting[0]
		q.waiting[0] = held{}
		q.waiting = q.waiting[1:]
		if time.Since(first.told) > holdLimit {
			first.m.Drop()
			lost++
			continue
		}
		msgs = append(msgs, first.m)
	}
	return msgs, lost
}

// keep tells the server of every delivery that it is held.
func (q *line) keep() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.waiting {
		if q.waiting[i].m.InProgress() == nil {
			q.waiting[i].told = time.Now()
		}
	}
}

// close ends the line and returns who is left in it.
func (q *line) close() []*stream.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left := make([]*stream.Message, len(q.waiting))
	for i := range q.waiting {
		left[i] = q.waiting[i].m
	}
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
			pause(ctx, time.Second)
			continue
		}
		failed = false
		lateness := max(0, time.Since(reserved[0])) // of the reservation itself: all its turns share it
		for len(reserved) > 0 && pause(ctx, time.Until(reserved[0])) {
			if time.Since(reserved[0]) > lateness+lateTurn {
				break // made up for, they would come all at once: what is left is reserved anew
			}
			due := 1
			for due < len(reserved) && time.Until(reserved[due]) <= 0 {
				due++
			}
			reserved = reserved[due:]
			msgs, lost := l.line.take(due)
			if lost > 0 {
				l.log.Warn("deliveries have waited for their turn without the server knowing, it will hand them out again",
					zap.String("subscription_id", l.id), zap.Int("deliveries", lost))
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
	tick := time.NewTicker(l.cfg.HoldInterval)
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

// pause waits, and reports whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
