package follow_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// A value of a bucket is damaged on the disk. The server counts it and does not bring it;
// the copy of the bucket is up to date without it nevertheless.
func TestFollowDamaged(t *testing.T) {
	t.Parallel()
	for damaged, want := range map[string][]string{"first": {"b", "c"}, "second of b": {"a", "c"}, "last": {"a", "b"}} {
		t.Run(damaged, func(t *testing.T) {
			t.Parallel()
			s := streamtest.New(t)
			kv, err := s.JS().CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b", History: 5, Storage: jetstream.FileStorage})
			if err != nil {
				t.Fatal(err)
			}
			for _, put := range [][2]string{{"a", "first"}, {"b", "another"}, {"b", "second of b"}, {"c", "another"}, {"c", "last"}} {
				if _, err := kv.Put(t.Context(), put[0], []byte(put[1])); err != nil {
					t.Fatal(err)
				}
			}
			s.Stop()
			blocks, err := filepath.Glob(filepath.Join(s.Dir, "jetstream", "$G", "streams", "KV_b", "msgs", "*.blk"))
			if err != nil || len(blocks) != 1 {
				t.Fatalf("%v %v", blocks, err)
			}
			data, err := os.ReadFile(blocks[0])
			if err != nil {
				t.Fatal(err)
			}
			data[bytes.Index(data, []byte(damaged))] ^= 1
			if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
				t.Fatal(err)
			}
			s.Start()
			got := make(chan []string, 100)
			f := follow.New(follow.Config{Bucket: "b", Apply: func(entries map[string]follow.Entry, _ uint64) {
				got <- slices.Sorted(maps.Keys(entries))
			}}, s.JS(), zap.NewNop())
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- f.Run(ctx) }()
			limited, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := f.Sync(limited); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, <-got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
