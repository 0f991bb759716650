package gitsource

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// command runs this test program as the hook.
func (f *fixture) command() []string { return []string{os.Args[0], "hook", f.spool} }

func (f *fixture) install(dir string) Installation {
	f.t.Helper()
	in, err := Install(f.t.Context(), Config{Dir: dir, Env: f.env}, f.command())
	if err != nil {
		f.t.Fatal(err)
	}
	return in
}

// write makes an executable file.
func (f *fixture) write(path, content string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) read(path string) string {
	f.t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(content)
}

// The whole way: git push, receive-pack, the hook, git log, the events.
func TestPushThroughGit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	in := f.install(f.bare)
	if want := filepath.Join(f.bare, "hooks", "post-receive"); in.Path != want || !in.Changed || in.Chained != "" || len(in.Advice) > 0 {
		t.Errorf("got %+v, want %s", in, want)
	}
	before := f.commit("one", "a", "1")
	f.git("push", "origin", "main")
	after := f.commit("two", "a", "2", "b", "1")
	f.git("tag", "--annotate", "--message", "first", "v1")
	f.git("branch", "feature")
	f.git("push", "origin", "main", "v1", "feature")
	f.git("push", "origin", ":feature")

	events := f.spooled()
	if diff := cmp.Diff([]string{"main", "main", "refs/tags/v1", "feature", "feature"}, subjects(events)); diff != "" {
		t.Fatal(diff)
	}
	d := decode(t, events[1])
	if d.Before != before || d.After != after || len(d.Commits) != 1 || d.Commits[0].ID != after || d.Pusher.Login != "cleo@example.com" {
		t.Errorf("got %+v", d)
	}
	if deleted := decode(t, events[4]); deleted.Before != after || deleted.After != zeros {
		t.Errorf("got %+v", deleted)
	}
}

func TestServerDownDoesNotStopThePush(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.install(f.bare)
	f.write(filepath.Join(f.spool, "down"), "")
	f.commit("one", "a", "1")
	out := f.git("push", "origin", "main")
	if !strings.Contains(out, "remote: jetpost: the push is recorded and will be announced later") {
		t.Errorf("git push printed:\n%s", out)
	}
	if err := os.Remove(filepath.Join(f.spool, "down")); err != nil {
		t.Fatal(err)
	}
	f.git("push", "origin", "main:other")
	if diff := cmp.Diff([]string{"main", "other"}, subjects(f.spooled())); diff != "" {
		t.Error(diff)
	}
}

func TestInstallTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.install(f.bare)
	second := f.install(f.bare)
	if second.Changed || second.Chained != "" {
		t.Errorf("installing again: %+v", second)
	}
	third, err := Install(t.Context(), Config{Dir: f.bare, Env: f.env}, []string{"/other/jetpost", "it's"})
	if err != nil || !third.Changed || third.Chained != "" {
		t.Errorf("another command: %+v, %v", third, err)
	}
	if script := f.read(first.Path); !strings.Contains(script, `feed | '/other/jetpost' 'it'\''s' || :`) {
		t.Errorf("the script is\n%s", script)
	}
	out, err := Uninstall(t.Context(), Config{Dir: f.bare, Env: f.env})
	if err != nil || !out.Changed {
		t.Errorf("uninstall: %+v, %v", out, err)
	}
	if _, err := os.Lstat(first.Path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the hook is still there")
	}
	if out, err = Uninstall(t.Context(), Config{Dir: f.bare, Env: f.env}); err != nil || out.Changed {
		t.Errorf("uninstall again: %+v, %v", out, err)
	}
}

// A hook that was there before gets the same input and keeps its exit status; it
// runs even if jetpost is no longer installed.
func TestChain(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{
		"with jetpost":    nil,
		"without jetpost": {"/no/such/program"},
		"not reading":     {"/bin/true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			hook := filepath.Join(f.bare, "hooks", "post-receive")
			seen := filepath.Join(f.spool, "seen")
			original := "#!/bin/sh\ncat >'" + seen + "'\necho deployed\nexit 3\n"
			f.write(hook, original)
			if command == nil {
				command = f.command()
			}
			in, err := Install(t.Context(), Config{Dir: f.bare, Env: f.env}, command)
			if err != nil || in.Chained != hook+chainedSuffix {
				t.Fatalf("got %+v, %v", in, err)
			}
			if again, err := Install(t.Context(), Config{Dir: f.bare, Env: f.env}, command); err != nil || again.Changed {
				t.Errorf("installing again: %+v, %v", again, err)
			}
			after := f.commit("one", "a", "1")
			f.git("tag", "v1")
			if out := f.git("push", "origin", "main", "v1"); !strings.Contains(out, "remote: deployed") {
				t.Errorf("git push printed:\n%s", out)
			}
			want := zeros + " " + after + " refs/heads/main\n" + zeros + " " + after + " refs/tags/v1\n"
			if diff := cmp.Diff(want, f.read(seen)); diff != "" {
				t.Error(diff)
			}
			if name == "with jetpost" {
				if diff := cmp.Diff([]string{"main", "refs/tags/v1"}, subjects(f.spooled())); diff != "" {
					t.Error(diff)
				}
			}
			if _, err := f.tryGit(f.bare, []byte(want), "hook", "run", "post-receive"); err == nil {
				t.Error("the exit status of the hook is lost")
			}
			if _, err := Uninstall(t.Context(), Config{Dir: f.bare, Env: f.env}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(original, f.read(hook)); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Lstat(hook + chainedSuffix); !errors.Is(err, os.ErrNotExist) {
				t.Error("the kept hook is still there")
			}
		})
	}
}

