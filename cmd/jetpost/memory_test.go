package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestMemoryFlag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]memoryFlag{
		"auto": 0, "AUTO": 0, "512MiB": 512 << 20, "2GiB": 2 << 30, "1 GiB": 1 << 30, "268435456": 256 << 20, "262144KiB": 256 << 20, "1TiB": 1 << 40,
	} {
		var got memoryFlag
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q: got %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "off", "512", "512MB", "-1GiB", "1.5GiB", "127MiB", "99999999999TiB", "GiB"} {
		var got memoryFlag
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

// A small heap may grow to five times of what is alive in it, a large one only to twice
// that, and in between it is a fixed amount.
func TestPercentFor(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct {
		live, growth int64
		want         int
	}{
		{0, 256 * mib, 400},
		{20 * mib, 256 * mib, 400},
		{64 * mib, 256 * mib, 400},
		{128 * mib, 256 * mib, 200},
		{256 * mib, 256 * mib, 100},
		{2048 * mib, 256 * mib, 100},
		{50 * mib, 90 * mib, 180},
	} {
		if got := percentFor(tt.live, tt.growth); got != tt.want {
			t.Errorf("%d MiB alive, growing by %d MiB: got %d, want %d", tt.live/mib, tt.growth/mib, got, tt.want)
		}
	}
}

// What is divided is no more than there is.
func TestDivideMemory(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{leastMemory, 512 << 20, 1 << 30, 64 << 30} {
		p := divideMemory(fromFlag, limit)
		sum := p.Deliveries.Size() + p.Events.Size() + p.Ingest.Size() + 3*p.Publishing().Size() + p.Streams + p.Inbound
		if sum > limit*3/4 {
			t.Errorf("of %d bytes %d are given away, and nothing is left for the rest", limit, sum)
		}
		if p.Deliveries.Size() < 16<<20 {
			t.Errorf("of %d bytes %d are for deliveries: not enough for a few of the largest", limit, p.Deliveries.Size())
		}
	}
}

// The function is called after each collection, and not only after the first.
func TestAfterCollections(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1000)
	afterCollections(func() {
		select {
		case called <- struct{}{}:
		default:
		}
	})
	for n := range 3 {
		late := time.After(factDeadline)
		for waiting := true; waiting; {
			runtime.GC()
			select {
			case <-called:
				waiting = false
			case <-late:
				t.Fatalf("called %d times in %d collections", n, collections())
			default:
			}
		}
	}
}

func collections() int64 {
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	return stats.NumGC
}
