package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A server that has lost the key to its subscriptions' secrets must not run: it
// could match nothing.
func TestLostKeysetStopsTheStart(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	js := server.JS()
	if err := server.Layout.Ensure(t.Context(), js, []string{"git"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "keyset.json")
	keys, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	sub := &subscription.Subscription{ID: "ci", Types: []string{"git.push"}, Endpoint: subscription.Endpoint{URL: "https://example.com/"}}
	sub.SetDefaults(time.Now())
	sub.Queue = server.Layout.QueueFor(sub.ID)
	if _, err := subscription.NewStore(js, server.Layout, keys, zap.NewNop()).Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	check := func(keys *keyring.Keyring) error {
		view := subscription.NewView(subscription.ViewConfig{}, js, server.Layout, keys, zap.NewNop())
		go func() { _ = view.Run(t.Context()) }()
		return checkKeyring(t.Context(), view)
	}
	if err := check(keys); err != nil {
		t.Errorf("with the right key: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := keyring.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(other); err == nil || !strings.Contains(err.Error(), "ci") || !strings.Contains(err.Error(), "--keyset") {
		t.Errorf("with a new key: got %v, want an error that names the subscription and the flag", err)
	}
}
