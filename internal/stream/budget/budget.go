// Package budget shares out the memory that work in hand may take.
//
// A Budget is so many bytes. Each user has a Share of it and asks before it takes
// something in hand, such as messages that a server is to send:
//
//	0 ────────────── half ───────────── all
//	│  by fair share  │  the first of a  │
//	│                 │  share that has  │
//	│                 │  nothing         │
//
// A share may hold as much as is left of the first half, so one alone gets half of
// it, and n of them get the n+1st part each and leave as much for the next: one that
// is slow to give back takes nothing from those to come. The second half is for
// shares that hold nothing. So each has at least one thing in hand, beside any
// number of slow ones, until the sum of these first things is all there is.
package budget

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Budget is safe for concurrent use. A nil one has no limit.
type Budget struct {
	mu      sync.Mutex
	all     int64
	used    int64
	held    bool
	pause   time.Duration // between grants while it is held
	granted time.Time     // when the last was, while it is held
	paused  *time.Timer   // serves when the pause is over; nil: it is not running
	waiting []*asking     // the longest first
}

// New returns a budget of a number of bytes.
func New(bytes int64) *Budget { return &Budget{all: bytes} }

// PauseHeld has the budget, while it is held, grant one thing at a time and the next not
// before a pause. It is for what makes work for others: done at once, one after the other,
// it would be more than they can do while they are held as well.
func (b *Budget) PauseHeld(pause time.Duration) *Budget {
	b.pause = pause
	return b
}

// Used is how many bytes are in hand or asked for.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Size is how many bytes there are; 0: no limit.
func (b *Budget) Size() int64 {
	if b == nil {
		return 0
	}
	return b.all
}

// Hold has nothing granted but the first thing of each share that has nothing, and one
// thing at a time to those who have no share, until it is called with false: the process
// has less memory than was thought. So each goes on, and one that is slow to give back,
// or has asked for what does not come, keeps no other from it.
func (b *Budget) Hold(held bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = held
	if !held {
		b.serve()
	}
}

// Take waits until there is room for something of a number of bytes that belongs to
// no share, and takes it in hand. Give gives it back.
func (b *Budget) Take(ctx context.Context, bytes int64) error {
	if b == nil {
		return nil
	}
	_, err := b.ask(ctx, &asking{share: &Share{budget: b}, each: bytes, most: 1, single: true})
	return err
}

// Give gives back what was taken.
func (b *Budget) Give(bytes int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= bytes
	b.serve()
}

// ask waits for what a asks for. Who gives up has nothing.
func (b *Budget) ask(ctx context.Context, a *asking) (n int, err error) {
	b.mu.Lock()
	if b.grant(a) {
		b.mu.Unlock()
		return a.granted, nil
	}
	a.done = make(chan struct{})
	b.waiting = append(b.waiting, a)
	b.mu.Unlock()
	select {
	case <-a.done:
		return a.granted, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := slices.Index(b.waiting, a); at >= 0 {
		b.waiting = slices.Delete(b.waiting, at, at+1)
	} else { // it was granted meanwhile
		a.share.change(func(s *Share) { s.asked -= a.granted })
	}
	return 0, ctx.Err()
}

// An asking is one that waits for a grant.
type asking struct {
	share   *Share
	each    int64
	most    int
	granted int
	single  bool          // the share is of this thing alone
	done    chan struct{} // closed when something is granted
}

// grant gives a what there is room for, and reports whether that is anything.
func (b *Budget) grant(a *asking) bool {
	s, n := a.share, a.most
	// What comes for things in hand that are given back by then is room already.
	if more := s.room(n) * a.each; more > 0 {
		fair := (b.all/2 - b.used - s.charge()) / 2 // and as much is left
		if more > fair {
			n = int(max(fair, 0) / a.each)
		}
		if b.held {
			n = 0
		}
		if n == 0 {
			// The first thing of a share, if need be one larger than the whole budget.
			if s.charge() > 0 || b.used > 0 && (b.used+a.each > b.all || b.held && a.single) {
				return false
			}
			if b.held && b.mustPause() {
				return false
			}
			n = 1
		}
	}
	a.granted = n
	s.change(func(s *Share) {
		s.asked += n
		s.each = max(s.each, a.each)
	})
	return true
}

// mustPause reports whether it is too early for another grant of a budget that is held.
// Otherwise the pause begins anew.
func (b *Budget) mustPause() bool {
	left := b.pause - time.Since(b.granted)
	if left <= 0 {
		b.granted = time.Now()
		return false
	}
	if b.paused == nil {
		b.paused = time.AfterFunc(left, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.paused = nil
			b.serve()
		})
	}
	return true
}

// serve grants what it can to those who wait: first to shares that hold nothing.
func (b *Budget) serve() {
	for _, first := range []bool{true, false} {
		if len(b.waiting) == 0 || b.used >= b.all {
			return
		}
		b.waiting = slices.DeleteFunc(b.waiting, func(a *asking) bool {
			if (a.share.charge() == 0) != first || !b.grant(a) {
				return false
			}
			close(a.done)
			return true
		})
	}
}
