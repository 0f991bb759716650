package subscription

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/jetpost/jetpost/event"
)

// A Table finds the subscriptions that want an event. It never changes: With and
// Without return a new one that shares nearly everything with the old one.
//
//	event ─► by type   ─┬─► without keys ───────────────────► evaluate
//	     └─► by domain ─┘                                        ▲
//	           └─► for each operand that is in keys:             │
//	                 its value, or how it begins or ends ─► found ┘
//
// A filter has keys when every event that it accepts has one of a known set of
// values, or of beginnings or endings of values: see keySets. So an event costs a few lookups
// for each operand that filters of its type ask for, and an evaluation for each
// subscription that is found, however many there are.
type Table struct {
	entries  cowMap[*entry]     // by id, those that do not match included
	types    cowMap[*typeIndex] // by event type
	domains  cowMap[*typeIndex] // by domain
	operands cowMap[*operand]   // by name; never removed, see rebuild
	slots    int                // slots given to operands
	maxSlots int                // more are a reason to rebuild
	scratch  *sync.Pool         // of *values
}

// An entry is a subscription and what was compiled from it.
type entry struct {
	sub    *Subscription
	filter node // nil: every event
	// keySets are what the entry can be found by. An index uses one of them.
	keySets []keySet
}

// NewTable makes a table. An error means that a subscription was never validated.
func NewTable(subs ...*Subscription) (*Table, error) {
	return emptyTable().With(subs...)
}

func emptyTable() *Table {
	return &Table{maxSlots: minMaxSlots, scratch: &sync.Pool{New: func() any { return new(values) }}}
}

const minMaxSlots = 1024

// With returns a table in which each of subs is new or takes the place of the one
// with its id.
func (t *Table) With(subs ...*Subscription) (*Table, error) {
	subs = slices.SortedStableFunc(slices.Values(subs), func(a, b *Subscription) int { return strings.Compare(a.ID, b.ID) })
	next, ed := *t, new(edit)
	for _, sub := range subs {
		filter, err := compile(sub.Filters, func(name string) (*operand, error) { return next.intern(ed, name) })
		if err != nil {
			return nil, fmt.Errorf("compile filters of subscription %s: %w", sub.ID, err)
		}
		added := &entry{sub: sub, filter: filter}
		if filter != nil {
			added.keySets = keySets(filter)
		}
		next.remove(ed, sub.ID)
		next.entries.set(ed, sub.ID, added)
		if sub.State.Matches() {
			next.eachIndex(ed, sub, func(ix *typeIndex) { ix.add(ed, added) })
		}
	}
	if next.slots > next.maxSlots {
		return next.rebuild()
	}
	return &next, nil
}

// Without returns a table without the subscriptions of these ids.
func (t *Table) Without(ids ...string) *Table {
	next, ed := *t, new(edit)
	for _, id := range ids {
		next.remove(ed, id)
	}
	return &next
}

// rebuild makes t again without the operands that no filter has any more. It is
// called when operands have at least doubled, so it costs little per change.
func (t *Table) rebuild() (*Table, error) {
	subs := make([]*Subscription, 0, t.entries.size)
	for _, each := range t.entries.all() {
		subs = append(subs, each.sub)
	}
	fresh := &Table{maxSlots: int(^uint(0) >> 1), scratch: t.scratch}
	fresh, err := fresh.With(subs...)
	if err != nil {
		return nil, err
	}
	fresh.maxSlots = max(minMaxSlots, 2*fresh.slots)
	return fresh, nil
}

