package filter

import (
	"fmt"
	"iter"
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
type Table[S Subscriber] struct {
	entries  cowMap[*entry[S]]     // by id, those that are disabled included
	types    cowMap[*typeIndex[S]] // by event type
	domains  cowMap[*typeIndex[S]] // by domain
	operands cowMap[*operand]      // by name; never removed, see rebuild
	slots    int                   // slots given to operands
	maxSlots int                   // more are a reason to rebuild
	scratch  *sync.Pool            // of *evaluation[S]
}

// A Subscriber is what a Table finds: a subscription. Its criteria do not change while it
// is in a table.
type Subscriber interface {
	Criteria() Criteria
}

// Criteria say which events a subscription wants.
type Criteria struct {
	// ID is the identity of the subscription: a table has one of each.
	ID string
	// Types are the event types, exact or <domain>.*.
	Types []string
	// Filters must all match.
	Filters []Filter
	// Disabled: no event matches.
	Disabled bool
}

// DomainWildcard returns the domain of a type of the form <domain>.*.
func DomainWildcard(eventType string) (domain string, ok bool) {
	return strings.CutSuffix(eventType, ".*")
}

// An entry is a subscription and its compiled filters.
type entry[S Subscriber] struct {
	condition
	id  string
	sub S
}

// A condition is the compiled form of the filters of a subscription.
type condition struct {
	filter node // nil: every event
	// keySets are what the subscription can be found by. An index uses one of them.
	keySets []keySet
}

// An evaluation finds the entries that want one event. It is reused: see Table.scratch.
type evaluation[S Subscriber] struct {
	values

	wanted, slow []*entry[S]
}

// NewTable makes a table. An error means that a subscription was never validated.
func NewTable[S Subscriber](subs ...S) (*Table[S], error) {
	empty := &Table[S]{maxSlots: minMaxSlots, scratch: &sync.Pool{New: func() any { return new(evaluation[S]) }}}
	return empty.With(subs...)
}

const minMaxSlots = 1024

// With returns a table in which each of subs is new or takes the place of the one
// with its id.
func (t *Table[S]) With(subs ...S) (*Table[S], error) {
	subs = slices.SortedStableFunc(slices.Values(subs), compareIDs)
	next, ed := *t, new(edit)
	for _, sub := range subs {
		criteria := sub.Criteria()
		compiled, err := compileCondition(criteria.Filters, func(name string) (*operand, error) { return next.intern(ed, name) })
		if err != nil {
			return nil, fmt.Errorf("compile filters of subscription %s: %w", criteria.ID, err)
		}
		added := &entry[S]{condition: compiled, id: criteria.ID, sub: sub}
		next.remove(ed, criteria.ID)
		next.entries.set(ed, criteria.ID, added)
		if !criteria.Disabled {
			next.eachIndex(ed, criteria.Types, func(ix *typeIndex[S]) { ix.add(ed, added) })
		}
	}
	if next.slots > next.maxSlots {
		return next.rebuild()
	}
	return &next, nil
}

// Without returns a table without the subscriptions of these ids.
func (t *Table[S]) Without(ids ...string) *Table[S] {
	next, ed := *t, new(edit)
	for _, id := range ids {
		next.remove(ed, id)
	}
	return &next
}

// rebuild makes t again without the operands that no filter has any more. It is
// called when operands have at least doubled, so it costs little per change.
func (t *Table[S]) rebuild() (*Table[S], error) {
	subs := make([]S, 0, t.entries.size)
	for _, each := range t.entries.all() {
		subs = append(subs, each.sub)
	}
	fresh := &Table[S]{maxSlots: int(^uint(0) >> 1), scratch: t.scratch}
	fresh, err := fresh.With(subs...)
	if err != nil {
		return nil, err
	}
	fresh.maxSlots = max(minMaxSlots, 2*fresh.slots)
	return fresh, nil
}

// intern returns the operand of that name, the same one for all filters: that is
// how a value is looked up once per event.
func (t *Table[S]) intern(ed *edit, name string) (*operand, error) {
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

func (t *Table[S]) remove(ed *edit, id string) {
	old, ok := t.entries.get(id)
	if !ok {
		return
	}
	t.entries.remove(ed, id)
	if criteria := old.sub.Criteria(); !criteria.Disabled {
		t.eachIndex(ed, criteria.Types, func(ix *typeIndex[S]) { ix.remove(ed, old) })
	}
}

// eachIndex calls change once with the index of each of types, and drops those that
// are empty afterwards.
func (t *Table[S]) eachIndex(ed *edit, types []string, change func(*typeIndex[S])) {
	for i, eventType := range types {
		if slices.Contains(types[:i], eventType) {
			continue
		}
		in := &t.types
		if domain, ok := DomainWildcard(eventType); ok {
			in, eventType = &t.domains, domain
		}
		ix, ok := in.get(eventType)
		if !ok {
			ix = &typeIndex[S]{owner: ed, always: &entryList[S]{owner: ed}}
		} else if ix.owner != ed {
			ix = &typeIndex[S]{owner: ed, always: ix.always, keyed: slices.Clone(ix.keyed)}
		}
		change(ix)
		if len(ix.always.entries) == 0 && len(ix.keyed) == 0 {
			in.remove(ed, eventType)
		} else {
			in.set(ed, eventType, ix)
		}
	}
}

// Get returns a subscription, also one that is disabled.
func (t *Table[S]) Get(id string) (S, bool) {
	if e, ok := t.entries.get(id); ok {
		return e.sub, true
	}
	var none S
	return none, false
}

// All yields the subscriptions, also those that are disabled, in no particular order.
func (t *Table[S]) All() iter.Seq[S] {
	return func(yield func(S) bool) {
		for _, e := range t.entries.all() {
			if !yield(e.sub) {
				return
			}
		}
	}
}

// Len is the number of subscriptions, those that are disabled included.
func (t *Table[S]) Len() int { return t.entries.size }

// Matches are the subscriptions that an event is for.
type Matches[S Subscriber] struct {
	// Wanted want it: their filters match.
	Wanted []S
	// Slow are those that JudgeQuick has not decided about.
	Slow []S
	// Undecided are those whose filters need more steps for this event than one event
	// may take. Whether they want it is not known.
	Undecided []S
}

// Match appends to dst the subscriptions that want an event of a domain: each once, in
// the order of their ids. Those that are undecided are left out: see Judge.
func (t *Table[S]) Match(domain string, e *event.Event, dst []S) []S {
	m := Matches[S]{Wanted: dst}
	t.judge(domain, e, &m)
	if len(m.Slow) > 0 {
		t.JudgeSlow(e, m.Slow, &m)
		slices.SortFunc(m.Wanted[len(dst):], compareIDs)
	}
	return m.Wanted
}

// Judge sets m to the subscriptions that an event of a domain is for: each once, in the
// order of their ids. What it says of a subscription does not depend on others.
func (t *Table[S]) Judge(domain string, e *event.Event, m *Matches[S]) {
	t.JudgeQuick(domain, e, m)
	if len(m.Slow) > 0 {
		t.JudgeSlow(e, m.Slow, m)
		slices.SortFunc(m.Wanted, compareIDs)
		m.Slow = m.Slow[:0]
	}
}

// JudgeQuick is Judge without what takes long: it sets m.Wanted to the subscriptions
// that want the event for all that can be said quickly, and m.Slow to those about
// which JudgeSlow has to decide. Both are in the order of their ids, each once.
func (t *Table[S]) JudgeQuick(domain string, e *event.Event, m *Matches[S]) {
	m.Wanted, m.Slow, m.Undecided = m.Wanted[:0], m.Slow[:0], m.Undecided[:0]
	t.judge(domain, e, m)
}

// judge appends to m what can be said quickly.
func (t *Table[S]) judge(domain string, e *event.Event, m *Matches[S]) {
	byType, _ := t.types.get(e.Type)
	byDomain, _ := t.domains.get(domain)
	if byType == nil && byDomain == nil {
		return
	}
	v := t.scratch.Get().(*evaluation[S]) // nothing else is put there
	v.start(e, t.slots)
	byType.match(v)
	byDomain.match(v)
	m.Wanted = appendOnce(m.Wanted, v.wanted)
	m.Slow = appendOnce(m.Slow, v.slow)
	v.reset()
	t.scratch.Put(v)
}

// reset forgets the event and the entries.
func (v *evaluation[S]) reset() {
	clear(v.wanted)
	clear(v.slow)
	v.wanted, v.slow = v.wanted[:0], v.slow[:0]
	v.values.reset()
}

// JudgeSlow appends to m.Wanted and m.Undecided what becomes of slow, which JudgeQuick has
// found for the event.
func (t *Table[S]) JudgeSlow(e *event.Event, slow []S, m *Matches[S]) {
	if len(slow) == 0 {
		return
	}
	v := t.scratch.Get().(*evaluation[S]) // nothing else is put there
	v.start(e, t.slots)
	for i, sub := range slow {
		if i > 0 {
			runtime.Gosched() // others have less to do
		}
		found, ok := t.entries.get(sub.Criteria().ID)
		if !ok {
			continue // of another table
		}
		switch found.evaluate(&v.values, budgetOf(e)) {
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

func compareIDs[S Subscriber](a, b S) int { return strings.Compare(a.Criteria().ID, b.Criteria().ID) }

// appendOnce sorts found by id and appends one of each: a subscription may be found by
// type and by domain, and by several operands.
func appendOnce[S Subscriber](subs []S, found []*entry[S]) []S {
	compare := func(a, b *entry[S]) int { return strings.Compare(a.id, b.id) }
	if !slices.IsSortedFunc(found, compare) {
		slices.SortFunc(found, compare)
	}
	for i, e := range found {
		if i == 0 || e != found[i-1] {
			subs = append(subs, e.sub)
		}
	}
	return subs
}

// A result is what became of an evaluation.
type result uint8

const (
	unwanted result = iota
	wanted
	undecided // it would have taken more steps than were granted
)

// compileCondition compiles filters, all of which must match. See compile.
func compileCondition(filters []Filter, intern func(name string) (*operand, error)) (condition, error) {
	filter, err := compile(filters, intern)
	if err != nil || filter == nil {
		return condition{}, err
	}
	return condition{filter: filter, keySets: keySets(filter)}, nil
}

// evaluate decides whether the event of v matches, in a bounded number of steps.
func (c *condition) evaluate(v *values, steps int) result {
	if c.filter == nil {
		return wanted
	}
	v.begin(steps)
	matched := c.filter.match(v)
	switch {
	case v.over && c.excluded(v):
		return unwanted
	case v.over:
		return undecided
	case matched:
		return wanted
	}
	return unwanted
}

// excluded reports whether the event of v has none of the keys of a set, of which every
// event that is wanted has one. An index by that set does not find the subscription, and
// which one it uses depends on other subscriptions; so the keys decide before the budget does.
func (c *condition) excluded(v *values) bool {
	return slices.ContainsFunc(c.keySets, func(set keySet) bool {
		return !slices.ContainsFunc(set, func(k key) bool {
			have, ok := v.get(k.of)
			return ok && k.fits(have)
		})
	})
}
