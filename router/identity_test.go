package router_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
)

// streamFolder is where a server of one account keeps a stream.
func streamFolder(s *streamtest.Server, name string) string {
	return filepath.Join(s.Dir, "jetstream", "$G", "streams", name)
}

// putBack makes a folder what it was when copy was made of it.
func putBack(tb testing.TB, copied, folder string) {
	tb.Helper()
	if err := os.RemoveAll(folder); err != nil {
		tb.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS(copied)); err != nil {
		tb.Fatal(err)
	}
}

// A log that has lost its end in a power loss gives the same sequences to other
// events. Queues that remember those that came first must not take them for the same.
func TestSequencesComeAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, part string }{
		{"all of the log went back", ""},
		{"its messages went back, and its consumer did not", "msgs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			plain, inOrder := r.subscribe(wants("plain", []string{"notes.*"})), r.subscribe(ordered(wants("in-order", []string{"notes.*"})))
			r.route()
			r.publishMany(0, 100)
			r.awaitRouted()
			folder := filepath.Join(streamFolder(r.server, r.layout.EventLog("notes")), tt.part)
			copied := t.TempDir()
			r.server.Stop()
			if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}
			r.server.Start()
			r.publishMany(100, 100)
			r.awaitRouted()
			r.server.Stop()
			putBack(t, copied, folder)
			r.server.Start()
			if last := r.state(r.layout.EventLog("notes")).LastSeq; last != 100 {
				t.Fatalf("the log ends at %d, want 100", last)
			}
			r.publishMany(200, 100)
			r.awaitRouted()
			for _, sub := range []*subscription.Subscription{plain, inOrder} {
				r.wantQueued(sub, upTo(300)...)
			}
		})
	}
}
