package stream_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// However long a log is, what is remembered of it fits into its key, is dense at the
// end, and reaches back.
func TestRoutedFits(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	js := server.JS()
	if err := server.Layout.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	var r stream.Routed
	now := time.Unix(1772364600, 123456789)
	const marks = 10_000
	for n := range uint64(marks) {
		r.Add(stream.Place{Sequence: 1<<52 + n, Stored: now.Add(time.Duration(n) * 10 * time.Second)}) //nolint:gosec // small
	}
	if err := server.Layout.WriteRouted(t.Context(), js, "notes", r); err != nil {
		t.Fatal(err)
	}
	got, err := server.Layout.ReadRouted(t.Context(), js, "notes")
	if diff := cmp.Diff(r, got); diff != "" || err != nil {
		t.Errorf("read back, error %v (-want +got):\n%s", err, diff)
	}
	newest := r.Newest()
	if newest.Sequence != 1<<52+marks-1 || r.Marks[len(r.Marks)-10].Sequence != newest.Sequence-9 {
		t.Errorf("at the end: %v", r.Marks[len(r.Marks)-10:])
	}
	if first := r.Marks[0].Sequence; first != 1<<52 {
		t.Errorf("the oldest is %d, want the first", first)
	}
	r.Keep(newest.Sequence - 5)
	if r.Newest().Sequence != newest.Sequence-5 {
		t.Errorf("after those behind were dropped the newest is %d", r.Newest().Sequence)
	}
	r.Keep(0)
	if r.Newest() != (stream.Place{}) {
		t.Errorf("left is %v", r.Marks)
	}
}

// Nothing is remembered of a new domain, or of one whose key cannot be read.
func TestRoutedUnknown(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	js := server.JS()
	if err := server.Layout.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), server.Layout.StateRoutedSubject("odd"), []byte("what is this")); err != nil {
		t.Fatal(err)
	}
	for _, domain := range []string{"new", "odd"} {
		if r, err := server.Layout.ReadRouted(t.Context(), js, domain); err != nil || len(r.Marks) > 0 {
			t.Errorf("%s: got %v, error %v", domain, r, err)
		}
	}
}
