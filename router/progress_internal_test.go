package router

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is settled is known without gaps, in whatever order it is learned.
func TestProgress(t *testing.T) {
	t.Parallel()
	type step struct {
		note, raise uint64 // one of them
		settled     uint64 // afterwards
	}
	for _, test := range []struct {
		name  string
		steps []step
		noted []uint64 // left over
	}{
		{"one after the other", []step{{note: 1, settled: 1}, {note: 2, settled: 2}}, nil},
		{"a gap", []step{{note: 2}, {note: 3}, {note: 1, settled: 3}}, nil},
		{"a gap that another router fills", []step{{note: 12}, {note: 14}, {raise: 11, settled: 12}, {raise: 13, settled: 14}}, nil},
		{"the floor is behind", []step{{raise: 10, settled: 10}, {raise: 9, settled: 10}}, nil},
		{"the floor overtakes", []step{{note: 5}, {note: 7}, {raise: 6, settled: 7}, {note: 9, settled: 7}}, []uint64{9}},
		{"what is old", []step{{raise: 10, settled: 10}, {note: 4, settled: 10}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newProgress()
			p.wanted.Store(true)
			for i, s := range test.steps {
				if s.note != 0 {
					p.record(s.note)
				} else {
					p.raise(s.raise)
				}
				if p.settled != s.settled {
					t.Errorf("after step %d settled up to %d, want %d", i, p.settled, s.settled)
				}
			}
			want := make(map[uint64]struct{})
			for _, n := range test.noted {
				want[n] = struct{}{}
			}
			if diff := cmp.Diff(want, p.recorded); diff != "" {
				t.Errorf("recorded (-want +got):\n%s", diff)
			}
		})
	}
	p := newProgress()
	p.record(1)
	if p.settled != 0 || len(p.recorded) != 0 {
		t.Error("something is recorded while no event waits")
	}
	p.wanted.Store(true)
	for n := range uint64(3 * maxRecorded) {
		p.record(n + 2)
	}
	if len(p.recorded) > maxRecorded {
		t.Errorf("%d events are recorded", len(p.recorded))
	}
}
