package stream_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// mixedTypes are n event types at random: common, less so, seldom, and two that
// appear once and twice, at the ends.
func mixedTypes(t *testing.T, n int) []string {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	types := make([]string, n)
	for i := range types {
		switch p := random.Float64(); {
		case p < 0.6:
			types[i] = "common"
		case p < 0.9:
			types[i] = "usual"
		case p < 0.99:
			types[i] = "seldom"
		default:
			types[i] = "rare"
		}
	}
	types[2] = "once"
	types[0], types[n-1] = "twice", "twice"
	return types
}

// newestFirst are the sequences of one type, or of all.
func newestFirst(types []string, eventType string) []uint64 {
	var want []uint64
	for i := len(types); i > 0; i-- {
		if eventType == "*" || types[i-1] == eventType {
			want = append(want, uint64(i))
		}
	}
	return want
}

// pages collects what Latest gives, page by page.
func (h history) pages(t *testing.T, subject string, limit int) []uint64 {
	t.Helper()
	var got []uint64
	for before := uint64(0); ; {
		page, err := stream.Latest(t.Context(), h.js, h.name, subject, before, limit)
		if err != nil {
			t.Fatalf("latest of %s before %d: %v", subject, before, err)
		}
		for _, rec := range page {
			got = append(got, rec.Sequence)
		}
		if len(page) < limit {
			return got
		}
		before = page[len(page)-1].Sequence
	}
}

func TestLatestPages(t *testing.T) {
	t.Parallel()
	types := mixedTypes(t, 1_000)
	h := newHistory(t, types...)
	for _, eventType := range []string{"common", "usual", "seldom", "rare", "once", "twice", "never", "*"} {
		limit := 7
		if eventType == "*" {
			limit = 100
		}
		if diff := cmp.Diff(newestFirst(types, eventType), h.pages(t, h.subject(eventType), limit)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", eventType, diff)
		}
	}
}

// Pages are stable: what is stored meanwhile is neither in them nor pushes
// anything out.
func TestLatestPagesWhileWriting(t *testing.T) {
	t.Parallel()
	types := mixedTypes(t, 1_000)
	h := newHistory(t, types...)
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			if _, err := h.js.Publish(t.Context(), h.subject(types[n%len(types)]), nil); err != nil {
				t.Errorf("publish: %v", err)
				break
			}
		}
		written <- n
	}()
	got := map[string][]uint64{}
	for _, eventType := range []string{"usual", "seldom", "rare", "once"} {
		got[eventType] = h.pages(t, h.subject(eventType), 7)
	}
	cancel()
	all := slices.Clone(types)
	for n := range <-written {
		all = append(all, types[n%len(types)])
	}
	for eventType, sequences := range got {
		want := newestFirst(all, eventType)
		for len(want) > 0 && len(sequences) > 0 && want[0] > sequences[0] {
			want = want[1:] // stored after the first page was read
		}
		if diff := cmp.Diff(want, sequences); diff != "" || len(want) == 0 {
			t.Errorf("%s (-want +got):\n%s", eventType, diff)
		}
	}
}

// The density of a subject is no guide where it has been erased in places.
func TestLatestPagesWithGaps(t *testing.T) {
	t.Parallel()
	types := slices.Repeat([]string{"usual"}, 3_000)
	types[5], types[2_990] = "rare", "rare"
	h := newHistory(t, types...)
	s, err := h.js.Stream(t.Context(), h.name)
	if err != nil {
		t.Fatalf("look up stream: %v", err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSubject(h.subject("usual")), jetstream.WithPurgeSequence(2_900)); err != nil {
		t.Fatalf("purge: %v", err)
	}
	h.remove(t, 2_950, 2_951, 3_000)
	for i := range types {
		if seq := i + 1; types[i] == "usual" && seq < 2_900 || seq == 2_950 || seq == 2_951 || seq == 3_000 {
			types[i] = "erased"
		}
	}
	for _, eventType := range []string{"usual", "rare"} {
		if diff := cmp.Diff(newestFirst(types, eventType), h.pages(t, h.subject(eventType), 7)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", eventType, diff)
		}
	}
}

func TestLatest(t *testing.T) {
	t.Parallel()
	//                    1       2       3       4       5       6
	h := newHistory(t, "push", "pull", "push", "push", "pull", "push")
	h.remove(t, 1)
	for _, tt := range []struct {
		name   string
		before uint64
		limit  int
		want   []uint64
	}{
		{"the newest", 0, 1, []uint64{6}},
		{"a page", 0, 2, []uint64{6, 4}},
		{"all", 0, 3, []uint64{6, 4, 3}},
		{"more than there are", 0, 1_000_000, []uint64{6, 4, 3}},
		{"before a record", 6, 2, []uint64{4, 3}},
		{"before a record of another subject", 5, 2, []uint64{4, 3}},
		{"before behind the newest", 100, 1, []uint64{6}},
		{"before the greatest sequence", 1<<64 - 1, 1, []uint64{6}},
		{"before the oldest of the subject", 3, 2, nil},
		{"before the oldest of the stream", 2, 2, nil},
		{"before one that is gone", 1, 2, nil},
		{"none", 0, 0, nil},
		{"fewer than none", 0, -1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			page, err := stream.Latest(t.Context(), h.js, h.name, h.subject("push"), tt.before, tt.limit)
			if err != nil {
				t.Fatalf("latest: %v", err)
			}
			var got []uint64
			for _, rec := range page {
				got = append(got, rec.Sequence)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("sequences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLatestFails(t *testing.T) {
	t.Parallel()
	h := newHistory(t, "push")
	if got, err := stream.Latest(t.Context(), h.js, "EVENTS_none", "x", 0, 1); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no stream: got %v, %v, want %v", got, err, jetstream.ErrStreamNotFound)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := stream.Latest(ctx, h.js, h.name, h.subject("push"), 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("context at its end: got %v, %v, want %v", got, err, context.Canceled)
	}
	empty := newHistory(t)
	if got, err := stream.Latest(t.Context(), empty.js, empty.name, empty.subject("push"), 0, 5); err != nil || got != nil {
		t.Errorf("empty stream: got %v, %v, want nothing", got, err)
	}
}

// A reader may ask while a stream gets its first message: the server then counts it, and
// says that the stream begins at 0.
func TestLatestOfNewStream(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	js := s.JS()
	for range 200 {
		name := "NEW-" + nuid.Next()
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name}, Storage: jetstream.MemoryStorage}); err != nil {
			t.Fatal(err)
		}
		future, err := js.PublishAsync(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		for stored := false; !stored; {
			select {
			case <-future.Ok():
				stored = true
			case err := <-future.Err():
				t.Fatal(err)
			default:
			}
			if _, err := stream.LatestHeaders(t.Context(), js, name, name, 0, 10); err != nil {
				t.Fatalf("the latest of a new stream: %v", err)
			}
		}
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}
