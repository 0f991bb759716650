package receiver

import (
	"strconv"
	"sync"
	"sync/atomic"
)

// counts are what a receiver has seen since it started.
type counts struct {
	received, bytes           atomic.Int64
	distinct, repeats         atomic.Int64
	verified, bad, unverified atomic.Int64
	broken                    atomic.Int64      // requests that ended before their body did; not in received
	status                    [600]atomic.Int64 // by status code; at 0 those never answered
}

// add counts one request. named says whether it had a webhook-id.
func (c *counts) add(size int64, named bool, arrival int, v validity, status int) {
	c.received.Add(1)
	c.bytes.Add(size)
	switch {
	case !named:
	case arrival == 1:
		c.distinct.Add(1)
	default:
		c.repeats.Add(1)
	}
	switch v {
	case verified:
		c.verified.Add(1)
	case bad:
		c.bad.Add(1)
	case unverified:
		c.unverified.Add(1)
	}
	c.status[status].Add(1)
}

// receiverTotals is a copy of the counts, as the summary prints it.
type receiverTotals struct {
	Received   int64            `json:"received"`
	Bytes      int64            `json:"bytes"`
	Distinct   int64            `json:"distinct"` // webhook-ids
	Repeats    int64            `json:"repeats"`  // requests with a webhook-id that had arrived before
	Verified   int64            `json:"verified"`
	Bad        int64            `json:"bad_signatures"`
	Unverified int64            `json:"unverified"`
	Broken     int64            `json:"broken"`
	Statuses   map[string]int64 `json:"statuses"` // by status code; "none": never answered
}

func (c *counts) totals() receiverTotals {
	t := receiverTotals{
		Received: c.received.Load(), Bytes: c.bytes.Load(),
		Distinct: c.distinct.Load(), Repeats: c.repeats.Load(),
		Verified: c.verified.Load(), Bad: c.bad.Load(), Unverified: c.unverified.Load(),
		Broken: c.broken.Load(), Statuses: make(map[string]int64),
	}
	for code := range c.status {
		if n := c.status[code].Load(); n > 0 {
			t.Statuses[statusName(code)] = n
		}
	}
	return t
}

// statusName is how a status is printed; 0 is a request that never gets one.
func statusName(code int) string {
	if code == 0 {
		return "none"
	}
	return strconv.Itoa(code)
}

const (
	idShards        = 64      // so that concurrent requests seldom wait for each other
	idsPerShard     = 1 << 15 // two million together
	fnvOffset       = 14695981039346656037
	fnvPrime        = 1099511628211
	shardOfHashBits = 6 // log2(idShards)
)

// ids counts how often each webhook-id has arrived. It keeps a hash of each, and
// forgets the oldest once between one and two times its limit are kept: a receiver
// may run for weeks. Two ids with one hash count as one; with millions of ids the
// odds are one in a few million.
type ids struct {
	perShard int // the limit, divided by idShards
	unnamed  atomic.Int64
	shards   [idShards]idShard
}

type idShard struct {
	mu            sync.Mutex
	recent, older map[uint64]int32
}

// arrive counts one arrival of id and returns its number, from 1. All requests
// without an id are numbered together.
func (s *ids) arrive(id string) int {
	if id == "" {
		return int(s.unnamed.Add(1))
	}
	h := hashID(id)
	shard := &s.shards[h>>(64-shardOfHashBits)]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	n, known := shard.recent[h]
	if !known {
		n = shard.older[h]
		if len(shard.recent) >= s.perShard || shard.recent == nil {
			shard.older, shard.recent = shard.recent, make(map[uint64]int32)
		}
	}
	shard.recent[h] = n + 1
	return int(n + 1)
}

// hashID is FNV-1a with a final mix. It does not change between runs: --fail-rate
// is derived from it.
func hashID(id string) uint64 {
	h := uint64(fnvOffset)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * fnvPrime
	}
	h ^= h >> 32 // FNV leaves its high bits poor on short strings
	return h * fnvPrime
}
