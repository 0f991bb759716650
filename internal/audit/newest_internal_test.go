package audit

import (
	"testing"

	"github.com/jetpost/jetpost/internal/stream"
)

// However much a search passes over, no more is kept than is wanted, and what is
// shown twice is there once.
func TestNewestIsBounded(t *testing.T) {
	t.Parallel()
	n := newest{filter: &Filter{Actor: "a"}, limit: 3}
	show := func(from, to uint64) {
		for sequence := from; sequence <= to; sequence++ {
			r := Record{Sequence: sequence, Action: "subscription.create", Target: "t", Actor: "a"}
			if sequence%2 == 0 {
				r.Actor = "b"
			}
			data, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			n.look(&stream.Record{Sequence: sequence, Data: data})
			if len(n.kept) > n.limit {
				t.Fatalf("%d are kept", len(n.kept))
			}
		}
	}
	show(50, 99)
	show(1, 99)
	for sequence := uint64(99); sequence > 0; sequence-- {
		if _, ok := n.take(sequence); ok != (sequence == 99 || sequence == 97 || sequence == 95) {
			t.Errorf("record %d: %v", sequence, ok)
		}
	}
}
