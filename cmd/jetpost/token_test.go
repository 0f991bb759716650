package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/cli/terminal"
)

func TestTokenCommands(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	if got := s.cli("token", "list").ok().stderr; !strings.Contains(got, "no tokens but the server's own") {
		t.Errorf("got %q", got)
	}
	made := s.cli("token", "create", "shop backend", "--role", "publisher", "--domain", "git", "--domain", "artifact", "--ttl", "48h").
		ok("created token ", "publisher", "git, artifact", "It is not shown again", " by bootstrap")
	text := regexp.MustCompile(`jp_[a-z2-7]{12}_[\w-]{43}`).FindString(made.stdout)
	if text == "" {
		t.Fatalf("there is no token in %s", made.stdout)
	}
	id := text[len("jp_") : len("jp_")+12]
	for _, r := range []cliResult{
		s.cli("token", "list").ok("ID ", id, "shop backend", "git,artifact", "never"),
		s.cli("token", "list", "-o", "json").ok(id, "expires_at"),
		s.cli("token", "show", id).ok("shop backend", "expires"),
		s.cli("token", "show", text).ok("shop backend"),
		s.cli("token", "show").ok("bootstrap", "admin"),
		s.cli("token", "update", id, "--name", "shop", "--expires", "never").ok("shop", "never"),
		s.cli("token", "update", id).fails("nothing to change"),
		s.cli("token", "update", id, "--ttl", "1h", "--expires", "never").fails("give one of them"),
		s.cli("token", "show", "unknown").fails("token not found"),
		s.cli("token", "create", "x", "--role", "publisher").fails("domains", "required"),
		s.cli("token", "revoke", "unknown", text).fails("revoke token unknown: ", "token not found").printed("revoked token " + id),
		s.cli("token", "list", "-o", "yaml").ok("[]"),
	} {
		if strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("a token is shown:\n%s%s", r.stdout, r.stderr)
		}
	}

	// The token in use is not revoked by accident.
	quiet := s.cli("token", "create", "me", "--role", "admin", "-q").ok()
	mine := strings.TrimSpace(quiet.stdout)
	with := func(args ...string) cliResult {
		var stdout, stderr bytes.Buffer
		err := run(&terminal.Env{Ctx: t.Context(), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr}, append(args, "--server", s.url, "--token", mine))
		return cliResult{t, stdout.String(), stderr.String(), err}
	}
	with("token", "show").ok("me", "admin")
	with("token", "revoke", mine).fails("force")
	with("token", "update", mine, "--expires", "2020-01-01T00:00:00Z").fails("force")
	with("token", "revoke", mine, "--force").ok("revoked token")
	with("token", "show").fails("does not accept the token", "was revoked")
}

// printed is what a command has done although it failed.
func (r cliResult) printed(want string) cliResult {
	r.tb.Helper()
	if !strings.Contains(r.stdout, want) {
		r.tb.Errorf("the output lacks %q:\n%s", want, r.stdout)
	}
	return r
}
