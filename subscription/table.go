package subscription

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jetpost/jetpost/stream"
)

// A Table finds the subscriptions that want an event. It never changes: With and
// Without return a new one that shares nearly everything with the old one.
//
//	event ─► by type   ─┬─► without an exact condition ─────► evaluate
//	     └─► by domain ─┘                                        ▲
//	           └─► for each operand of an exact condition:       │
//	                 its value in the event ─► subscriptions ────┘
//
// So an event costs a lookup for each operand that filters of its type ask for,
// and an evaluation for each subscription that is left, however many there are.
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
	// required says where an index keeps the entry, when the filter has an exact
	// condition that every match must pass.
	required exactNode
	indexed  bool
}

// A typeIndex has the subscriptions to one event type or one domain.
type typeIndex struct {
	owner  *edit
	always *entryList    // without a required condition
	exact  []*exactIndex // by operand, in the order in which they came
}

// An exactIndex has the subscriptions that require the same operand to be equal
// to something, by what.
type exactIndex struct {
	owner   *edit
	operand *operand
	values  cowMap[*entryList]
}

// An entryList is in the order of ids.
type entryList struct {
	owner   *edit
	entries []*entry
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
			added.required, added.indexed = required(filter)
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
	parsed, err := parseOperand(name)
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
			ix = &typeIndex{owner: ed, always: ix.always, exact: slices.Clone(ix.exact)}
		}
		change(ix)
		if len(ix.always.entries) == 0 && len(ix.exact) == 0 {
			in.remove(ed, eventType)
		} else {
			in.set(ed, eventType, ix)
		}
	}
}

// add puts e into ix, which ed owns.
func (ix *typeIndex) add(ed *edit, e *entry) {
	if !e.indexed {
		ix.always = ix.always.with(ed, e)
		return
	}
	x := ix.writableExact(ed, e.required.of)
	list, ok := x.values.get(e.required.want)
	if !ok {
		list = &entryList{owner: ed}
	}
	x.values.set(ed, e.required.want, list.with(ed, e))
}

// remove takes e out of ix, which ed owns.
func (ix *typeIndex) remove(ed *edit, e *entry) {
	if !e.indexed {
		ix.always = ix.always.without(ed, e)
		return
	}
	x := ix.writableExact(ed, e.required.of)
	list, _ := x.values.get(e.required.want) // it has e
	if list = list.without(ed, e); len(list.entries) > 0 {
		x.values.set(ed, e.required.want, list)
		return
	}
	x.values.remove(ed, e.required.want)
	if x.values.size == 0 {
		ix.exact = slices.DeleteFunc(ix.exact, func(each *exactIndex) bool { return each == x })
	}
}

// writableExact returns the index of an operand, which ed then owns.
func (ix *typeIndex) writableExact(ed *edit, of *operand) *exactIndex {
	i := slices.IndexFunc(ix.exact, func(x *exactIndex) bool { return x.operand == of })
	switch {
	case i < 0:
		i = len(ix.exact)
		ix.exact = append(ix.exact, &exactIndex{owner: ed, operand: of})
	case ix.exact[i].owner != ed:
		ix.exact[i] = &exactIndex{owner: ed, operand: of, values: ix.exact[i].values}
	}
	return ix.exact[i]
}

func (l *entryList) with(ed *edit, e *entry) *entryList {
	l = l.writable(ed)
	at, _ := l.find(e.sub.ID)
	l.entries = slices.Insert(l.entries, at, e)
	return l
}

func (l *entryList) without(ed *edit, e *entry) *entryList {
	l = l.writable(ed)
	if at, ok := l.find(e.sub.ID); ok {
		l.entries = slices.Delete(l.entries, at, at+1)
	}
	return l
}

func (l *entryList) writable(ed *edit) *entryList {
	if l.owner == ed {
		return l
	}
	return &entryList{owner: ed, entries: slices.Clone(l.entries)}
}

func (l *entryList) find(id string) (int, bool) {
	return slices.BinarySearchFunc(l.entries, id, func(e *entry, id string) int { return strings.Compare(e.sub.ID, id) })
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

// Match appends to dst the active and paused subscriptions that want an event of
// a domain: each once, in the order of their ids.
func (t *Table) Match(domain string, e *stream.Event, dst []*Subscription) []*Subscription {
	byType, _ := t.types.get(e.Type)
	byDomain, _ := t.domains.get(domain)
	if byType == nil && byDomain == nil {
		return dst
	}
	v := t.scratch.Get().(*values) // nothing else is put there
	v.start(e, t.slots)
	from := len(dst)
	dst = byType.match(v, dst)
	dst = byDomain.match(v, dst)
	v.reset()
	t.scratch.Put(v)

	found := dst[from:]
	compare := func(a, b *Subscription) int { return strings.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(found, compare) {
		slices.SortFunc(found, compare)
	}
	if byType != nil && byDomain != nil { // a subscription may be in both
		found = slices.Compact(found)
	}
	return dst[:from+len(found)]
}

func (ix *typeIndex) match(v *values, dst []*Subscription) []*Subscription {
	if ix == nil {
		return dst
	}
	dst = ix.always.match(v, dst)
	for _, x := range ix.exact {
		if have, ok := v.get(x.operand); ok {
			list, _ := x.values.get(have)
			dst = list.match(v, dst)
		}
	}
	return dst
}

func (l *entryList) match(v *values, dst []*Subscription) []*Subscription {
	if l == nil {
		return dst
	}
	for _, e := range l.entries {
		if e.filter == nil || e.filter.match(v) {
			dst = append(dst, e.sub)
		}
	}
	return dst
}
