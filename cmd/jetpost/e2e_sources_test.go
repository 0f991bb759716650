package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// run runs a command of the program as a user of the same machine does, who has
// said nothing about where the server is.
func (s *server) run(tb testing.TB, args ...string) string {
	tb.Helper()
	p := s.start(tb, args...)
	if code := p.wait(tb); code != 0 {
		tb.Fatalf("jetpost %s: exit code %d\n%s%s", strings.Join(args, " "), code, p.stdout, p.stderr)
	}
	return p.stdout.String()
}

// start starts a command in the same way.
func (s *server) start(tb testing.TB, args ...string) *program {
	tb.Helper()
	p := prepareProgramAt(tb, s.home, args...)
	p.start(tb)
	return p
}

// A repository is a bare git repository and a clone of it.
type repository struct {
	tb         testing.TB
	home       string
	bare, work string
}

func newRepository(tb testing.TB, home string) *repository {
	tb.Helper()
	dir := tb.TempDir()
	r := &repository{tb: tb, home: home, bare: filepath.Join(dir, "tug.git"), work: filepath.Join(dir, "work")}
	r.git(dir, "init", "-q", "--bare", "-b", "main", r.bare)
	r.git(dir, "clone", "-q", r.bare, r.work)
	return r
}

// git runs git and returns what it says. Its hooks find the test binary to be the
// program.
func (r *repository) git(dir string, args ...string) string {
	r.tb.Helper()
	cmd := exec.CommandContext(r.tb.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = programEnv(r.home, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada Löve", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ben Mate", "GIT_COMMITTER_EMAIL=ben@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.tb.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes one commit of changes: a text writes a file, an empty one removes
// it. It returns the commit's id.
func (r *repository) commit(message string, changes map[string]string) string {
	r.tb.Helper()
	for name, text := range changes {
		path := filepath.Join(r.work, name)
		if text == "" {
			r.git(r.work, "rm", "-q", name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			r.tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			r.tb.Fatal(err)
		}
		r.git(r.work, "add", name)
	}
	r.git(r.work, "commit", "-q", "-m", message)
	return r.git(r.work, "rev-parse", "HEAD")
}

// A pushed is what an event says about a push.
type pushed struct {
	Ref, Before, After string
	Commits            []pushedCommit
}

type pushedCommit struct {
	ID, Message              string
	Author, Committer        struct{ Name, Email string }
	Timestamp                time.Time
	Added, Removed, Modified []string
}

// pushes reads what has arrived, by ref.
func pushes(tb testing.TB, got []*arrival) map[string]pushed {
	tb.Helper()
	found := make(map[string]pushed)
	for _, a := range got {
		e, err := a.event()
		if err != nil {
			tb.Fatal(err)
		}
		var p pushed
		if err := json.Unmarshal(e.Data(), &p); err != nil {
			tb.Fatalf("%v in %s", err, e.Data())
		}
		if e.Type() != "git.push" || e.Source() != "/git/tug" {
			tb.Errorf("got event %s", e)
		}
		found[p.Ref] = p
	}
	return found
}

// Pushes to a real repository arrive with their real commits: several refs in one
// push, tags, a moved branch, and deleted ones.
func TestGitJourney(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	hook := s.subscribe(t, "ci", c.URL, []string{"git.push"}, nil)
	r := newRepository(t, s.home)
	if out := s.run(t, "git", "install", r.bare); !strings.Contains(out, "installed "+filepath.Join(r.bare, "hooks", "post-receive")) {
		t.Errorf("git install says %s", out)
	}
	const none = "0000000000000000000000000000000000000000"

	first := r.commit("first\n\nwith a body, ü", map[string]string{"README.md": "one", "dir/a b.txt": "two"})
	second := r.commit("second", map[string]string{"README.md": "changed", "dir/a b.txt": ""})
	r.git(r.work, "tag", "-a", "-m", "release", "v1")
	tag := r.git(r.work, "rev-parse", "v1")
	r.git(r.work, "checkout", "-q", "-b", "feature/x")
	third := r.commit("third", map[string]string{"new.txt": "three"})
	r.git(r.work, "push", "-q", "origin", "main", "feature/x", "v1")

	got := c.exactly(t, 3)
	for _, a := range got {
		if err := a.verify(hook.Secret); err != nil {
			t.Error(err)
		}
	}
	found := pushes(t, got)
	ids := func(p pushed) (ids []string) {
		for _, one := range p.Commits {
			ids = append(ids, one.ID)
		}
		return ids
	}
	main, feature := found["refs/heads/main"], found["refs/heads/feature/x"]
	if main.Before != none || main.After != second || !slices.Equal(ids(main), []string{first, second}) {
		t.Errorf("main: got %+v", main)
	}
	// The branch that is pushed beside it has one commit that is not on main.
	if feature.Before != none || feature.After != third || !slices.Contains(ids(feature), third) {
		t.Errorf("feature/x: got %+v", feature)
	}
	if v1 := found["refs/tags/v1"]; v1.Before != none || v1.After != tag || len(v1.Commits) != 0 {
		t.Errorf("v1: got %+v", v1)
	}
	if len(main.Commits) == 2 {
		type about struct {
			Message, Author, Email, Committer, Time string
			Added, Removed, Modified                []string
		}
		var have []about
		for _, one := range main.Commits {
			have = append(have, about{one.Message, one.Author.Name, one.Author.Email, one.Committer.Name, one.Timestamp.UTC().Format(time.RFC3339), one.Added, one.Removed, one.Modified})
		}
		when := func(commit string) string {
			at, err := time.Parse(time.RFC3339, r.git(r.work, "show", "-s", "--format=%cI", commit))
			if err != nil {
				t.Fatal(err)
			}
			return at.UTC().Format(time.RFC3339)
		}
		want := []about{
			{"first\n\nwith a body, ü\n", "Ada Löve", "ada@example.com", "Ben Mate", when(first), []string{"README.md", "dir/a b.txt"}, []string{}, []string{}},
			{"second\n", "Ada Löve", "ada@example.com", "Ben Mate", when(second), []string{}, []string{"dir/a b.txt"}, []string{"README.md"}},
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("the commits of main (-want +got):\n%s", diff)
		}
	}

	// A branch that goes back and forth, and two deletions in one push.
	r.git(r.work, "checkout", "-q", "main")
	r.git(r.work, "reset", "-q", "--hard", first)
	fourth := r.commit("fourth", map[string]string{"README.md": "another"})
	r.git(r.work, "push", "-q", "--force", "origin", "main")
	r.git(r.work, "push", "-q", "origin", ":feature/x", ":v1")
	found = pushes(t, c.exactly(t, 6)[3:])
	if p := found["refs/heads/main"]; p.Before != second || p.After != fourth || !slices.Equal(ids(p), []string{fourth}) {
		t.Errorf("the forced push: got %+v", p)
	}
	for ref, before := range map[string]string{"refs/heads/feature/x": third, "refs/tags/v1": tag} {
		if p := found[ref]; p.Before != before || p.After != none || len(p.Commits) != 0 {
			t.Errorf("the deletion of %s: got %+v", ref, p)
		}
	}

	// While the server is away a push succeeds, and is announced by the next one.
	if code := s.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	fifth := r.commit("fifth", map[string]string{"later.txt": "x"})
	r.git(r.work, "push", "-q", "origin", "main")
	s.args = append(s.args, "--http", strings.TrimPrefix(s.url, "http://"))
	s.restartAt(t, s.home)
	sixth := r.commit("sixth", map[string]string{"later.txt": "y"})
	r.git(r.work, "push", "-q", "origin", "main")
	var after []string
	for _, a := range c.exactly(t, 8)[6:] {
		for _, p := range pushes(t, []*arrival{a}) {
			after = append(after, p.After)
		}
	}
	slices.Sort(after)
	want := []string{fifth, sixth}
	slices.Sort(want)
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("after the server came back (-want +got):\n%s", diff)
	}
}

// Files that appear, change and go in a folder arrive as artifact events, also
// those that did so while no process was watching.
func TestFolderJourney(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	s.subscribe(t, "files", c.URL, []string{"artifact.*"}, nil)
	folder := filepath.Join(t.TempDir(), "releases")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// what is a line for each event: its type, path, size and sum.
	what := func(got []*arrival) (lines []string) {
		t.Helper()
		for _, a := range got {
			e, err := a.event()
			if err != nil {
				t.Fatal(err)
			}
			var data struct {
				RepoKey string `json:"repo_key"`
				Path    string
				Name    string
				SHA256  string
				Size    int64
			}
			if err := json.Unmarshal(e.Data(), &data); err != nil {
				t.Fatal(err)
			}
			if e.Source() != "/folder/releases" || data.RepoKey != "releases" || data.Name != filepath.Base(data.Path) || e.Subject() != data.Path {
				t.Errorf("got %s", e)
			}
			lines = append(lines, fmt.Sprint(e.Type(), " ", data.Path, " ", data.Size, " ", data.SHA256[:8]))
		}
		slices.Sort(lines)
		return lines
	}
	line := func(kind, path, text string) string {
		sum := sha256.Sum256([]byte(text))
		return fmt.Sprintf("artifact.%s %s %d %x", kind, path, len(text), sum[:4])
	}
	seen := 0
	expect := func(when string, want ...string) {
		t.Helper()
		got := c.exactly(t, seen+len(want))
		slices.Sort(want)
		if diff := cmp.Diff(want, what(got[seen:])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
		seen += len(want)
	}

	write("old.jar", "was there before")
	w := s.start(t, "watch", folder, "--settle", "50ms")
	w.line(t, "events go to "+s.url)
	expect("at the start", line("deployed", "old.jar", "was there before"))
	write("a.jar", "one")
	write("deep/er/b.jar", "two")
	expect("after two files appeared", line("deployed", "a.jar", "one"), line("deployed", "deep/er/b.jar", "two"))
	write("a.jar", "one, changed")
	expect("after a change", line("deployed", "a.jar", "one, changed"))
	if err := os.Remove(filepath.Join(folder, "old.jar")); err != nil {
		t.Fatal(err)
	}
	expect("after a removal", line("deleted", "old.jar", "was there before"))
	if code := w.stop(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, w.stderr)
	}
	write("unseen.jar", "three")
	write("a.jar", "one, changed again")
	if err := os.RemoveAll(filepath.Join(folder, "deep")); err != nil {
		t.Fatal(err)
	}
	w = s.start(t, "watch", folder, "--settle", "50ms")
	expect("after a restart", line("deployed", "unseen.jar", "three"), line("deployed", "a.jar", "one, changed again"), line("deleted", "deep/er/b.jar", "two"))
	w.kill()
	write("last.jar", "four")
	s.start(t, "watch", folder, "--settle", "50ms")
	expect("after a kill", line("deployed", "last.jar", "four"))
}

// The README's walk, command by command: what people read there is what they see.
func TestReadmeWalk(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	receiver := s.start(t, "receiver", "--addr", "127.0.0.1:0")
	address := strings.TrimPrefix(receiver.line(t, "listening on "), "listening on ")

	out := s.run(t, "subscription", "create", "--id", "ci", "--types", "git.push", "--url", address+"/hook")
	for _, want := range []string{"created subscription ci", "active", "git.push", "POST " + address + "/hook", "cloudevents", "0s 5s 5m 30m 2h 5h 10h 14h 20h 24h", "whsec_"} {
		if !strings.Contains(out, want) {
			t.Errorf("subscription create says\n%s\nand not %q", out, want)
		}
	}
	r := newRepository(t, s.home)
	s.run(t, "git", "install", r.bare)
	commit := r.commit("first commit", map[string]string{"README.md": "# hello"})
	r.git(r.work, "push", "-q", "origin", "main")
	request := receiver.line(t, "git.push")
	for _, want := range []string{"200", "ci", "attempt 1", "signature ok", "POST /hook"} {
		if !strings.Contains(request, want) {
			t.Errorf("the receiver prints %q, and not %q", request, want)
		}
	}
	receiver.line(t, "webhook-id dlv_")
	receiver.line(t, "refs/heads/main  new at "+commit[:7]+"  1 commit")
	receiver.line(t, commit[:7]+"  first commit  (Ada Löve)")
	receiver.line(t, "A README.md")
	eventually(t, "the attempt is shown", func() bool {
		out = s.run(t, "attempts", "ci")
		return strings.Contains(out, "delivered") && strings.Contains(out, "200") && strings.Contains(out, "git.push")
	})

	// And the rest of what a person tries.
	s.run(t, "subscription", "create", "--id", "files", "--types", "artifact.*", "--url", address+"/files")
	s.run(t, "subscription", "test", "files")
	receiver.line(t, "POST /files")
	data := filepath.Join(t.TempDir(), "data.json")
	if err := os.WriteFile(data, []byte(deployed("by-hand", "libs").data), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t, "publish", "--type", "artifact.deployed", "--source", "/by/hand", "--data-file", data)
	eventually(t, "the event is delivered", func() bool {
		return strings.Count(s.run(t, "attempts", "files"), "delivered") == 2
	})
	if out = s.run(t, "subscription", "list"); !strings.Contains(out, "ci") || !strings.Contains(out, "files") {
		t.Errorf("subscription list says\n%s", out)
	}
	if out = s.run(t, "events", "list"); !strings.Contains(out, "artifact.deployed") {
		t.Errorf("events list says\n%s", out)
	}
	if code := receiver.stop(t); code != 0 {
		t.Errorf("exit code %d of the receiver", code)
	}
	if strings.Contains(receiver.stdout.String(), "whsec_") {
		t.Error("the receiver prints a secret")
	}
	if r := s.do(t, http.MethodGet, "/v1/subscriptions/ci", nil); r.status != http.StatusOK {
		t.Errorf("%d %s", r.status, r.body)
	}
}
