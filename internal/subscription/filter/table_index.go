package filter

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
)

// A typeIndex has the subscriptions to one event type or one domain.
type typeIndex[S Subscriber] struct {
	owner  *edit
	always *entryList[S]  // without keys
	keyed  []*keyIndex[S] // by operand, in the order in which they came
}

// A keyIndex has the subscriptions with keys of one operand.
type keyIndex[S Subscriber] struct {
	owner   *edit
	operand *operand
	values  cowMap[*entryList[S]] // by value
	// by how it begins and ends
	beginnings, endings partIndex[S]
}

// A partIndex has entries by parts of values of any length.
type partIndex[S Subscriber] struct {
	lists cowMap[*entryList[S]]
	// lengths counts the parts of each length, less one; long has a bit for each
	// length that there is.
	lengths [maxKeyPart]int32
	long    uint64
}

// counted notes that there are by more parts of a length.
func (x *partIndex[S]) counted(length, by int) {
	at := length - 1
	if x.lengths[at] += int32(by); x.lengths[at] > 0 { //nolint:gosec // one more or one less
		x.long |= 1 << at
	} else {
		x.long &^= 1 << at
	}
}

// An entryList is in the order of ids.
type entryList[S Subscriber] struct {
	owner   *edit
	entries []*entry[S]
}

// add puts e into ix, which ed owns: under the keys that have the fewest
// subscriptions so far.
func (ix *typeIndex[S]) add(ed *edit, e *entry[S]) {
	if len(e.keySets) == 0 {
		ix.always = ix.always.with(ed, e)
		return
	}
	best := e.keySets[0]
	if len(e.keySets) > 1 {
		best = slices.MinFunc(e.keySets, func(a, b keySet) int { return cmp.Compare(ix.load(a), ix.load(b)) })
	}
	for _, k := range best {
		ix.writable(ed, k.of).change(ed, k, func(l *entryList[S]) *entryList[S] { return l.with(ed, e) })
	}
}

// load counts the subscriptions under the keys of a set.
func (ix *typeIndex[S]) load(set keySet) int {
	var load int
	for _, k := range set {
		if x := ix.of(k.of); x != nil {
			load += len(x.find(k).entries)
		}
	}
	return load
}

// remove takes e out of ix, which ed owns.
func (ix *typeIndex[S]) remove(ed *edit, e *entry[S]) {
	if len(e.keySets) == 0 {
		ix.always = ix.always.without(ed, e)
		return
	}
	for _, set := range e.keySets { // one of them was used
		for _, k := range set {
			x := ix.of(k.of)
			if x == nil {
				continue
			}
			if _, ok := x.find(k).find(e.id); !ok {
				continue
			}
			x = ix.writable(ed, k.of)
			x.change(ed, k, func(l *entryList[S]) *entryList[S] { return l.without(ed, e) })
			if x.values.size+x.beginnings.lists.size+x.endings.lists.size == 0 {
				ix.keyed = slices.DeleteFunc(ix.keyed, func(each *keyIndex[S]) bool { return each == x })
			}
		}
	}
}

// of returns the index of an operand, nil when there is none.
func (ix *typeIndex[S]) of(of *operand) *keyIndex[S] {
	for _, x := range ix.keyed {
		if x.operand == of {
			return x
		}
	}
	return nil
}

// writable returns the index of an operand, which ed then owns.
func (ix *typeIndex[S]) writable(ed *edit, of *operand) *keyIndex[S] {
	i := slices.IndexFunc(ix.keyed, func(x *keyIndex[S]) bool { return x.operand == of })
	switch {
	case i < 0:
		i = len(ix.keyed)
		ix.keyed = append(ix.keyed, &keyIndex[S]{owner: ed, operand: of})
	case ix.keyed[i].owner != ed:
		owned := *ix.keyed[i]
		owned.owner = ed
		ix.keyed[i] = &owned
	}
	return ix.keyed[i]
}

func (x *keyIndex[S]) lists(k key) *cowMap[*entryList[S]] {
	if part := x.part(k); part != nil {
		return &part.lists
	}
	return &x.values
}

// part returns where a key is that is not a whole value.
func (x *keyIndex[S]) part(k key) *partIndex[S] {
	switch k.part {
	case beginning:
		return &x.beginnings
	case ending:
		return &x.endings
	case wholeValue:
	}
	return nil
}

// find returns what is under a key; an empty list when there is nothing.
func (x *keyIndex[S]) find(k key) *entryList[S] {
	if list, ok := x.lists(k).get(k.text); ok {
		return list
	}
	return &entryList[S]{}
}

// change changes what is under a key of x, which ed owns.
func (x *keyIndex[S]) change(ed *edit, k key, change func(*entryList[S]) *entryList[S]) {
	lists := x.lists(k)
	before := lists.size
	list, ok := lists.get(k.text)
	if !ok {
		list = &entryList[S]{owner: ed}
	}
	if list = change(list); len(list.entries) > 0 {
		lists.set(ed, k.text, list)
	} else {
		lists.remove(ed, k.text)
	}
	if part := x.part(k); part != nil {
		part.counted(len(k.text), lists.size-before)
	}
}

// match finds what an event may match by its value.
func (x *keyIndex[S]) match(have string, v *evaluation[S]) {
	if list, ok := x.values.get(have); ok {
		list.match(v)
	}
	for long := x.beginnings.long; long != 0; long &= long - 1 {
		n := bits.TrailingZeros64(long) + 1
		if n > len(have) {
			break
		}
		if list, ok := x.beginnings.lists.get(have[:n]); ok {
			list.match(v)
		}
	}
	for long := x.endings.long; long != 0; long &= long - 1 {
		n := bits.TrailingZeros64(long) + 1
		if n > len(have) {
			break
		}
		if list, ok := x.endings.lists.get(have[len(have)-n:]); ok {
			list.match(v)
		}
	}
}

func (l *entryList[S]) with(ed *edit, e *entry[S]) *entryList[S] {
	l = l.writable(ed)
	at, _ := l.find(e.id)
	l.entries = slices.Insert(l.entries, at, e)
	return l
}

func (l *entryList[S]) without(ed *edit, e *entry[S]) *entryList[S] {
	l = l.writable(ed)
	if at, ok := l.find(e.id); ok {
		l.entries = slices.Delete(l.entries, at, at+1)
	}
	return l
}

func (l *entryList[S]) writable(ed *edit) *entryList[S] {
	if l.owner == ed {
		return l
	}
	return &entryList[S]{owner: ed, entries: slices.Clone(l.entries)}
}

func (l *entryList[S]) find(id string) (int, bool) {
	return slices.BinarySearchFunc(l.entries, id, func(e *entry[S], id string) int { return strings.Compare(e.id, id) })
}

func (ix *typeIndex[S]) match(v *evaluation[S]) {
	if ix == nil {
		return
	}
	ix.always.match(v)
	for _, x := range ix.keyed {
		if have, ok := v.get(x.operand); ok {
			x.match(have, v)
		}
	}
}

func (l *entryList[S]) match(v *evaluation[S]) {
	for _, e := range l.entries {
		switch e.evaluate(&v.values, v.quick) {
		case wanted:
			v.wanted = append(v.wanted, e)
		case undecided:
			v.slow = append(v.slow, e)
		case unwanted:
		}
	}
}
