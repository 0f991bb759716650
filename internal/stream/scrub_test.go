package stream_test

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

// fileHas reports whether a file of a stream has these bytes.
func fileHas(t *testing.T, dir, name string, what []byte) bool {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", name, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no blocks of %s in %s, error %v", name, dir, err)
	}
	for _, block := range blocks {
		content, err := os.ReadFile(block)
		if err == nil && bytes.Contains(content, what) {
			return true
		}
	}
	return false
}

// What has left a shard of retry timers leaves its file when that is scrubbed, and what
// waits there stays, also when it is done again, and in an empty shard.
func TestScrubRetries(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	js, l := server.JS(), server.Layout
	if err := l.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	shard := l.RetryShards()[0]
	name := l.RetryStream(shard)
	if err := l.ScrubRetries(t.Context(), js, shard); err != nil {
		t.Fatal(err)
	}
	timer := func(key string) ([]byte, uint64) {
		data := []byte(rand.Text() + rand.Text())
		ack, err := js.PublishMsg(t.Context(), &nats.Msg{
			Subject: l.RetryAt(shard, "hook", key), Data: data,
			Header: nats.Header{"Nats-Schedule": {"@at 2100-01-01T00:00:00Z"}, "Nats-Schedule-Target": {l.RetryDue(shard, "hook")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return data, ack.Sequence
	}
	deleted, sequence := timer("gone")
	kept, keptAt := timer("kept")
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), sequence); err != nil {
		t.Fatal(err)
	}
	if !fileHas(t, server.Dir, name, deleted) || !fileHas(t, server.Dir, name, kept) {
		t.Fatal("the server overwrites what is deleted, or keeps it elsewhere")
	}
	for range 2 {
		if err := l.ScrubRetries(t.Context(), js, shard); err != nil {
			t.Fatal(err)
		}
		if fileHas(t, server.Dir, name, deleted) {
			t.Error("the file has what was deleted")
		}
		if m, err := s.GetMsg(t.Context(), keptAt); err != nil || !bytes.Equal(m.Data, kept) || m.Header.Get("Nats-Schedule") == "" {
			t.Errorf("the timer that waits is gone: %v", err)
		}
		if info, err := s.Info(t.Context(), jetstream.WithSubjectFilter(">")); err != nil || info.State.Msgs != 1 {
			t.Errorf("%d messages are left, error %v, want 1", info.State.Msgs, err)
		}
	}
}
