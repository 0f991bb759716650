package router

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxRecorded bounds how many sequences a progress remembers.
const maxRecorded = 8192

// progress is up to where the events of a domain are settled, as far as this router knows.
// An event counts from when its deliveries are stored.
type progress struct {
	wanted  atomic.Bool   // ordered events wait: what is settled here is worth recording
	changed chan struct{} // has an element when more is settled, or by wake

	mu sync.Mutex
	// All events up to settled are settled; so are those in recorded. It is kept while
	// ordered events wait, over one connection: a server that has crashed may have forgotten.
	settled    uint64
	recorded   map[uint64]struct{}
	reconnects uint64
}

func newProgress() *progress {
	return &progress{changed: make(chan struct{}, 1), recorded: make(map[uint64]struct{})}
}

// wake makes waiters for changed check again.
func (p *progress) wake() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// forget drops all that is known.
func (p *progress) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
}

func (p *progress) drop() {
	p.settled = 0
	clear(p.recorded)
}

// record records that all deliveries of an event are stored.
func (p *progress) record(sequence uint64) {
	if !p.wanted.Load() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if sequence <= p.settled {
		return
	}
	if len(p.recorded) >= maxRecorded {
		clear(p.recorded) // the server is asked instead
	}
	p.recorded[sequence] = struct{}{}
	p.advance(p.settled)
}

// raise records that all events up to a sequence are settled, and returns up to where they
// are.
func (p *progress) raise(to uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(to)
	return p.settled
}

func (p *progress) advance(to uint64) {
	before := p.settled
	if to > p.settled {
		p.settled = to
		for sequence := range p.recorded {
			if sequence <= to {
				delete(p.recorded, sequence)
			}
		}
	}
	for {
		if _, ok := p.recorded[p.settled+1]; !ok {
			break
		}
		p.settled++
		delete(p.recorded, p.settled)
	}
	if p.settled != before {
		p.wake()
	}
}

// reached reports whether all events up to a sequence are settled.
func (p *progress) reached(sequence uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settled >= sequence
}

// isNext reports whether the event at a sequence is certainly the first that is not settled.
// When that event should be settled, and was handed out again, or the connection is a new one,
// what is known is outdated.
func (p *progress) isNext(sequence, reconnects uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if reconnects != p.reconnects || p.settled >= sequence {
		p.reconnects = reconnects
		p.drop()
	}
	return p.settled == sequence-1
}

// precedes reports whether the event at a sequence follows the last settled one.
func (p *progress) precedes(sequence uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settled+1 == sequence
}

// waiting is how long the first event has been waiting.
type waiting struct {
	sequence uint64
	floor    uint64 // up to where events were settled at the last check
	since    time.Time
	logged   bool
	shed     time.Time // of the last shed
}

// moved records a check, and reports whether more is settled than at the last one.
func (w *waiting) moved(sequence, floor uint64) bool {
	before := w.floor
	if w.sequence != sequence {
		*w = waiting{sequence: sequence, since: time.Now()}
	}
	w.floor = floor
	return floor != before
}

func (w *waiting) log(log *zap.Logger) {
	if !w.logged && time.Since(w.since) > logAfter {
		w.logged = true
		log.Warn("ordered deliveries wait for an earlier event to be settled", zap.Uint64("seq", w.sequence), zap.Uint64("settled", w.floor))
	}
}

// isTimeToShed reports now and then that events behind are to be handed back.
func (w *waiting) isTimeToShed() bool {
	if time.Since(w.since) < shedAfter || time.Since(w.shed) < shedAfter {
		return false
	}
	w.shed = time.Now()
	return true
}
