package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Subscriptions are kept in a file: applied by the program to a server, delivered to
// with the secrets from outside of the file, and moved to a second server by export.
func TestSubscriptionsFromFiles(t *testing.T) {
	t.Parallel()
	first, second := startServer(t), startServer(t)
	receiver := startCatcher(t, nil)
	dir := appliedIn(t, map[string]string{
		"subs/ci.yaml": "id: ci\ntypes: [artifact.deployed]\nendpoint:\n  url: " + receiver.URL + "/hook\n  secret_headers:\n    X-Key: {env: CI_KEY}\nlabels: {from: git}\n",
		"subs/jf.yaml": "id: jf\ntypes: ['docker.*']\nprofile: jfrog\nsecret: {file: ../jf}\nendpoint: {url: '" + receiver.URL + "/jf'}\nlabels: {from: git}\n",
		"jf":           "swordfish\n",
	})
	jetpost := func(s *server, variable string, want int, args ...string) string {
		t.Helper()
		p := prepareProgramAt(t, dir, append(args, "--server", s.url)...)
		p.cmd.Env = append(p.cmd.Env, "JETPOST_TOKEN="+s.token, variable)
		p.start(t)
		if got := p.wait(t); got != want {
			t.Fatalf("jetpost %v: exit status %d, want %d:\n%s%s", args, got, want, p.stdout, p.stderr)
		}
		return p.stdout.String() + p.stderr.String()
	}
	if got := jetpost(first, "CI_KEY=", 1, "apply", "-f", "subs"); !strings.Contains(got, "subs/ci.yaml:6: endpoint.secret_headers.X-Key: the environment has no variable CI_KEY") {
		t.Errorf("got %s", got)
	}
	jetpost(first, "CI_KEY=sardine", 2, "apply", "-f", "subs", "--dry-run", "--exit-code")
	jetpost(first, "CI_KEY=sardine", 0, "apply", "-f", "subs")
	jetpost(first, "CI_KEY=sardine", 0, "apply", "-f", "subs", "--dry-run", "--exit-code")
	first.publish(t, happening{id: "e1", source: "/x", kind: "artifact.deployed", data: artifact(1)})
	if got := receiver.exactly(t, 1)[0]; got.header.Get("X-Key") != "sardine" {
		t.Errorf("got the header %q", got.header.Get("X-Key"))
	}
	// Another key is a change of that subscription only, and in force at once.
	if got := jetpost(first, "CI_KEY=sturgeon", 0, "apply", "-f", "subs"); !strings.Contains(got, "ci changed  (subs/ci.yaml:1): endpoint.secret_headers.X-Key\njf unchanged\n") || strings.Contains(got, "sturgeon") {
		t.Errorf("got %s", got)
	}
	first.publish(t, happening{id: "e2", source: "/x", kind: "artifact.deployed", data: artifact(1)})
	if got := receiver.exactly(t, 2)[1]; got.header.Get("X-Key") != "sturgeon" {
		t.Errorf("got the header %q", got.header.Get("X-Key"))
	}

	exported := jetpost(first, "CI_KEY=", 0, "export", "--label", "from=git")
	edited := strings.NewReplacer("X-Key: '[secret]'", "X-Key: {env: CI_KEY}", "profile: jfrog\nlabels:\n  from: git\nsecret: '[secret]'", "profile: jfrog\nlabels:\n  from: git\nsecret: {file: jf}").Replace(exported)
	if err := os.WriteFile(filepath.Join(dir, "moved.yaml"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	jetpost(second, "CI_KEY=sturgeon", 0, "apply", "-f", "moved.yaml", "--prune", "--label", "from=git")
	if got := jetpost(second, "CI_KEY=", 0, "export"); got != exported {
		t.Errorf("the second server has\n%s\nand the first\n%s", got, exported)
	}
	second.publish(t, happening{id: "e3", source: "/x", kind: "artifact.deployed", data: artifact(1)})
	if got := receiver.exactly(t, 3)[2]; got.header.Get("X-Key") != "sturgeon" {
		t.Errorf("got the header %q", got.header.Get("X-Key"))
	}
}
