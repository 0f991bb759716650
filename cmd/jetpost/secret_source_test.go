package main

import (
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/cli/connect"
)

func TestSecretSource(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	created := s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook").ok().stdout
	flags := connect.Flags{Server: s.url, Token: apiToken}
	source := flags.SecretSource("test")
	got, err := source(t.Context(), "ci")
	if err != nil || len(got) != 1 || !strings.Contains(created, got[0]) {
		t.Errorf("got %d secrets, %v", len(got), err)
	}
	for _, id := range []string{"nope", "", "../../v1/events", "a b", strings.Repeat("x", 10_000)} {
		if got, err := source(t.Context(), id); err == nil {
			t.Errorf("%q: got %d secrets and no error", id, len(got))
		}
	}
}
