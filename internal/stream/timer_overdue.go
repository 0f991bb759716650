package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// OverdueAfter is how long after it was due a retry timer that has not fired is taken for
// one that the server has given up. A healthy server fires a timer within a second.
const OverdueAfter = 20 * time.Second

// overdueMost bounds how many timers an OverdueWatch reads at a time.
const overdueMost = 500

// An OverdueWatch finds retry timers of a shard that should have fired and do not. The
// server (2.15.2) tries once to store the message of a timer that is due. When that fails,
// because the store is full or a cluster has no quorum, it takes the timer for being under
// way until it starts again or another node leads the stream. A timer that is stored again
// fires.
type OverdueWatch struct {
	layout Layout
	js     jetstream.JetStream
	shard  string
	next   uint64 // the sequence to go on reading at
}

// NewOverdueWatch returns a watch of the retry timers of a shard.
func (l Layout) NewOverdueWatch(js jetstream.JetStream, shard string) *OverdueWatch {
	return &OverdueWatch{layout: l, js: js, shard: shard, next: 1}
}

// Look reads the next timers of the shard, 500 at most, and stores those again that were
// due more than OverdueAfter before now. now is the time of the server, and mark how its
// clock was set. It returns how many it has stored. A timer that fires, is moved or
// cancelled meanwhile stays as it is.
func (w *OverdueWatch) Look(ctx context.Context, now time.Time, mark Mark) (rearmed int, err error) {
	name := w.layout.RetryStream(w.shard)
	s, err := w.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	if s.CachedInfo().State.Msgs == 0 {
		return 0, nil
	}
	timers := w.layout.RetryAt(w.shard, "*", "*")
	for range overdueMost {
		m, err := s.GetMsg(ctx, w.next, jetstream.WithGetMsgSubject(timers))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			w.next = 1
			return rearmed, nil
		}
		if err != nil {
			return rearmed, fmt.Errorf("read stream %s: %w", name, err)
		}
		again := rearmedTimer(m, now, mark)
		if again != nil {
			_, err = w.js.PublishMsg(ctx, again)
			if err != nil && !IsWrongSequence(err) {
				return rearmed, fmt.Errorf("store retry timer %d of stream %s again: %w", m.Sequence, name, err)
			}
			if err == nil {
				rearmed++
			}
		}
		w.next = m.Sequence + 1
	}
	return rearmed, nil
}

// rearmedTimer is the timer that replaces m, due now; nil where m is not overdue.
func rearmedTimer(m *jetstream.RawStreamMsg, now time.Time, mark Mark) *nats.Msg {
	due, stored, known := TimerMark(m.Header)
	if !known {
		var err error
		if due, err = scheduledFor(m.Header); err != nil {
			return nil // the server does not fire it either
		}
	}
	if due = due.Add(mark.Since(stored)); now.Sub(due) < OverdueAfter {
		return nil
	}
	h := maps.Clone(m.Header)
	h[headerLastOfSubject] = []string{strconv.FormatUint(m.Sequence, 10)}
	PlanTimer(h, now, mark)
	return &nats.Msg{Subject: m.Subject, Header: h, Data: m.Data}
}
