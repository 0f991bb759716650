package subscription

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
)

// example returns a valid subscription with one of every secret.
func example(tb testing.TB, id string) *Subscription {
	tb.Helper()
	s := &Subscription{
		ID: id, Types: []string{"git.push"},
		Filters: []Filter{Exact(map[string]string{"subject": "main"})},
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

// problemsOf returns the problems of a *ValidationError, as "field: message".
func problemsOf(tb testing.TB, err error) []string {
	tb.Helper()
	if err == nil {
		return nil
	}
	var invalid *ValidationError
	if !errors.As(err, &invalid) {
		tb.Fatalf("got %T (%v), want a *ValidationError", err, err)
	}
	texts := make([]string, len(invalid.Problems))
	for i, p := range invalid.Problems {
		texts[i] = p.Field + ": " + p.Message
	}
	return texts
}

// wantProblems compares the problems with the fields and part of the messages.
func wantProblems(tb testing.TB, err error, want ...string) {
	tb.Helper()
	got := problemsOf(tb, err)
	ok := len(got) == len(want)
	for i := 0; ok && i < len(want); i++ {
		field, part, _ := strings.Cut(want[i], ": ")
		ok = strings.HasPrefix(got[i], field+": ") && strings.Contains(got[i], part)
	}
	if !ok {
		tb.Errorf("got problems\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// testRules are those of an installation whose profiles all sign by Standard
// Webhooks.
func testRules() Rules {
	return Rules{Traits: func(string) (Traits, bool) { return StandardTraits(), true }}
}
