package budget

import (
	"context"
	"slices"
)

// A Share is what one user has of a budget: its account of what it has in hand, and
// of what it has asked others to send.
type Share struct {
	budget *Budget
	most   int // things in hand; 0: any number

	// Under the budget's mutex.
	items int   // in hand
	bytes int64 // of them
	asked int   // granted, and not in hand yet
	each  int64 // what one of these is expected to take
}

// Share returns a share for one user. most is how many things it can have in hand at
// a time, whatever it asks for, because the server sees to that; 0: any number.
func (b *Budget) Share(most int) *Share {
	if b == nil {
		b = &Budget{all: 1 << 62}
	}
	return &Share{budget: b, most: most}
}

// Ask waits until there is room for one thing of each bytes, and grants as many as
// there is room for, up to most. Each must come to Arrived or Forgo.
func (s *Share) Ask(ctx context.Context, each int64, most int) (granted int, err error) {
	return s.budget.ask(ctx, &asking{share: s, each: each, most: most})
}

// TryTake takes one thing in hand if there is room for it.
func (s *Share) TryTake(bytes int64) bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) > 0 || !b.grant(&asking{share: s, each: bytes, most: 1}) { // others were first
		return false
	}
	s.arrived(bytes)
	return true
}

// Take waits for room for one thing, and takes it in hand.
func (s *Share) Take(ctx context.Context, bytes int64) error {
	if _, err := s.Ask(ctx, bytes, 1); err != nil {
		return err
	}
	s.Arrived(bytes)
	return nil
}

// Arrived takes down that something is in hand which was granted. It may be of
// another size than was thought.
func (s *Share) Arrived(bytes int64) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.arrived(bytes)
}

func (s *Share) arrived(bytes int64) {
	s.change(func(s *Share) {
		s.asked--
		s.items++
		s.bytes += bytes
	})
}

// Came takes down that something is in hand which was not granted.
func (s *Share) Came(bytes int64) {
	s.under(func(s *Share) {
		s.items++
		s.bytes += bytes
	})
}

// Done gives back something that was in hand.
func (s *Share) Done(bytes int64) {
	s.under(func(s *Share) {
		s.items--
		s.bytes -= bytes
	})
}

// Forgo gives back what was granted and has not come.
func (s *Share) Forgo(granted int) {
	if granted > 0 {
		s.under(func(s *Share) { s.asked -= granted })
	}
}

// Ample reports whether so little is used of the budget that one who asks gets much.
func (s *Share) Ample() bool {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	return s.budget.used < s.budget.all/8
}

// Short reports whether a request waits for room in this share: who has things in hand
// without need should give them back.
func (s *Share) Short() bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.waiting, func(a *asking) bool { return a.share == s })
}

func (s *Share) under(f func(*Share)) {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.change(f)
}

// change applies f and brings the budget up to date.
func (s *Share) change(f func(*Share)) {
	before := s.charge()
	f(s)
	if s.asked == 0 {
		s.each = 0
	}
	s.budget.used += s.charge() - before
	if s.charge() < before {
		s.budget.serve()
	}
}

// charge is what the share takes of the budget. No more can come than there is room
// for below most.
func (s *Share) charge() int64 {
	coming := s.asked
	if s.most > 0 {
		coming = min(coming, max(0, s.most-s.items))
	}
	return s.bytes + int64(coming)*s.each
}

// room is how many of n more things would come.
func (s *Share) room(n int) int64 {
	if s.most > 0 {
		n = min(n, max(0, s.most-s.items-s.asked))
	}
	return int64(n)
}
