package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/testkit"
)

// gitRun runs git as a user does, with nothing of this machine's configuration.
// Hooks find the test binary to be jetpost.
func gitRun(tb testing.TB, dir string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childVariable+"=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"JETPOST_SERVER=http://127.0.0.1:1", "JETPOST_TOKEN=", "JETPOST_TOKEN_FILE=", "JETPOST_ADMIN_TOKEN=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		tb.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestGitCommands(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	dir := t.TempDir()
	bare, work := filepath.Join(dir, "tug.git"), filepath.Join(dir, "work")
	gitRun(t, dir, "init", "-q", "--bare", "-b", "main", bare)
	gitRun(t, dir, "init", "-q", "-b", "main", work)
	token := testkit.File(t, "token", apiToken)
	runGit := func(args ...string) cliResult {
		var stdout, stderr bytes.Buffer
		err := run(&terminal.Env{Ctx: t.Context(), Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr}, append([]string{"git"}, args...))
		return cliResult{t, stdout.String(), stderr.String(), err}
	}
	runGit("install", bare, "--server", s.url, "--token", apiToken).fails("--token-file")
	runGit("install", bare, "--server", s.url, "--token-file", token, "--source", "/my tug").fails("source of events is not a URI reference", "' '")
	if _, err := os.Stat(filepath.Join(bare, "hooks", "post-receive")); err == nil {
		t.Error("a hook was installed whose events would be refused")
	}
	install := []string{"install", bare, "--server", s.url, "--token-file", token, "--owner", "harbor", "--base-url", "https://git.example.com"}
	runGit(install...).ok("installed "+filepath.Join(bare, "hooks", "post-receive"), "announced to "+s.url)
	runGit(install...).ok("is up to date")
	hook, err := os.ReadFile(filepath.Join(bare, "hooks", "post-receive"))
	if err != nil || bytes.Contains(hook, []byte(apiToken)) || !bytes.Contains(hook, []byte("'--token-file="+token+"'")) {
		t.Errorf("the hook, %v:\n%s", err, hook)
	}

	commit := func(name string) {
		if err := os.WriteFile(filepath.Join(work, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		gitRun(t, work, "add", ".")
		gitRun(t, work, "commit", "-q", "-m", "add "+name)
	}
	commit("one")
	if out := gitRun(t, work, "push", "-q", bare, "HEAD:main"); out != "" {
		t.Errorf("the push says %s", out)
	}
	pushes := s.stored("git")
	if len(pushes) != 1 || pushes[0].Type != "git.push" || pushes[0].Source != "/git/tug" {
		t.Fatalf("%d events are stored", len(pushes))
	}
	var push struct {
		Ref        string
		Commits    []struct{ Message string }
		Repository struct {
			FullName string `json:"full_name"`
			URL      string `json:"html_url"`
		}
	}
	if err := json.Unmarshal(pushes[0].Data, &push); err != nil {
		t.Fatal(err)
	}
	if push.Ref != "refs/heads/main" || len(push.Commits) != 1 || push.Repository.FullName != "harbor/tug" {
		t.Errorf("got %+v", push)
	}

	// A server that is away delays the announcement and not the push.
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	commit("two")
	if out := gitRun(t, work, "push", "-q", bare, "HEAD:main"); !strings.Contains(out, "will be announced later") {
		t.Errorf("the push says %s", out)
	}
	flush := []string{"flush", bare, "--server", s.url, "--token-file", token, "--owner", "harbor"}
	runGit(flush...).fails("503")
	s.setIntercept(nil)
	runGit(flush...).ok("published 1 events, 0 rejected, 0 pushes waiting")
	if got := s.stored("git"); len(got) != 2 {
		t.Errorf("%d events are stored", len(got))
	}

	// What the server refuses is kept, and said.
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"status":400,"detail":"no"}`)
	})
	commit("three")
	if out := gitRun(t, work, "push", "-q", bare, "HEAD:main"); !strings.Contains(out, "1 events were refused") {
		t.Errorf("the push says %s", out)
	}
	s.setIntercept(nil)
	runGit("uninstall", bare).ok("removed from")
	runGit("uninstall", bare).ok("there is no hook")
	runGit("install", dir, "--server", s.url, "--token-file", token).fails("git")
}

func TestWatchCommand(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	folder := t.TempDir()
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	f := s.background("watch", folder, "--repo-key", "libs", "--state-dir", t.TempDir(), "--settle", "20ms")
	f.until("events go to " + s.url)
	if err := os.WriteFile(filepath.Join(folder, "a.jar"), []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.until("503") // what cannot be published waits
	s.setIntercept(nil)
	go func() { _, _ = io.Copy(io.Discard, f.out) }()
	for deadline := time.Now().Add(apiPatience); len(s.stored("artifact")) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the file is not announced")
		}
	}
	if got := s.stored("artifact")[0]; got.Type != "artifact.deployed" || got.Source != "/folder/libs" || !strings.Contains(string(got.Data), `"a.jar"`) {
		t.Errorf("got %+v", got)
	}
	if err := f.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	s.cli("watch", filepath.Join(folder, "none")).fails("none")
	s.cli("watch", folder, "--state-dir", t.TempDir(), "--source", "%zz").fails("source of events is not a URI reference")
}

func TestEventsCommands(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	tail := s.background("events", "tail", "--type", "artifact.*", "--from-time", "2020-01-01T00:00:00Z")
	for n := range 3 {
		s.cliWith(t.Context(), artifactEvent(n), "publish", "--ndjson").ok()
	}
	list := s.cli("events", "list").ok("artifact  1  artifact.deployed  e0 from /t", "artifact  3  ").stdout
	if strings.Index(list, "e0 from") > strings.Index(list, "e2 from") {
		t.Errorf("the newest is not at the bottom:\n%s", list)
	}
	if got := s.cli("events", "list", "-n", "1", "--data").ok("e2 from /t", `"data":{"repo_key":"libs"`).stdout; strings.Contains(got, "e1 from") {
		t.Errorf("got\n%s", got)
	}
	if got := s.cli("events", "list", "--domain", "artifact", "--from-seq", "2", "-o", "json").shownList(); len(got) != 2 || got[0]["sequence"] != 2.0 {
		t.Errorf("got\n%v", got)
	}
	s.cli("events", "list", "--from-time", "2020-01-01T00:00:00Z", "-n", "0").ok("e0 from", "e2 from")
	if got := s.cli("events", "list", "--domain", "git").ok().stdout; got != "" {
		t.Errorf("got %s", got)
	}
	s.cli("events", "list", "--from-seq", "2").fails("needs domain or type")
	s.cli("events", "list", "--type", "artifact.deploy").fails("did you mean")
	again := s.background("events", "tail", "--domain", "artifact", "--from-seq", "1", "--output", "json")
	again.until(`"sequence":3`)
	if err := again.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	tail.until("e2 from /t")
	s.cliWith(t.Context(), artifactEvent(3), "publish", "--ndjson").ok()
	if got := tail.until("e3 from /t"); strings.Count(got, "e2 from") != 1 {
		t.Errorf("got\n%s", got)
	}
	if err := tail.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}
