package subscription

import (
	"slices"
	"strings"
	"sync"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// Matches are the subscriptions that an event is for.
type Matches = filter.Matches[*Subscription]

// A Snapshot is all subscriptions at one moment. It never changes, so it may be
// used by any number of goroutines without a lock; what it returns is shared and
// must not be changed.
type Snapshot struct {
	// Revision of the last change that is in it.
	Revision uint64

	table  *filter.Table[*Subscription]
	broken map[string]Broken
	all    func() []*Subscription // made when first asked for
}

func newSnapshot(table *filter.Table[*Subscription], broken map[string]Broken, revision uint64) *Snapshot {
	return &Snapshot{Revision: revision, table: table, broken: broken, all: sync.OnceValue(func() []*Subscription {
		all := slices.AppendSeq(make([]*Subscription, 0, table.Len()), table.All())
		slices.SortFunc(all, func(a, b *Subscription) int { return strings.Compare(a.ID, b.ID) })
		return all
	})}
}

func emptySnapshot() *Snapshot { return newSnapshot(emptyTable(), map[string]Broken{}, 0) }

func emptyTable() *filter.Table[*Subscription] {
	empty, _ := filter.NewTable[*Subscription]() // there is nothing to compile
	return empty
}

// Get returns a subscription, whatever its state.
func (s *Snapshot) Get(id string) (*Subscription, bool) { return s.table.Get(id) }

// All returns the subscriptions, whatever their state, in the order of their ids.
func (s *Snapshot) All() []*Subscription { return s.all() }

// Broken returns the records that cannot be used, in the order of their ids. They
// are neither in All nor in Get, and match nothing.
func (s *Snapshot) Broken() []Broken {
	broken := make([]Broken, 0, len(s.broken))
	for _, b := range s.broken {
		broken = append(broken, b)
	}
	slices.SortFunc(broken, func(a, b Broken) int { return strings.Compare(a.ID, b.ID) })
	return broken
}

// Match appends to dst the active and paused subscriptions that want an event of
// a domain: each once, in the order of their ids.
func (s *Snapshot) Match(domain string, e *event.Event, dst []*Subscription) []*Subscription {
	return s.table.Match(domain, e, dst)
}

// JudgeQuick sets m to the subscriptions that an event of a domain is for, as far as that
// can be said quickly: see Table.
func (s *Snapshot) JudgeQuick(domain string, e *event.Event, m *Matches) {
	s.table.JudgeQuick(domain, e, m)
}

// JudgeSlow appends to m what becomes of the subscriptions that JudgeQuick has left open.
func (s *Snapshot) JudgeSlow(e *event.Event, slow []*Subscription, m *Matches) {
	s.table.JudgeSlow(e, slow, m)
}
