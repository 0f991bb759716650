package filter

import (
	"cmp"
	"slices"
	"strings"
)

// A key is what an index finds a subscription by: the value of an operand, or how it
// begins or ends.
type key struct {
	of   *operand
	text string
	part keyPart
}

// A keyPart says which part of a value a key is.
type keyPart uint8

const (
	wholeValue keyPart = iota
	beginning
	ending
)

// A keySet has been taken from a filter such that an event which the filter accepts
// has at least one of its keys. Sets have few keys that others of the set imply.
type keySet []key

const (
	maxKeySets = 4 // that are considered for one filter
	// maxKeyOperands is of how many operands a set may have keys: the index looks each of
	// them up in every event, and no subscription pays for that.
	maxKeyOperands = 8
	maxKeyPart     = 64 // bytes of a beginning or an ending; indexes have a bit for each length
)

// keySets returns what a filter can be indexed by, the most promising first.
func keySets(n node) []keySet {
	var sets []keySet
	switch n := n.(type) {
	case *entryNode:
		if n.whole {
			return []keySet{{{of: n.of, text: n.literal}}}
		}
		if n.literal != "" {
			sets = append(sets, keySet{prefixKey(n.of, n.literal)})
		}
		if n.tail != "" {
			sets = append(sets, keySet{suffixKey(n.of, n.tail)})
		}
	case *inNode:
		var set keySet
		for want := range n.want {
			set = append(set, key{of: n.of, text: want})
		}
		sets = append(sets, set)
	case *sqlNode:
		sets = slices.Clone(n.keySets)
	case allNode:
		for _, each := range n {
			sets = append(sets, keySets(each)...)
		}
	case anyNode:
		sets = union(n)
	}
	for i := range sets {
		sets[i] = sets[i].simplified()
	}
	sets = slices.DeleteFunc(sets, func(s keySet) bool { return len(s) == 0 || s.operands() > maxKeyOperands })
	slices.SortStableFunc(sets, func(a, b keySet) int { return cmp.Compare(a.cost(), b.cost()) })
	return sets[:min(len(sets), maxKeySets)]
}

// union makes a set of one set of each branch; none when a branch has none. Of
// those of a branch it takes the one whose operand most branches have a set of: in
//
//	any: repo_key is a, all of (repoclass is remote, repo_key is a-cache)
//
// the class of the repository would find too much.
func union(branches anyNode) []keySet {
	all := make([][]keySet, len(branches))
	shared := make(map[*operand]int)
	for i, each := range branches {
		all[i] = keySets(each)
		if len(all[i]) == 0 {
			return nil
		}
		for _, set := range all[i] {
			shared[set[0].of]++
		}
	}
	var set keySet
	for _, sets := range all {
		best := slices.MaxFunc(sets, func(a, b keySet) int { return cmp.Compare(shared[a[0].of], shared[b[0].of]) })
		set = append(set, best...)
	}
	return []keySet{set}
}

func prefixKey(of *operand, text string) key {
	return key{of, text[:min(len(text), maxKeyPart)], beginning}
}

func suffixKey(of *operand, text string) key {
	return key{of, text[max(0, len(text)-maxKeyPart):], ending}
}

// simplified sorts the keys and leaves out those that are there twice, or that a
// beginning implies.
func (s keySet) simplified() keySet {
	// Endings go behind all others, beginnings before what they imply.
	slices.SortFunc(s, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.of.slot, b.of.slot), cmp.Compare(a.part/ending, b.part/ending), strings.Compare(a.text, b.text), cmp.Compare(b.part, a.part))
	})
	kept := s[:0]
	for _, k := range s {
		// What a beginning implies comes right behind it.
		if n := len(kept); n > 0 && kept[n-1].implies(k) {
			continue
		}
		kept = append(kept, k)
	}
	return kept
}

// operands counts the operands of a simplified set.
func (s keySet) operands() int {
	n := 0
	for i := range s {
		if i == 0 || s[i].of != s[i-1].of {
			n++
		}
	}
	return n
}

func (k key) implies(other key) bool {
	return k == other || k.of == other.of && k.part == beginning && other.part != ending && strings.HasPrefix(other.text, k.text)
}

// fits reports whether a value is, begins or ends as k says.
func (k key) fits(value string) bool {
	switch k.part {
	case beginning:
		return strings.HasPrefix(value, k.text)
	case ending:
		return strings.HasSuffix(value, k.text)
	case wholeValue:
	}
	return value == k.text
}

// cost guesses how often an event has one of the keys. It breaks ties only: what
// counts is how many subscriptions there are already under the keys.
func (s keySet) cost() int {
	var cost int
	for _, k := range s {
		switch {
		case k.of.attribute == "type" || k.of.attribute == "specversion" || k.of.attribute == "datacontenttype":
			cost += 1000 // all the events of an index tend to have the same
		case k.part != wholeValue:
			cost += 2 + 16/len(k.text)
		default:
			cost++
		}
	}
	return cost
}
