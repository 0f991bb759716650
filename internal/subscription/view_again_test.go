package subscription

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// The bucket has lost changes in a crash, and its revisions are used again: what was
// known under one of them is not what is there now.
func TestRevisionsComeAgain(t *testing.T) {
	t.Parallel()
	server, store := startStore(t)
	created := create(t, store, example(t, "ci"))
	folder := filepath.Join(server.Dir, "jetstream", "$G", "streams", server.Layout.SubscriptionsStream())
	copied := filepath.Join(t.TempDir(), "copy")
	v := runView(t, ViewConfig{}, server.Connect(), server.Layout, nil, zap.NewNop())
	change := func(text string) *Subscription {
		t.Helper()
		var changed *Subscription
		err := errors.New("not tried")
		for late := time.Now().Add(patience); err != nil && time.Now().Before(late); { // the store does not retry while the connection is away
			changed, err = store.Change(t.Context(), "ci", func(s *Subscription) error { s.Description = text; return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	server.Stop()
	if err := os.CopyFS(copied, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	server.Start()
	lost := change("lost")
	if got, ok := syncView(t, v).Get("ci"); !ok || got.Description != "lost" {
		t.Fatalf("got %+v", got)
	}
	server.Stop()
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
	server.Start()
	again := change("again")
	if lost.Revision != again.Revision || again.Revision == created.Revision {
		t.Fatalf("revisions %d, %d and %d: this shows nothing", created.Revision, lost.Revision, again.Revision)
	}
	await(t, v, "what is there now", func(s *Snapshot) bool {
		got, ok := s.Get("ci")
		return ok && got.Description == "again"
	})
}
