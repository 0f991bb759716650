package follow_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// deltas follows a bucket until the test ends, and returns its deltas as texts.
func deltas(t *testing.T, s *streamtest.Server, cfg follow.Config) (*follow.Follower, <-chan string) {
	t.Helper()
	js, err := stream.JetStream(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 1000)
	cfg.Bucket = s.Layout.CatalogBucket()
	cfg.Change = func(d follow.Delta) {
		var b strings.Builder
		if d.Start {
			b.WriteString("start ")
		}
		for _, key := range slices.Sorted(maps.Keys(d.Put)) {
			fmt.Fprintf(&b, "%s=%s ", key, d.Put[key].Value)
		}
		for _, key := range slices.Sorted(maps.Keys(d.Deleted)) {
			fmt.Fprintf(&b, "-%s ", key)
		}
		seen <- strings.TrimSpace(b.String())
	}
	f := follow.New(cfg, js, zap.NewNop())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return f, seen
}

func wantDelta(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	select {
	case got := <-seen:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	case <-testkit.Timeout():
		t.Fatalf("timed out waiting for the delta %q", want)
	}
}

// A delta has what has changed since the one before it, also when everything was read
// again.
func TestFollowChanges(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	kv := catalogBucket(t, s)
	put(t, kv, "a", "1")
	put(t, kv, "b", "1")
	put(t, kv, "a", "2")
	f, seen := deltas(t, s, follow.Config{Patience: 50 * time.Millisecond})
	wantDelta(t, seen, "start a=2 b=1")
	put(t, kv, "c", "1")
	wantDelta(t, seen, "c=1")
	if err := kv.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	wantDelta(t, seen, "-b")

	// The watch ends, and the bucket is changed before it is opened again.
	bucket, err := s.JS().Stream(t.Context(), s.Layout.CatalogStream())
	if err != nil {
		t.Fatal(err)
	}
	for name := range bucket.ConsumerNames(t.Context()).Name() {
		if err := bucket.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	put(t, kv, "a", "3")
	sync1(t, f)
	wantDelta(t, seen, "start a=3")

	// A bucket that was made anew counts as changed altogether, whatever its revisions.
	if err := s.JS().DeleteKeyValue(t.Context(), s.Layout.CatalogBucket()); err != nil {
		t.Fatal(err)
	}
	put(t, catalogBucket(t, s), "a", "3")
	sync1(t, f)
	wantDelta(t, seen, "start a=3 -c")
	select {
	case got := <-seen:
		t.Errorf("another delta: %q", got)
	default:
	}
}

// A purge leaves nothing that a watch could bring: reading everything again finds it.
func TestFollowResync(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	kv := catalogBucket(t, s)
	put(t, kv, "a", "1")
	put(t, kv, "b", "1")
	_, seen := deltas(t, s, follow.Config{Resync: 50 * time.Millisecond})
	wantDelta(t, seen, "start a=1 b=1")
	bucket, err := s.JS().Stream(t.Context(), s.Layout.CatalogStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context(), jetstream.WithPurgeSubject("$KV."+s.Layout.CatalogBucket()+".a")); err != nil {
		t.Fatal(err)
	}
	wantDelta(t, seen, "start -a")
}

// A Follower of some keys sees no others. With Begin it is given everything each time that
// it is read from the start, and Begin says whether the server may have lost changes.
func TestFollowKeys(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	kv := catalogBucket(t, s)
	put(t, kv, "x.a", "1")
	put(t, kv, "y.a", "1")
	put(t, kv, "x.b", "1")
	if err := kv.Delete(t.Context(), "x.b"); err != nil {
		t.Fatal(err)
	}
	begun := make(chan bool, 100)
	f, seen := deltas(t, s, follow.Config{Keys: "x.*", Begin: func(reconnected bool) { begun <- reconnected }})
	wantDelta(t, seen, "start x.a=1 -x.b")
	put(t, kv, "y.a", "2")
	put(t, kv, "x.c", "1")
	wantDelta(t, seen, "x.c=1")
	if err := f.Sync(t.Context()); err == nil {
		t.Error("Sync of some keys")
	}
	if <-begun {
		t.Error("the first connection counts as another one")
	}
	s.Restart()
	wantDelta(t, seen, "start x.a=1 x.c=1 -x.b")
	reconnected := false
	for len(begun) > 0 {
		reconnected = <-begun || reconnected
	}
	if !reconnected {
		t.Error("the new connection is not noticed")
	}
}
