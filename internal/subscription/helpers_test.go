package subscription

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// example returns a valid subscription with one of every secret.
func example(tb testing.TB, id string) *Subscription {
	tb.Helper()
	s := &Subscription{
		ID: id, Types: []string{"git.push"},
		Filters: []filter.Filter{filter.Exact(map[string]string{"subject": "main"})},
		Endpoint: Endpoint{
			URL: "https://example.com/hook", Query: keyring.NewSecret("token=swordfish"),
			Headers:       map[string]string{"X-Team": "red"},
			SecretHeaders: map[string]keyring.Secret{"Authorization": keyring.NewSecret("Bearer swordfish")},
		},
		Labels: map[string]string{"team": "red"},
	}
	s.SetDefaults(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
	return s
}

func testKeyring(tb testing.TB) *keyring.Keyring {
	tb.Helper()
	k, err := keyring.Load(filepath.Join(tb.TempDir(), "keyring.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func testLayout(tb testing.TB) stream.Layout {
	tb.Helper()
	layout, err := stream.NewLayout(stream.LayoutConfig{})
	if err != nil {
		tb.Fatal(err)
	}
	return layout
}

func ids(subs []*Subscription) []string {
	out := make([]string, len(subs))
	for i, s := range subs {
		out[i] = s.ID
	}
	return out
}

// testRules are those of an installation whose profiles all sign by Standard
// Webhooks.
func testRules() Rules {
	return Rules{Traits: func(string) (Traits, bool) { return StandardTraits(), true }}
}
