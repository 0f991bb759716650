package sender

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
	// turnBlock is how much of the schedule a sender reserves at a time: five
	// reservations per second, however high the rate.
	turnBlock = 200 * time.Millisecond
	// lateTurn is by how much a turn may be late and still be used: timers are. After
	// a sender has stood still for longer, what it had reserved is given back, or all
	// of it would go out at once.
	lateTurn = 20 * time.Millisecond
	// headroom keeps the turns that far apart that those which come late together
	// with the ones behind them are no more in a second than the rate.
	headroom = 1 + float64(lateTurn)/float64(time.Second)
	// turnTimeout bounds one reservation.
	turnTimeout = 5 * time.Second
	// maxSenders is for how many senders there may be turns in the future. What lies
	// further ahead was written with a clock that was wrong.
	maxSenders = 100
)

// turns are the times at which the requests of a subscription may be made, spread
// evenly by its rate over all senders. The last one that was given away is in the
// state bucket; whoever wants more moves it on by compare-and-set, so no turn is
// given away twice:
//
//	rate.<id>:  … ─┬─┬─┬─┬─┬─┬─► last ─┬─┬─► the turns of the next reservation
//	               └ sender A ┘         └ sender B
//
// Turns that nobody wants are not saved up: the schedule never lies behind the
// clock. This is the generic cell rate algorithm without its burst.
type turns struct {
	bucket   func(context.Context) (jetstream.KeyValue, error)
	clock    *clock.Clock
	key      string
	interval time.Duration

	known    turnRecord // as stored at revision
	revision uint64     // 0: not known
}

// turnRecord is the value in the state bucket.
type turnRecord struct {
	Last time.Time `json:"last"` // by the clock of the NATS server
	// Interval is that at which Last was given away. When it is another one now, the
	// rate has changed, and what was reserved by the old one counts no more.
	Interval subscription.Duration `json:"interval"`
	// Clock is by which setting of that clock Last is.
	Clock stream.Mark `json:"clock,omitzero"`
}

func newTurns(s *Sender, id string, perSecond float64) *turns {
	return &turns{
		bucket: s.state.Open, clock: s.clock, key: stream.StateRate(id),
		interval: time.Duration(math.Round(headroom * float64(time.Second) / perSecond)),
	}
}

// block is how many turns to reserve for n deliveries that wait.
func (t *turns) block(n int) int { return min(n, max(1, int(turnBlock/t.interval))) }

// reserve returns the next n turns, by this machine's clock. It fails closed:
// without a reservation there is no turn.
func (t *turns) reserve(ctx context.Context, n int) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	kv, err := t.bucket(ctx)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		read, err := t.clock.At(ctx)
		if err != nil {
			return nil, err
		}
		if err := t.load(ctx, kv); err != nil {
			return nil, err
		}
		t.known.Last, t.known.Clock = t.known.Last.Add(read.Mark.Since(t.known.Clock)), read.Mark
		first := t.next(read.Now())
		err = t.store(ctx, kv, first.Add(time.Duration(n-1)*t.interval))
		if err == nil {
			reserved := make([]time.Time, n)
			for i := range reserved {
				reserved[i] = read.Here(first.Add(time.Duration(i) * t.interval))
			}
			return reserved, nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !errors.Is(err, jetstream.ErrKeyExists) {
			return nil, fmt.Errorf("reserve: %w", err)
		}
		select { // another sender was faster, or what was read was a moment old
		case <-ctx.Done():
			return nil, fmt.Errorf("reserve, %d times overtaken: %w", try, ctx.Err())
		case <-time.After(rand.N(time.Duration(min(try, 10)) * 2 * time.Millisecond)): //nolint:gosec // jitter
		}
	}
}

// next is the first turn that is free at a time of the server's clock.
func (t *turns) next(now time.Time) time.Time {
	if t.revision == 0 {
		return now
	}
	last := t.known.Last
	far := last.Sub(now) > maxSenders*max(t.interval, turnBlock)
	if changed := time.Duration(t.known.Interval) != t.interval; (changed || far) && last.After(now) {
		last = now
	}
	if next := last.Add(t.interval); next.After(now) {
		return next
	}
	return now
}

// giveBack returns the last n turns of the latest reservation, unless another
// sender has reserved behind them: then they are lost, which is slow but safe.
func (t *turns) giveBack(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	kv, err := t.bucket(ctx)
	if err == nil && t.revision != 0 {
		_ = t.store(ctx, kv, t.known.Last.Add(-time.Duration(n)*t.interval))
	}
}

func (t *turns) load(ctx context.Context, kv jetstream.KeyValue) error {
	if t.revision != 0 {
		return nil
	}
	e, err := kv.Get(ctx, t.key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read key %s: %w", t.key, err)
	}
	t.known = turnRecord{} // what cannot be read is written anew
	_ = json.Unmarshal(e.Value(), &t.known)
	t.revision = e.Revision()
	return nil
}

// store writes a new last turn over the record that is known. When it fails, the
// record has to be loaded again.
func (t *turns) store(ctx context.Context, kv jetstream.KeyValue, last time.Time) error {
	record := turnRecord{Last: last.UTC(), Interval: subscription.Duration(t.interval), Clock: t.known.Clock}
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	over := t.revision
	t.revision = 0
	var revision uint64
	if over == 0 {
		revision, err = kv.Create(ctx, t.key, value)
	} else {
		revision, err = kv.Update(ctx, t.key, value, over)
	}
	if err != nil {
		return err
	}
	t.known, t.revision = record, revision
	return nil
}
