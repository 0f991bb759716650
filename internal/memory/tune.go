// Package memory plans how much memory the parts of a process may take, and tunes how often
// garbage is collected.
package memory

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// gcPercent lets the heap grow further than Go's default before it is collected, as
	// long as it is small: nearly everything jetpost allocates is dead when its delivery
	// is settled, so each collection finds little and costs the same.
	gcPercent = 400
	// leastPercent is for a heap in which much is alive.
	leastPercent = 100
	// gcGrowth is by how much a heap grows between two collections that is too large for
	// gcPercent, and too small for leastPercent.
	gcGrowth = 256 << 20
)

// Tune has the garbage collected by how much is alive, unless the operator has set
// GOGC.
func Tune() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(gcPercent)
	growth := int64(gcGrowth)
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		growth = min(growth, limit/4)
	}
	current := gcPercent
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	afterCollections(func() {
		metrics.Read(live)
		next := percentFor(int64(live[0].Value.Uint64()), growth) //nolint:gosec // memory is smaller
		if next*10 < current*9 || next*9 > current*10 {           // it stops the world
			current = next
			debug.SetGCPercent(next)
		}
	})
}

// percentFor is the GC percentage for a heap of which so much is alive.
func percentFor(live, growth int64) int {
	return int(max(leastPercent, min(gcPercent, growth*100/max(live, 1))))
}

// afterCollections calls f after each garbage collection, for as long as the process
// lives.
func afterCollections(f func()) {
	type sentinel struct{ _ [16]byte }
	var arm func(*sentinel)
	arm = func(s *sentinel) {
		f()
		runtime.SetFinalizer(s, arm)
	}
	runtime.SetFinalizer(&sentinel{}, arm)
}
