package consume

import (
	"sync"
	"time"
)

// Held knows which messages of one consumer a process has in hand, and which it has
// acknowledged lately.
//
// A server that has crashed forgets that it handed out a message, or that the message was
// acknowledged, and hands it out again. A connection that breaks loses acknowledgements,
// with the same effect. The process that has the message knows better:
//
//	in hand       the copy is dropped, and the message, which is not lost any more, is settled
//	              by the copy's reply
//	acknowledged  the copy is acknowledged
//
// so nothing is done twice as long as the process lives. A message whose holder has not
// said for the consumer's AckWait that it works on it is not in hand any more: its copy is
// handed on. So is that of one that was left, see Leave.
type Held struct {
	patience time.Duration

	mu    sync.Mutex
	open  map[uint64]*Message // by sequence: not settled yet
	acked map[uint64]int64    // when those were stored that were acknowledged, Unix nanoseconds
	ring  []uint64            // the keys of acked, a ring once it is full
	next  int                 // where the ring goes on
	most  int                 // its size
}

// NewHeld returns what is held of a consumer whose messages come back after ackWait. It
// remembers as many acknowledged messages as the server may forget: at least the consumer's
// MaxAckPending.
func NewHeld(ackWait time.Duration, remembered int) *Held {
	return &Held{patience: ackWait, open: make(map[uint64]*Message), acked: make(map[uint64]int64), most: remembered}
}

// take reports whether m is to be worked on. Otherwise it is a copy, and dealt with.
func (h *Held) take(m *Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if first := h.open[m.Sequence]; first != nil && first.Stored.Equal(m.Stored) && first.silent() < h.patience {
		reply := m.Reply
		first.reply.Store(&reply)
		first.renew()
		return false
	}
	if stored, ok := h.acked[m.Sequence]; ok && stored == m.Stored.UnixNano() {
		_ = m.Ack() // failing that it comes once more
		return false
	}
	if len(h.open) > 2*h.most+1024 {
		h.prune()
	}
	m.held = h
	h.open[m.Sequence] = m
	return true
}

// silent is for how long its holder has said nothing of the message.
func (m *Message) silent() time.Duration { return time.Since(started) - time.Duration(m.alive.Load()) }

// prune forgets messages that were dropped without being settled, and have gone to other
// processes since.
func (h *Held) prune() {
	for sequence, m := range h.open {
		if m.silent() > h.patience {
			delete(h.open, sequence)
		}
	}
}

// settled takes note of how m was settled: acknowledged, or handed back.
func (h *Held) settled(m *Message, acked bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open[m.Sequence] == m {
		delete(h.open, m.Sequence)
	}
	if !acked || h.most == 0 {
		return
	}
	if _, known := h.acked[m.Sequence]; !known {
		if len(h.ring) < h.most {
			h.ring = append(h.ring, m.Sequence)
		} else {
			delete(h.acked, h.ring[h.next])
			h.ring[h.next] = m.Sequence
			h.next = (h.next + 1) % h.most
		}
	}
	h.acked[m.Sequence] = m.Stored.UnixNano()
}
