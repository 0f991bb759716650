package follow_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
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

// A copied is what a Follower has applied last.
type copied struct {
	mu       sync.Mutex
	values   string // "key=value key=value"
	revision uint64
	times    int
}

func (c *copied) apply(entries map[string]follow.Entry, revision uint64) {
	var values []string
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		values = append(values, key+"="+string(entries[key].Value))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values, c.revision = strings.Join(values, " "), revision
	c.times++
}

func (c *copied) get() (string, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values, c.revision
}

// followCatalog follows the catalog bucket on a connection of its own until the test ends.
func followCatalog(t *testing.T, s *streamtest.Server, cfg follow.Config) (*follow.Follower, *copied) {
	t.Helper()
	js, err := stream.JetStream(s.Connect())
	if err != nil {
		t.Fatal(err)
	}
	c := &copied{}
	cfg.Bucket, cfg.Apply = s.Layout.CatalogBucket(), c.apply
	f := follow.New(cfg, js, zap.NewNop())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := f.Sync(context.Background()); !errors.Is(err, follow.ErrStopped) {
			t.Errorf("Sync after Run: %v", err)
		}
	})
	return f, c
}

func sync1(t *testing.T, f *follow.Follower) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := f.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// catalogBucket makes the bucket.
func catalogBucket(t *testing.T, s *streamtest.Server) jetstream.KeyValue {
	t.Helper()
	kv, err := s.JS().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: s.Layout.CatalogBucket(), History: 10})
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func put(t *testing.T, kv jetstream.KeyValue, key, value string) uint64 {
	t.Helper()
	revision, err := kv.Put(t.Context(), key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// After Sync everything that was acknowledged before is there: what was in the
// bucket, what was changed, what was deleted.
func TestFollow(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	kv := catalogBucket(t, s)
	put(t, kv, "before", "1")
	f, c := followCatalog(t, s, follow.Config{})
	sync1(t, f)
	want := func(values string, revision uint64) {
		t.Helper()
		got, at := c.get()
		if diff := cmp.Diff(values, got); diff != "" || at != revision {
			t.Fatalf("revision %d, want %d (-want +got):\n%s", at, revision, diff)
		}
	}
	want("before=1", 1)
	for n := range 50 {
		revision := put(t, kv, "now", fmt.Sprint(n))
		sync1(t, f)
		want(fmt.Sprintf("before=1 now=%d", n), revision)
	}
	if err := kv.Purge(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	sync1(t, f)
	want("now=49", 52)
}

func TestFollowOverRestart(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	kv := catalogBucket(t, s)
	put(t, kv, "a", "1")
	f, c := followCatalog(t, s, follow.Config{})
	sync1(t, f)
	for n := range 3 {
		s.Restart()
		eventuallyPut(t, kv, "a", fmt.Sprint("after ", n))
		sync1(t, f)
		if got, _ := c.get(); got != fmt.Sprint("a=after ", n) {
			t.Fatalf("after restart %d: %s", n, got)
		}
	}
}

func eventuallyPut(t *testing.T, kv jetstream.KeyValue, key, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		try, cancel := context.WithTimeout(ctx, 2*time.Second) // its answer may be lost with the server
		_, err := kv.Put(try, key, []byte(value))
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// A bucket that is made anew, by an operator who restores one, is read again.
func TestFollowReplacedBucket(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	kv := catalogBucket(t, s)
	for range 5 {
		put(t, kv, "old", "1")
	}
	f, c := followCatalog(t, s, follow.Config{Patience: 50 * time.Millisecond})
	sync1(t, f)
	if err := s.JS().DeleteKeyValue(t.Context(), s.Layout.CatalogBucket()); err != nil {
		t.Fatal(err)
	}
	kv = catalogBucket(t, s)
	put(t, kv, "new", "2")
	sync1(t, f)
	if got, at := c.get(); got != "new=2" || at != 1 {
		t.Errorf("got %s at %d", got, at)
	}
}

// A bucket that does not exist yet is waited for.
func TestFollowBeforeTheBucket(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	f, c := followCatalog(t, s, follow.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a bucket: %v", err)
	}
	put(t, catalogBucket(t, s), "a", "1")
	sync1(t, f)
	if got, _ := c.get(); got != "a=1" {
		t.Errorf("got %s", got)
	}
}

// However many ask, the server is asked once per interval: it answers 4 at once and
// one more every 50 ms.
func TestFollowSharesQuestions(t *testing.T) {
	t.Parallel()
	s := streamtest.New(t)
	catalogBucket(t, s)
	f, _ := followCatalog(t, s, follow.Config{SyncInterval: 50 * time.Millisecond})
	sync1(t, f)
	asked, err := s.Connect().SubscribeSync("$JS.API.STREAM.INFO." + s.Layout.CatalogStream())
	if err != nil {
		t.Fatal(err)
	}
	began, until := time.Now(), testkit.TimeoutAfter(500*time.Millisecond)
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			for {
				select {
				case <-until:
					return
				default:
					sync1(t, f)
				}
				if time.Since(began) > 500*time.Millisecond {
					return
				}
			}
		})
	}
	waiting.Wait()
	most := 5 + int(time.Since(began)/(50*time.Millisecond))
	if n, _, err := asked.Pending(); err != nil || n > most || n < 3 {
		t.Errorf("the server was asked %d times, want at most %d; %v", n, most, err)
	}
}
