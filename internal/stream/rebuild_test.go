package stream_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
)

// ensuring ensures the platform as soon as a stream is deleted, as another process does whose
// start or accepted loss falls between.
type ensuring struct {
	jetstream.JetStream

	layout stream.Layout
}

// DeleteStream deletes a stream, and ensures all.
func (e ensuring) DeleteStream(ctx context.Context, name string) error {
	if err := e.JetStream.DeleteStream(ctx, name); err != nil {
		return err
	}
	return e.layout.Ensure(ctx, e.JetStream, nil)
}

// A stream of retry timers with a damaged message is rebuilt with the other timers. It begins
// behind where it ended, also where another process creates it first: sequences do not come
// again.
func TestRebuildRetries(t *testing.T) {
	t.Parallel()
	for _, beside := range []bool{false, true} {
		s, q := ensured(t)
		name := s.Layout.RetryStream(q.RetryShard)
		e := timerEvent()
		for _, key := range []string{"one", "two", "three"} {
			e.ID = "event-" + key
			if _, err := s.JS().PublishMsg(t.Context(), timer(s.Layout, q.RetryShard, "ci", key, time.Now().Add(time.Hour), e)); err != nil {
				t.Fatal(err)
			}
		}
		s.Stop()
		block := filepath.Join(s.Dir, "jetstream", "$G", "streams", name, "msgs", "1.blk")
		data, err := os.ReadFile(block)
		if err != nil {
			t.Fatal(err)
		}
		data[bytes.Index(data, []byte("event-two"))] ^= 1
		if err := os.WriteFile(block, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s.Start()
		awaitServer(t, s)

		js := s.JS()
		if beside {
			js = ensuring{js, s.Layout}
		}
		kept, rebuilt, err := s.Layout.RebuildRetries(t.Context(), js, q.RetryShard, func(bool) error { return nil })
		if err != nil || !rebuilt || kept != 2 {
			t.Fatalf("beside another process %t: rebuilt %t with %d timers: %v", beside, rebuilt, kept, err)
		}
		made, err := s.JS().Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if state := made.CachedInfo().State; state.FirstSeq != 4 || state.LastSeq != 5 || state.Msgs != 2 {
			t.Errorf("beside another process %t: %d messages from %d to %d, want 2 from 4 to 5", beside, state.Msgs, state.FirstSeq, state.LastSeq)
		}
	}
}
