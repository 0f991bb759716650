package subscription

import (
	"cmp"
	"slices"
	"strings"
)

// A key is what an index finds a subscription by: the value of an operand, or with
// prefix how it begins.
type key struct {
	of     *operand
	text   string
	prefix bool
}

// A keySet has been taken from a filter such that an event which the filter accepts
// has at least one of its keys. Sets have no keys that others of the set imply, so
// an event has at most one for each operand.
type keySet []key

const (
	maxKeySets   = 4  // that are considered for one filter
	maxKeyPrefix = 64 // bytes of a prefix; indexes have a bit for each length
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
			return []keySet{{prefixKey(n.of, n.literal)}}
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
	sets = slices.DeleteFunc(sets, func(s keySet) bool { return len(s) == 0 })
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
	return key{of: of, text: text[:min(len(text), maxKeyPrefix)], prefix: true}
}

// simplified sorts the keys and leaves out those that another one implies.
func (s keySet) simplified() keySet {
	slices.SortFunc(s, func(a, b key) int {
		if c := cmp.Or(cmp.Compare(a.of.slot, b.of.slot), strings.Compare(a.text, b.text)); c != 0 || a.prefix == b.prefix {
			return c
		}
		if a.prefix {
			return -1
		}
		return 1
	})
	kept := s[:0]
	for _, k := range s {
		// What a prefix implies comes right behind it.
		if n := len(kept); n > 0 && kept[n-1].implies(k) {
			continue
		}
		kept = append(kept, k)
	}
	return kept
}

func (k key) implies(other key) bool {
	return k.of == other.of && (k.text == other.text && k.prefix == other.prefix || k.prefix && strings.HasPrefix(other.text, k.text))
}

// cost guesses how often an event has one of the keys. It breaks ties only: what
// counts is how many subscriptions there are already under the keys.
func (s keySet) cost() int {
	var cost int
	for _, k := range s {
		switch {
		case k.of.attribute == "type" || k.of.attribute == "specversion" || k.of.attribute == "datacontenttype":
			cost += 1000 // all the events of an index tend to have the same
		case k.prefix:
			cost += 2 + 16/len(k.text)
		default:
			cost++
		}
	}
	return cost
}
