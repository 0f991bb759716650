package audit

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

func newInternal(t *testing.T) (*Trail, *Trail) {
	t.Helper()
	s := streamtest.New(t)
	if err := s.Layout.Ensure(t.Context(), s.JS(), nil); err != nil {
		t.Fatal(err)
	}
	return New(s.JS(), s.Layout, "admin", zap.NewNop()), New(s.JS(), s.Layout, "other", zap.NewNop())
}

// next is a record that is ready to be published behind what there is.
func (t *Trail) next(tb testing.TB, target string) *pendingRecord {
	tb.Helper()
	if err := t.findEnd(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	r := Record{Action: "subscription.create", Target: target, Actor: "tok_1", Sequence: t.end.Sequence + 1, Previous: t.end.Hash}
	data, err := r.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	return &pendingRecord{r, data}
}

// targets are the targets on the trail, those of failures with the sequence they are of.
func targets(tb testing.TB, t *Trail) []string {
	tb.Helper()
	v := NewVerifier()
	var targets []string
	for line, err := range t.Export(tb.Context(), 0, 0) {
		if err != nil {
			tb.Fatal(err)
		}
		v.Add(line)
		r, err := Decode(line)
		if err != nil {
			tb.Fatal(err)
		}
		if r.Of > 0 {
			r.Target += " failed"
		}
		targets = append(targets, r.Target)
	}
	if broken := v.Report().Break; broken != nil {
		tb.Error(broken)
	}
	return targets
}

// An answer that was lost: the record is found where it belongs, and is not written
// twice.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	trail, other := newInternal(t)
	l := trail.next(t, "first")
	if err := trail.publish(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if stored, err := trail.store(t.Context(), l); !stored || err != nil {
		t.Errorf("got stored %t and error %v", stored, err)
	}
	// The same when another writer has continued behind it.
	l = trail.next(t, "second")
	if err := trail.publish(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Append(t.Context(), Record{Action: "subscription.create", Target: "third"}); err != nil {
		t.Fatal(err)
	}
	if stored, err := trail.store(t.Context(), l); !stored || err != nil {
		t.Errorf("got stored %t and error %v", stored, err)
	}
	if _, err := trail.Append(t.Context(), Record{Action: "subscription.create", Target: "fourth"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"first", "second", "third", "fourth"}, targets(t, trail)); diff != "" {
		t.Errorf("trail differs (-want +got):\n%s", diff)
	}
}

// When the time of a record is over it is refused, and what it announces is not done.
// Should it be there nevertheless, the next one says so.
func TestAbandoned(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		arrive func(t *testing.T, trail, other *Trail, l *pendingRecord)
		want   []string
	}{
		{"it arrives", func(t *testing.T, trail, _ *Trail, l *pendingRecord) {
			t.Helper()
			if err := trail.publish(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}, []string{"lost", "lost failed", "next"}},
		{"it arrives, and another writer continues", func(t *testing.T, trail, other *Trail, l *pendingRecord) {
			t.Helper()
			if err := trail.publish(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			if _, err := other.Append(t.Context(), Record{Action: "subscription.create", Target: "other"}); err != nil {
				t.Fatal(err)
			}
		}, []string{"lost", "other", "lost failed", "next"}},
		{"it does not", func(*testing.T, *Trail, *Trail, *pendingRecord) {}, []string{"next"}},
		{"another one takes its place", func(t *testing.T, _, other *Trail, _ *pendingRecord) {
			t.Helper()
			if _, err := other.Append(t.Context(), Record{Action: "subscription.create", Target: "other"}); err != nil {
				t.Fatal(err)
			}
		}, []string{"other", "next"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			trail, other := newInternal(t)
			l := trail.next(t, "lost")
			over, cancel := context.WithCancel(t.Context())
			cancel()
			if stored, err := trail.store(over, l); stored || err == nil || trail.abandoned != l || trail.known {
				t.Fatalf("got stored %t and error %v", stored, err)
			}
			test.arrive(t, trail, other, l)
			if _, err := trail.Append(t.Context(), Record{Action: "subscription.create", Target: "next"}); err != nil {
				t.Fatal(err)
			}
			if got := targets(t, trail); !slices.Equal(got, test.want) || trail.abandoned != nil {
				t.Errorf("got %v and still abandoned %v, want %v", got, trail.abandoned, test.want)
			}
		})
	}
}
