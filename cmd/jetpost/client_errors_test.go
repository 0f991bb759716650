package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/testkit"
)

func TestClientErrors(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	r := cliResult{tb: t}
	runWith := func(args ...string) cliResult {
		r.err = run(&terminal.Env{Ctx: t.Context(), Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard}, args)
		return r
	}
	runWith("subscription", "list", "--server", s.url, "--token", "jp_wrong-swordfish-jp_wrong").fails("does not accept the token that was given", "JETPOST_TOKEN")
	if strings.Contains(r.err.Error(), "swordfish") {
		t.Error("the error shows the token")
	}
	file := testkit.File(t, "token", "jp_wrong-jp_wrong-jp_wrong")
	runWith("subscription", "list", "--server", s.url, "--token-file", file).fails("does not accept the token in " + file)
	runWith("subscription", "list", "--server", s.url).fails("asks for a token", "--token")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	dead := gone.URL
	runWith("subscription", "list", "--server", dead, "--token", apiToken).fails("no server answers at "+dead, "jetpost serve")
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer page.Close()
	runWith("subscription", "list", "--server", page.URL, "--token", apiToken).fails("does not answer like a jetpost server")

	s.cli("subscription", "get", "nope").fails("not found")
	s.cli("subscription", "create", "--id", "No", "--types", "git.pusch", "--url", "https://10.0.0.1/").
		fails("3 things are wrong", "\n  id: ", "\n  types[0]: ", "did you mean", "\n  endpoint.url: ")
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "\x1b[31mproxy\x07 says no")
	})
	err := s.cli("subscription", "list").fails("proxy").err
	if strings.ContainsAny(err.Error(), "\x1b\x07") {
		t.Errorf("control characters reach the terminal: %q", err)
	}
}
