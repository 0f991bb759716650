package inventory_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// A bucket whose last revisions are lost, while the server knows how far it went, shows
// older ones: the number of keys is the same.
func TestRevisionComesBack(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	i := n.open(t)
	n.publish(t, "$KV.subscriptions.a", 1)
	n.publish(t, "$KV.subscriptions.b", 1)
	n.check(t, i)
	wantKinds(t, i, map[string]string{})
	n.publish(t, "$KV.subscriptions.c", 1) // after the last look
	bucket, err := n.JS().Stream(t.Context(), "KV_subscriptions")
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.subscriptions.c")); err != nil { // as the server sees it that has lost the end
		t.Fatal(err)
	}
	found := n.open(t).Losses()
	if len(found) != 1 || found[0].Stream != "KV_subscriptions" || found[0].Kind != inventory.Damaged || found[0].Now != 2 || found[0].Count != 1 || !found[0].Open() {
		t.Fatalf("losses %+v, want one of KV_subscriptions behind its second message", found)
	}
}

// The newest message of a bucket that decides about events cannot be read. That is one
// message that is lost, and not all up to it.
func TestNewestCannotBeRead(t *testing.T) {
	t.Parallel()
	n := newInstallation(t)
	i := n.open(t)
	const subject = "$KV.subscriptions.sub."
	for _, id := range []string{"a", "b", "c"} {
		if _, err := n.JS().Publish(t.Context(), subject+id, []byte("value of "+id)); err != nil {
			t.Fatal(err)
		}
	}
	n.check(t, i)
	n.Stop()
	block := filepath.Join(n.Dir, "jetstream", "$G", "streams", n.Layout.SubscriptionsStream(), "msgs", "1.blk")
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	data[strings.Index(string(data), "value of c")] ^= 1
	if err := os.WriteFile(block, data, 0o600); err != nil {
		t.Fatal(err)
	}
	n.Start()
	i = n.open(t)
	wantKinds(t, i, map[string]string{n.Layout.SubscriptionsStream(): inventory.Damaged})
	for _, l := range i.Losses() {
		if l.Was != 3 || l.Now != 3 || l.Count != 1 || !strings.Contains(l.Detail, "message 3 cannot be read") {
			t.Errorf("%+v", l)
		}
	}
}
