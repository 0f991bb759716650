package stream_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A byte on the disk has become another one. The server does not notice; a reader does,
// also of a work queue, and takes nothing for damaged that was deleted.
func TestFindDamage(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]jetstream.RetentionPolicy{"log": jetstream.LimitsPolicy, "queue": jetstream.WorkQueuePolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := streamtest.New(t)
			made, err := s.JS().CreateStream(t.Context(), jetstream.StreamConfig{Name: "X", Subjects: []string{"x"}, Retention: retention, Storage: jetstream.FileStorage})
			if err != nil {
				t.Fatal(err)
			}
			for n := range 10 {
				if _, err := s.JS().Publish(t.Context(), "x", []byte("message-"+strconv.Itoa(n+1)+".")); err != nil {
					t.Fatal(err)
				}
			}
			if err := made.DeleteMsg(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
			scrub := func(from uint64, want ...uint64) {
				t.Helper()
				var got []uint64
				testkit.Succeeds(t, "damage is searched for", func() (err error) {
					// A request is lost when the connection has not noticed yet that the server was restarted.
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					got, err = stream.FindDamage(ctx, s.JS(), "X", from)
					return err
				})
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			scrub(0)
			s.Stop()
			blocks, err := filepath.Glob(filepath.Join(s.Dir, "jetstream", "$G", "streams", "X", "msgs", "*.blk"))
			if err != nil || len(blocks) != 1 {
				t.Fatalf("%v %v", blocks, err)
			}
			data, err := os.ReadFile(blocks[0])
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"message-5.", "message-10."} {
				data[bytes.Index(data, []byte(text))] ^= 1
			}
			if err := os.WriteFile(blocks[0], data, 0o600); err != nil {
				t.Fatal(err)
			}
			s.Start()
			scrub(0, 5, 10)
			scrub(6, 10)
			if shape, err := stream.ReadShape(t.Context(), s.JS(), "X"); err != nil || shape.Messages != 9 || shape.Lost != 0 {
				t.Errorf("the server has noticed it: %+v, %v", shape, err)
			}
		})
	}
}
