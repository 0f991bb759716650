package main

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow further than Go's default before it is collected.
// Nearly everything jetpost allocates is dead when its delivery is settled, so
// each collection finds little and costs the same; the live heap is small.
const gcPercent = 400

// tuneMemory applies it, unless the operator has set GOGC.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
