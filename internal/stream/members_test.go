package stream_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A record that is not written again expires, and watchers are notified.
func TestMembersExpire(t *testing.T) {
	t.Parallel()
	l := newLayout(t, stream.LayoutConfig{})
	s := guarded(t, l)
	sender, err := stream.JetStream(as(s, stream.RoleSender)) // which may make the bucket itself
	if err != nil {
		t.Fatal(err)
	}
	if err := l.EnsureMembers(t.Context(), sender); err != nil {
		t.Fatalf("ensure: %v", err)
	}
	control, err := stream.JetStream(as(s, stream.RoleControl))
	if err != nil {
		t.Fatal(err)
	}
	info, err := control.Stream(t.Context(), l.MembersStream())
	if err != nil {
		t.Fatal(err)
	}
	cfg := info.CachedInfo().Config
	if cfg.Storage != jetstream.MemoryStorage || cfg.MaxAge != stream.MembersTTL || cfg.MaxMsgsPerSubject != 1 || cfg.SubjectDeleteMarkerTTL < stream.MembersTTL {
		t.Errorf("got %+v", cfg)
	}
	// The same with a shorter time.
	if err := control.DeleteStream(t.Context(), l.MembersStream()); err != nil {
		t.Fatal(err)
	}
	cfg.MaxAge, cfg.Duplicates = time.Second, time.Second
	if _, err := control.CreateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	kv, err := sender.KeyValue(t.Context(), l.MembersBucket())
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := kv.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "snd-1", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	patience := testkit.Timeout()
	for {
		select {
		case e := <-watcher.Updates():
			if e != nil && e.Operation() != jetstream.KeyValuePut {
				return
			}
		case <-patience:
			t.Fatal("no notification that the record has expired")
		}
	}
}
