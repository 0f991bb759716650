package members

import (
	"cmp"
	"hash/fnv"
	"slices"
)

// Who owns a subscription is found by rendezvous hashing: every sender has a score for
// it, and the best ones own it. So all who know the same senders agree without a word,
// and when one comes or goes only what it gains or has lost moves.
//
// The scores are part of what versions of jetpost have to agree on while they run side
// by side: two that differ could each take the other for the owner, and no sender would
// pull.

// score is that of a member for a subscription, from their hashes.
func score(member, subscription uint64) uint64 { return mix(member ^ subscription) }

// hash spreads ids that differ in a letter over all of its range.
func hash(id string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return mix(h.Sum64())
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood: Fast Splittable
// Pseudorandom Number Generators, 2014): a bijection in which every bit of x changes
// every bit of the result with a probability of one half.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}

// candidate is a sender that may own subscriptions.
type candidate struct {
	id   string
	hash uint64
}

// before orders candidates by how near they are to owning a subscription.
func (c candidate) before(other candidate, subscription uint64) bool {
	mine, theirs := score(c.hash, subscription), score(other.hash, subscription)
	return mine > theirs || mine == theirs && c.id < other.id
}

// owners are the best k of all, the best first.
func owners(all []candidate, subscription string, k int) []string {
	h := hash(subscription)
	ranked := slices.SortedFunc(slices.Values(all), func(a, b candidate) int {
		return cmp.Or(cmp.Compare(score(b.hash, h), score(a.hash, h)), cmp.Compare(a.id, b.id))
	})
	ids := make([]string, min(k, len(ranked)))
	for i := range ids {
		ids[i] = ranked[i].id
	}
	return ids
}

// owns reports whether id is one of owners, without sorting.
func owns(all []candidate, id, subscription string, k int) bool {
	i := slices.IndexFunc(all, func(c candidate) bool { return c.id == id })
	if i < 0 {
		return false
	}
	h, better := hash(subscription), 0
	for _, other := range all {
		if other.before(all[i], h) {
			if better++; better >= k {
				return false
			}
		}
	}
	return k > 0
}
