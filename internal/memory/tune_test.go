package memory

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/jetpost/jetpost/internal/testkit"
)

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
		late := testkit.Timeout()
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
