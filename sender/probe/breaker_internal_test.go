package probe

import (
	"testing"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// A breaker is to be opened once, by the last of enough failures in a row that began while it
// was closed. Successes end the row, and deliveries without a request say nothing.
func TestCount(t *testing.T) {
	t.Parallel()
	const failures = 3
	terms := subscription.Breaker{Mode: subscription.BreakerOn, Failures: failures}
	down, up, unknown := Evidence{Health: Down}, Evidence{Health: Up}, Evidence{Health: Unknown}
	for _, tt := range []struct {
		name  string
		found []Evidence
		opens int // index of the evidence that opens it; -1: none does
	}{
		{"failures in a row", []Evidence{down, down, down}, 2},
		{"more failures, one opens it", []Evidence{down, down, down, down, down, down}, 2},
		{"not enough", []Evidence{down, down}, -1},
		{"a success between them", []Evidence{down, down, up, down, down}, -1},
		{"nothing known between them", []Evidence{down, unknown, down, unknown, down}, 4},
	} {
		b := newBreakerOf(terms)
		generation := b.Generation()
		for i := range tt.found {
			f := tt.found[i]
			b.Count(&f, generation)
			if (f.opens != "") != (i == tt.opens) {
				t.Errorf("%s: evidence %d opens the breaker: %q", tt.name, i, f.opens)
			}
			if f.opens != "" && f.row != failures {
				t.Errorf("%s: opens after %d failures in a row, want %d", tt.name, f.row, failures)
			}
		}
	}
}

// Requests that began before the breaker was last closed do not count.
func TestCountOfEarlierGeneration(t *testing.T) {
	t.Parallel()
	b := newBreakerOf(subscription.Breaker{Mode: subscription.BreakerOn, Failures: 1})
	before := b.Generation()
	_, stop := b.WhileClosed(t.Context())
	defer stop()
	f := Evidence{Health: Down}
	if b.Count(&f, before); f.opens != "" {
		t.Errorf("an earlier failure opens the breaker: %q", f.opens)
	}
	if b.Count(&f, b.Generation()); f.opens == "" {
		t.Error("a failure of now does not open the breaker")
	}
}

// Without a breaker nothing counts, and all deliveries are admitted.
func TestBreakerIsOff(t *testing.T) {
	t.Parallel()
	b := newBreakerOf(subscription.Breaker{Mode: subscription.BreakerOff, Failures: 1})
	b.copy.set(breaker.Record{State: breaker.Open}, 1, 1)
	f := Evidence{Health: Down}
	if b.Count(&f, b.Generation()); f.opens != "" || !b.Admits() || b.State() != subscription.BreakerOff {
		t.Errorf("opens: %q, admits: %t, state %s", f.opens, b.Admits(), b.State())
	}
}

func newBreakerOf(terms subscription.Breaker) *Breaker {
	return NewBreakers(Config{}, nil, nil, nil, nil).Of("hook", terms)
}

// A copy keeps the latest revision, whatever arrives late, and until a new connection, after
// which the server may use revisions again.
func TestReplica(t *testing.T) {
	t.Parallel()
	all := NewBreakers(Config{}, nil, nil, nil, nil)
	r := all.of("hook")
	record := func(failures int) breaker.Record { return breaker.Record{State: breaker.Open, Failures: failures} }
	want := func(what string, failures int, revision uint64) {
		t.Helper()
		if got, at, _ := r.get(); got.Failures != failures || at != revision {
			t.Errorf("%s: got %d failures at revision %d, want %d at %d", what, got.Failures, at, failures, revision)
		}
	}
	_, _, changed := r.get()
	r.set(record(1), 5, 5)
	want("the first", 1, 5)
	select {
	case <-changed:
	default:
		t.Error("a change is not announced")
	}
	r.set(record(2), 4, 4)
	want("a late one", 1, 5)
	r.set(breaker.Record{}, 0, 6)
	want("a deletion", 0, 0)
	r.set(record(1), 5, 5)
	want("one from before the deletion", 0, 0)
	all.distrust()
	r.set(record(3), 2, 2)
	want("after a new connection", 3, 2)
	r.refresh(record(4), 7)
	want("one that was read", 4, 7)
	r.refresh(record(5), 6)
	want("one that was read and is outdated", 4, 7)
}