// A hook that is put over ours later is not lost, nor is the one before it.
func TestConflict(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hook := filepath.Join(f.bare, "hooks", "post-receive")
	f.write(hook, "first")
	f.install(f.bare)
	f.write(hook, "second")
	if _, err := Install(t.Context(), Config{Dir: f.bare, Env: f.env}, f.command()); !errors.Is(err, ErrHookConflict) {
		t.Errorf("got %v", err)
	}
	if out, err := Uninstall(t.Context(), Config{Dir: f.bare, Env: f.env}); err != nil || out.Changed {
		t.Errorf("uninstall: %+v, %v", out, err)
	}
	if f.read(hook) != "second" || f.read(hook+chainedSuffix) != "first" {
		t.Error("a hook was changed")
	}
}

func TestHooksPath(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"relative":       "my hooks",
		"absolute":       "",
		"shared, beside": "../shared",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			want := filepath.Join(f.bare, path)
			if path == "" {
				want = filepath.Join(t.TempDir(), "hooks")
				path = want
			}
			f.gitIn(f.bare, "config", "core.hooksPath", path)
			in := f.install(f.bare)
			if in.Path != filepath.Join(want, "post-receive") {
				t.Errorf("installed as %s", in.Path)
			}
			if outside := name != "relative"; outside != (len(in.Advice) == 1) {
				t.Errorf("advice %q", in.Advice)
			}
			f.commit("one", "a", "1")
			f.git("push", "origin", "main")
			if diff := cmp.Diff([]string{"main"}, subjects(f.spooled())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A repository with a working tree, and another working tree of it: both share
// the hook and the outbox.
func TestWorkingTrees(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.commit("one", "a", "1")
	tree := filepath.Join(t.TempDir(), "tree")
	f.git("worktree", "add", "--quiet", tree, "-b", "side")

	in := f.install(tree)
	if len(in.Advice) != 2 || !strings.Contains(in.Advice[1], "receive.denyCurrentBranch") {
		t.Errorf("advice %q", in.Advice)
	}
	f.git("config", "receive.denyCurrentBranch", "updateInstead")
	if in = f.install(f.work); in.Changed || len(in.Advice) != 1 {
		t.Errorf("through the main working tree: %+v", in)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	f.gitIn(f.spool, "clone", "--quiet", f.work, clone)
	f.work = clone
	f.commit("two", "a", "2")
	f.git("push", "origin", "main", "main:refs/heads/new")
	f.git("push", tree, "main:refs/heads/newer")
	if diff := cmp.Diff([]string{"main", "new", "newer"}, subjects(f.spooled())); diff != "" {
		t.Error(diff)
	}
}

func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, command := range map[string][]string{"no command": nil, "NUL": {"a\x00b"}} {
		if _, err := Install(t.Context(), Config{Dir: f.bare, Env: f.env}, command); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, source := range []string{"%zz", ":nope", "http://[::1", "/my repository"} {
		_, err := Install(t.Context(), Config{Dir: f.bare, Env: f.env, Source: source}, f.command())
		if err == nil || !strings.Contains(err.Error(), "is not a URI reference") {
			t.Errorf("source %q: got %v, want it refused", source, err)
		}
	}
	if _, err := os.Stat(filepath.Join(f.bare, "hooks", "post-receive")); err == nil {
		t.Error("a hook was installed nevertheless")
	}
	if _, err := Install(t.Context(), Config{Dir: t.TempDir(), Env: append(f.env, "GIT_CEILING_DIRECTORIES=/")}, f.command()); err == nil {
		t.Error("installed where there is no repository")
	}
}