// intern returns the operand of that name, the same one for all filters: that is
// how a value is looked up once per event.
func (t *Table) intern(ed *edit, name string) (*operand, error) {
	if of, ok := t.operands.get(name); ok {
		return of, nil
	}
	var parsed operand
	var err error
	if raw, ok := strings.CutPrefix(name, segmentsPrefix); ok {
		parsed.raw, err = t.intern(ed, raw)
	} else {
		parsed, err = parseOperand(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	parsed.slot = t.slots
	t.slots++
	t.operands.set(ed, name, &parsed)
	return &parsed, nil
}

func (t *Table) remove(ed *edit, id string) {
	old, ok := t.entries.get(id)
	if !ok {
		return
	}
	t.entries.remove(ed, id)
	if old.sub.State.Matches() {
		t.eachIndex(ed, old.sub, func(ix *typeIndex) { ix.remove(ed, old) })
	}
}

// eachIndex calls change once with each index that sub belongs to, and drops
// those that are empty afterwards.
func (t *Table) eachIndex(ed *edit, sub *Subscription, change func(*typeIndex)) {
	for i, eventType := range sub.Types {
		if slices.Contains(sub.Types[:i], eventType) {
			continue
		}
		in := &t.types
		if domain, ok := domainWildcard(eventType); ok {
			in, eventType = &t.domains, domain
		}
		ix, ok := in.get(eventType)
		if !ok {
			ix = &typeIndex{owner: ed, always: &entryList{owner: ed}}
		} else if ix.owner != ed {
			ix = &typeIndex{owner: ed, always: ix.always, keyed: slices.Clone(ix.keyed)}
		}
		change(ix)
		if len(ix.always.entries) == 0 && len(ix.keyed) == 0 {
			in.remove(ed, eventType)
		} else {
			in.set(ed, eventType, ix)
		}
	}
}

// Get returns a subscription, whatever its state.
func (t *Table) Get(id string) (*Subscription, bool) {
	if e, ok := t.entries.get(id); ok {
		return e.sub, true
	}
	return nil, false
}

// Len is the number of subscriptions, whatever their state.
func (t *Table) Len() int { return t.entries.size }

// Matches are the subscriptions that an event is for.
type Matches struct {
	// Wanted want it: active and paused ones whose filters match.
	Wanted []*Subscription
	// Slow are those that JudgeQuick has not decided about.
	Slow []*Subscription
	// Undecided are those whose filters need more steps for this event than one event
	// may take. Whether they want it is not known.
	Undecided []*Subscription
}

// Match appends to dst the active and paused subscriptions that want an event of
// a domain: each once, in the order of their ids. Those that are undecided are left out:
// see Judge.
func (t *Table) Match(domain string, e *event.Event, dst []*Subscription) []*Subscription {
	m := Matches{Wanted: dst}
	t.judge(domain, e, &m)
	t.JudgeSlow(e, m.Slow, &m)
	m.Wanted = once(m.Wanted, len(dst))
	return m.Wanted
}

// Judge sets m to the subscriptions that an event of a domain is for: each once, in the
// order of their ids. What it says of a subscription does not depend on others.
func (t *Table) Judge(domain string, e *event.Event, m *Matches) {
	t.JudgeQuick(domain, e, m)
	t.JudgeSlow(e, m.Slow, m)
	m.Wanted, m.Undecided, m.Slow = once(m.Wanted, 0), once(m.Undecided, 0), m.Slow[:0]
}

// JudgeQuick is Judge without what takes long: it sets m.Wanted to the subscriptions
// that want the event for all that can be said quickly, and m.Slow to those about
// which JudgeSlow has to decide.
func (t *Table) JudgeQuick(domain string, e *event.Event, m *Matches) {
	m.Wanted, m.Slow, m.Undecided = m.Wanted[:0], m.Slow[:0], m.Undecided[:0]
	t.judge(domain, e, m)
}

// judge appends to m what can be said quickly.
func (t *Table) judge(domain string, e *event.Event, m *Matches) {
	byType, _ := t.types.get(e.Type)
	byDomain, _ := t.domains.get(domain)
	if byType == nil && byDomain == nil {
		return
	}
	v := t.scratch.Get().(*values) // nothing else is put there
	v.start(e, t.slots)
	fromWanted, fromSlow := len(m.Wanted), len(m.Slow)
	byType.match(v, m)
	byDomain.match(v, m)
	v.reset()
	t.scratch.Put(v)
	m.Wanted = once(m.Wanted, fromWanted)
	m.Slow = once(m.Slow, fromSlow)
}

// JudgeSlow appends to m.Wanted and m.Undecided what becomes of slow, which JudgeQuick has
// found for the event.
func (t *Table) JudgeSlow(e *event.Event, slow []*Subscription, m *Matches) {
	if len(slow) == 0 {
		return
	}
	v := t.scratch.Get().(*values) // nothing else is put there
	v.start(e, t.slots)
	for i, sub := range slow {
		if i > 0 {
			runtime.Gosched() // others have less to do
		}
		found, ok := t.entries.get(sub.ID)
		if !ok {
			continue // of another table
		}
		switch found.evaluate(v, budgetOf(e)) {
		case wanted:
			m.Wanted = append(m.Wanted, sub)
		case undecided:
			m.Undecided = append(m.Undecided, sub)
		case unwanted:
		}
	}
	v.reset()
	t.scratch.Put(v)
}

// once sorts what is behind from and leaves one of each: a subscription may be there by
// type and by domain, and by several operands.
func once(subs []*Subscription, from int) []*Subscription {
	found := subs[from:]
	compare := func(a, b *Subscription) int { return strings.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(found, compare) {
		slices.SortFunc(found, compare)
	}
	return subs[:from+len(slices.Compact(found))]
}

// A result is what became of an evaluation.
type result uint8

const (
	unwanted result = iota
	wanted
	undecided // it would have taken more steps than were granted
)

// evaluate decides whether e wants the event of v, in a bounded number of steps.
func (e *entry) evaluate(v *values, steps int) result {
	if e.filter == nil {
		return wanted
	}
	v.begin(steps)
	matched := e.filter.match(v)
	switch {
	case v.over && e.excluded(v):
		return unwanted
	case v.over:
		return undecided
	case matched:
		return wanted
	}
	return unwanted
}

// excluded reports whether the event of v has none of the keys of a set, of which every
// event that is wanted has one. An index by that set does not find e, and which one it
// uses depends on other subscriptions; so the keys decide before the budget does.
func (e *entry) excluded(v *values) bool {
	return slices.ContainsFunc(e.keySets, func(set keySet) bool {
		return !slices.ContainsFunc(set, func(k key) bool {
			have, ok := v.get(k.of)
			return ok && k.fits(have)
		})
	})
}
