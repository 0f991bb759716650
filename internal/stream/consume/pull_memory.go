package consume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/budget"
)

// Memory bounds what the messages of a Pull take in memory, from the request for them
// until they are settled.
//
// A request says how many bytes it may bring, and these are asked for from the budget
// first. That would have each of ten thousand queues in which nothing is waiting hold
// memory for what may come. So there are two kinds of requests:
//
//	idle  ──► a few messages and few bytes, waits long, nothing is held for it
//	  ▲          │ it is full, or the next message is too large for it
//	  │          ▼
//	  └────── busy: as many as there is memory for; ends when nothing is waiting
//
// The zero value bounds nothing.
type Memory struct {
	// Share is that of this Pull. Nil: there is no bound.
	Share *budget.Share
	// Times is how many copies of a message there are at a time, Each what is needed for
	// one beside them.
	Times, Each int64
}

const (
	// idleBytes is how many bytes may come for which no memory is held.
	idleBytes = 32 << 10
	// idleBatch is how many messages these are at most, while there is ample memory.
	idleBatch = 8
	// busyExpiry ends a request that the limit of the consumer keeps from being answered.
	busyExpiry = time.Second
)

// errTooLarge ends a request for which the next message is too large.
var errTooLarge = fmt.Errorf("%w: the next message is larger than it allows", errExpired)

// weight is what a message of a size takes.
func (m *Memory) weight(size int) int64 { return m.Times*int64(size) + m.Each }

// A plan says what one slot of a Pull asks for next.
type plan struct {
	pull    *Pull
	helper  bool
	busy    bool
	size    int // of the messages that have come lately, rather too much
	asked   int // messages of the request under way
	bytes   int // that it may bring
	granted int // and how many of them memory is held for
}

// next is the next request, and how long its answer may take. It waits for memory
// until ctx ends.
func (n *plan) next(ctx context.Context) (request []byte, patience time.Duration, err error) {
	ask, patience := n.pull.ask(n.helper)
	memory := &n.pull.Memory
	switch {
	case memory.Share != nil && (n.busy || n.helper):
		most := min(n.pull.Batch, max(1, pullMaxBytes/(n.size+stream.MessageOverhead)))
		n.granted, err = memory.Share.Ask(ctx, memory.weight(n.size+stream.MessageOverhead), most)
		if err != nil {
			return nil, 0, err
		}
		ask.Batch, ask.MaxBytes = n.granted, n.granted*(n.size+stream.MessageOverhead)
		ask.NoWait, ask.Expires, ask.Heartbeat = true, busyExpiry, 0
		patience = busyExpiry + pullOverdue
	case memory.Share != nil:
		ask.Batch, ask.MaxBytes = 1, idleBytes
		if memory.Share.Ample() {
			ask.Batch = min(n.pull.Batch, idleBatch)
		}
	}
	n.asked, n.bytes = ask.Batch, ask.MaxBytes
	request, err = json.Marshal(ask)
	return request, patience, err
}

// ended takes down how the request has ended, after so many messages.
func (n *plan) ended(received int, why error) {
	if n.pull.Memory.Share == nil {
		return
	}
	n.forgo()
	tooLarge := errors.Is(why, errTooLarge)
	if tooLarge && received == 0 {
		next := 2 * n.bytes
		if n.bytes < stream.MaxKept { // else it is of another program's making
			next = min(next, stream.MaxKept)
		}
		n.size = max(n.size, next)
	}
	n.busy = tooLarge || received >= n.asked
}

// forgo gives back the memory for what has not come.
func (n *plan) forgo() {
	if n.granted > 0 {
		n.pull.Memory.Share.Forgo(n.granted)
		n.granted = 0
	}
}

// arrived has m hold its memory until it is settled.
func (n *plan) arrived(m *Message) {
	memory := &n.pull.Memory
	if memory.Share == nil {
		return
	}
	size := m.Size()
	n.size = max(size, (n.size+size)/2)
	m.share = memory.Share
	m.weight.Store(memory.weight(size))
	if n.granted > 0 {
		n.granted--
		m.share.Arrived(m.weight.Load())
		return
	}
	m.share.Came(m.weight.Load())
}

// Drop gives up a message without settling it: the server has taken it back, or will.
func (m *Message) Drop() {
	if m.share != nil {
		if weight := m.weight.Swap(0); weight > 0 {
			m.share.Done(weight)
		}
	}
}
