// Package rate spreads the requests of a subscription evenly over time, over all senders
// together.
//
// A Limiter reserves slots, the times at which requests may be made; a Queue holds the
// deliveries until their slots.
package rate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/clock"
)

const (
	// blockLength is how much of the schedule a sender reserves at a time: five
	// reservations per second, however high the rate.
	blockLength = 200 * time.Millisecond
	// maxLate is by how much a slot may be late and still be used: timers are. After a
	// sender has stood still for longer, its reserved slots are given back, or all requests
	// would be made at once.
	maxLate = 20 * time.Millisecond
	// headroom keeps the slots so far apart that late ones, together with those behind
	// them, are no more in a second than the rate.
	headroom = 1 + float64(maxLate)/float64(time.Second)
	// reserveTimeout bounds one reservation.
	reserveTimeout = 5 * time.Second
	// maxSenders is for how many senders there may be slots in the future. What lies
	// further ahead was written with a wrong clock.
	maxSenders = 100
)

// A Limiter reserves slots of a subscription, spread evenly by its rate over all senders.
// The last reserved slot is in the state bucket; a sender that wants more moves it on by
// compare-and-set, so no slot is reserved twice:
//
//	rate.<id>:  … ─┬─┬─┬─┬─┬─┬─► last ─┬─┬─► the slots of the next reservation
//	               └ sender A ┘         └ sender B
//
// Unused slots are not saved up: the schedule never lies behind the clock. This is the
// generic cell rate algorithm without its burst.
type Limiter struct {
	state    *stream.Bucket
	clock    *clock.Clock
	key      string
	interval time.Duration

	known    record // as stored at revision
	revision uint64 // 0: not known
}

// A record is the value in the state bucket.
type record struct {
	Last time.Time `json:"last"` // by the clock of the NATS server
	// Interval is that at which Last was reserved. When it differs from the current one,
	// the rate has changed, and reservations by the old one do not count.
	Interval subscription.Duration `json:"interval"`
	// Clock is the setting of that clock by which Last is.
	Clock stream.Mark `json:"clock,omitzero"`
}

// NewLimiter returns a limiter of a subscription. It is for one goroutine at a time.
func NewLimiter(state *stream.Bucket, clock *clock.Clock, id string, perSecond float64) *Limiter {
	return &Limiter{
		state: state, clock: clock, key: stream.StateRate(id),
		interval: time.Duration(math.Round(headroom * float64(time.Second) / perSecond)),
	}
}

// block is how many slots to reserve for n deliveries that wait.
func (l *Limiter) block(n int) int { return min(n, max(1, int(blockLength/l.interval))) }

// Wait reserves n slots and waits for the last of them. It reports whether to go on: false
// when ctx has ended.
func (l *Limiter) Wait(ctx context.Context, n int) (bool, error) {
	reserved, err := l.reserve(ctx, n)
	if err != nil {
		return false, err
	}
	return clock.Pause(ctx, time.Until(reserved[len(reserved)-1])), nil
}

// reserve returns the next n slots, by this machine's clock. It fails closed: without a
// reservation there is no slot.
func (l *Limiter) reserve(ctx context.Context, n int) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, reserveTimeout)
	defer cancel()
	kv, err := l.state.Open(ctx)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		read, err := l.clock.At(ctx)
		if err != nil {
			return nil, err
		}
		if err := l.load(ctx, kv); err != nil {
			return nil, err
		}
		l.known.Last, l.known.Clock = l.known.Last.Add(read.Mark.Since(l.known.Clock)), read.Mark
		first := l.next(read.Now())
		err = l.store(ctx, kv, first.Add(time.Duration(n-1)*l.interval))
		if err == nil {
			reserved := make([]time.Time, n)
			for i := range reserved {
				reserved[i] = read.Here(first.Add(time.Duration(i) * l.interval))
			}
			return reserved, nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, fmt.Errorf("reserve: %w", err)
		}
		// Another sender was faster, or the value that was read was outdated.
		if !clock.Pause(ctx, rand.N(time.Duration(min(try, 10))*2*time.Millisecond)) { //nolint:gosec // jitter
			return nil, fmt.Errorf("reserve, %d times overtaken: %w", try, ctx.Err())
		}
	}
}

// next is the first free slot at a time of the server's clock.
func (l *Limiter) next(now time.Time) time.Time {
	if l.revision == 0 {
		return now
	}
	last := l.known.Last
	far := last.Sub(now) > maxSenders*max(l.interval, blockLength)
	if changed := time.Duration(l.known.Interval) != l.interval; (changed || far) && last.After(now) {
		last = now
	}
	if next := last.Add(l.interval); next.After(now) {
		return next
	}
	return now
}

// giveBack returns the last n slots of the latest reservation, unless another sender has
// reserved behind them: then they are lost, which is slow but safe.
func (l *Limiter) giveBack(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	kv, err := l.state.Open(ctx)
	if err == nil && l.revision != 0 {
		_ = l.store(ctx, kv, l.known.Last.Add(-time.Duration(n)*l.interval))
	}
}

func (l *Limiter) load(ctx context.Context, kv jetstream.KeyValue) error {
	if l.revision != 0 {
		return nil
	}
	e, err := kv.Get(ctx, l.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read key %s: %w", l.key, err)
	}
	l.known = record{} // an invalid record is overwritten
	_ = json.Unmarshal(e.Value(), &l.known)
	l.revision = e.Revision()
	return nil
}

// store writes a new last slot over the record that is known. When it fails, the
// record has to be loaded again.
func (l *Limiter) store(ctx context.Context, kv jetstream.KeyValue, last time.Time) error {
	stored := record{Last: last.UTC(), Interval: subscription.Duration(l.interval), Clock: l.known.Clock}
	value, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	over := l.revision
	l.revision = 0
	var revision uint64
	if over == 0 {
		revision, err = kv.Create(ctx, l.key, value)
	} else {
		revision, err = kv.Update(ctx, l.key, value, over)
	}
	if err != nil {
		return err
	}
	l.known, l.revision = stored, revision
	return nil
}
