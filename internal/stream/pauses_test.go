package stream

import (
	"testing"
	"time"
)

// Pauses double from the first to the longest, and none is shorter than half of that or
// longer than it.
func TestPauses(t *testing.T) {
	t.Parallel()
	for range 100 {
		pauses := Pauses(time.Second, 30*time.Second)
		for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
			want := time.Duration(seconds) * time.Second
			if got := pauses.NextBackOff(); got < want/2-1 || got > want+1 { // it calculates in floats
				t.Fatalf("a pause of %v, want %v to %v", got, want/2, want)
			}
		}
		pauses.Reset()
		if got := pauses.NextBackOff(); got > time.Second+1 {
			t.Fatalf("a pause of %v after Reset, want no more than 1s", got)
		}
	}
}
