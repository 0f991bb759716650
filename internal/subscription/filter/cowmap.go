package filter

import (
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

// An edit marks what one change of a Table has copied already and may therefore
// change in place. Each change has its own.
type edit struct{ _ byte } // not empty: pointers to it must differ

// A cowMap is a map that can be copied by assignment. Changing the copy copies a
// shard of about 32 entries and the list of shards, not everything:
//
//	shards ─► [ ■ ■ ■ ■ … ]          the zero value is empty
//	            │
//	            └─► {key: value, …}  shared between copies until one changes it
type cowMap[V any] struct {
	shards []*shard[V]
	size   int
	seed   maphash.Seed
	owner  *edit // may change the slice shards
}

type shard[V any] struct {
	owner   *edit // may change entries
	entries map[string]V
}

const shardSize = 32 // entries in a shard, on average, at most

func (m *cowMap[V]) shardOf(key string) int {
	return int(maphash.String(m.seed, key) % uint64(len(m.shards))) //nolint:gosec // less than len
}

func (m *cowMap[V]) get(key string) (V, bool) {
	if m.size == 0 {
		var zero V
		return zero, false
	}
	value, ok := m.shards[m.shardOf(key)].entries[key]
	return value, ok
}

func (m *cowMap[V]) set(ed *edit, key string, value V) {
	if m.size >= shardSize*len(m.shards) {
		m.grow(ed)
	}
	entries := m.writable(ed, key)
	before := len(entries)
	entries[key] = value
	m.size += len(entries) - before
}

func (m *cowMap[V]) remove(ed *edit, key string) {
	if _, ok := m.get(key); !ok {
		return
	}
	delete(m.writable(ed, key), key)
	m.size--
}

// writable returns the map in which key belongs, after copying it if needed.
func (m *cowMap[V]) writable(ed *edit, key string) map[string]V {
	if m.owner != ed {
		m.shards, m.owner = slices.Clone(m.shards), ed
	}
	i := m.shardOf(key)
	if m.shards[i].owner != ed {
		m.shards[i] = &shard[V]{owner: ed, entries: maps.Clone(m.shards[i].entries)}
	}
	return m.shards[i].entries
}

// grow doubles the number of shards.
func (m *cowMap[V]) grow(ed *edit) {
	next := cowMap[V]{shards: make([]*shard[V], max(1, 2*len(m.shards))), size: m.size, seed: m.seed, owner: ed}
	if len(m.shards) == 0 {
		next.seed = maphash.MakeSeed()
	}
	for i := range next.shards {
		next.shards[i] = &shard[V]{owner: ed, entries: make(map[string]V)}
	}
	for key, value := range m.all() {
		next.shards[next.shardOf(key)].entries[key] = value
	}
	*m = next
}

// all yields every entry, in no particular order.
func (m *cowMap[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, s := range m.shards {
			for key, value := range s.entries {
				if !yield(key, value) {
					return
				}
			}
		}
	}
}
