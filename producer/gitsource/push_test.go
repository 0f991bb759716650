package gitsource

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sortedKeys(sets ...map[string]string) []string {
	all := map[string]string{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return slices.Sorted(maps.Keys(all))
}

var update = flag.Bool("update", false, "rewrite the golden files")

// What another program reads: all keys, their order and their values. The parts
// that depend on the place and the time of the test are replaced.
func TestPayloadIsStable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.commit("Start <here> & now", "README.md", "hello", "old.txt", "x")
	f.push("main")
	f.commit("Change things\n\nAnd say why.", "README.md", "hello again", "old.txt", "-", "new.txt", "y")
	e := f.push("main")[0]

	var indented bytes.Buffer
	if err := json.Indent(&indented, e.Data, "", "  "); err != nil {
		t.Fatal(err)
	}
	got := indented.Bytes()
	for pattern, replacement := range map[string]string{
		`("repository": \{\s+"id": )\d+`: "${1}1",
		`("size": )\d+`:                  "${1}4",
		`("updated_at": )"[^"]+"`:        `${1}"2025-11-02T09:00:00Z"`,
	} {
		got = regexp.MustCompile(pattern).ReplaceAll(got, []byte(replacement))
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", "push.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.commit("one", "a", "1")
	f.git("tag", "v1")
	f.git("branch", "feature/foghorn-ä")
	events := f.push("main", "feature/foghorn-ä", "v1")
	if diff := cmp.Diff([]string{"feature/foghorn-ä", "main", "refs/tags/v1"}, subjects(events)); diff != "" {
		t.Error(diff)
	}
	ids := map[string]bool{}
	for _, e := range events {
		ids[e.ID] = true
		if e.Type != "git.push" || e.Source != "/git/tugboat" || e.DataContentType != "application/json" || len(e.Extensions) != 0 {
			t.Errorf("got %+v", e)
		}
		if at, err := time.Parse(time.RFC3339, e.Time); err != nil || time.Since(at) > time.Minute {
			t.Errorf("time %q: %v", e.Time, err)
		}
	}
	if len(ids) != 3 {
		t.Errorf("got %d ids for 3 events", len(ids))
	}
}

// The same push has the same id, however often it is announced; a later push
// that moves the ref in the same way has another.
func TestIDIsOfThePush(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.commit("a", "a", "1")
	f.push("main")
	r, _ := f.open()
	at := time.Date(2025, 11, 2, 9, 0, 0, 0, time.UTC)
	updates := []Update{{Before: zeros, After: a, Ref: "refs/heads/main"}}
	id := func(at time.Time) string {
		events, err := r.Events(t.Context(), updates, at)
		if err != nil {
			t.Fatal(err)
		}
		return events[0].ID
	}
	first := id(at)
	if again := id(at); again != first {
		t.Errorf("the ids of one push differ: %s, %s", first, again)
	}
	if id(at.Add(time.Nanosecond)) == first {
		t.Error("two pushes have the same id")
	}
}

func TestCommits(t *testing.T) {
	t.Parallel()
	type want struct {
		subject   string
		before    string // "" for zeros
		after     string
		messages  []string
		truncated bool
	}
	tests := map[string]struct {
		// setup prepares both repositories and returns what to push.
		setup func(f *fixture) []string
		want  []want
	}{
		"the first push announces everything, root commit included": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.commit("two", "a", "2")
				return []string{"main"}
			},
			want: []want{{"main", "", "main", []string{"one", "two"}, false}},
		},
		"a push announces what follows the old commit, oldest first": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.commit("two", "a", "2")
				f.commit("three", "a", "3")
				return []string{"main"}
			},
			want: []want{{"main", "before", "main", []string{"two", "three"}, false}},
		},
		"a new branch announces what no ref had": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("checkout", "--quiet", "-b", "feature")
				f.commit("two", "b", "1")
				return []string{"feature"}
			},
			want: []want{{"feature", "", "feature", []string{"two"}, false}},
		},
		"a new branch on a known commit announces no commit": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("branch", "feature")
				return []string{"feature"}
			},
			want: []want{{"feature", "", "feature", []string{}, false}},
		},
		"several new branches announce each commit once, the default branch first": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("checkout", "--quiet", "-b", "alpha")
				f.commit("two", "b", "1")
				f.git("checkout", "--quiet", "-b", "beta")
				f.commit("three", "c", "1")
				return []string{"alpha", "beta", "main"}
			},
			want: []want{
				{"alpha", "", "alpha", []string{"two"}, false},
				{"beta", "", "beta", []string{"three"}, false},
				{"main", "", "main", []string{"one"}, false},
			},
		},
		"a commit of an updated branch is not announced again by a new one": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.commit("two", "a", "2")
				f.git("checkout", "--quiet", "-b", "alpha")
				f.commit("three", "a", "3")
				return []string{"alpha", "main"}
			},
			want: []want{
				{"alpha", "", "alpha", []string{"three"}, false},
				{"main", "before", "main", []string{"two"}, false},
			},
		},
		"a branch that is moved to known commits announces them": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.git("checkout", "--quiet", "-b", "feature")
				f.commit("two", "a", "2")
				f.git("push", "--quiet", "origin", "feature")
				f.git("checkout", "--quiet", "main")
				f.git("merge", "--quiet", "--ff-only", "feature")
				return []string{"main"}
			},
			want: []want{{"main", "before", "main", []string{"two"}, false}},
		},
		"a merge announces the commits it brings and itself": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.git("checkout", "--quiet", "-b", "feature")
				f.commit("two", "b", "1")
				f.git("checkout", "--quiet", "main")
				f.commit("three", "a", "2")
				f.git("merge", "--quiet", "--no-ff", "-m", "merge", "feature")
				return []string{"main"}
			},
			want: []want{{"main", "before", "main", []string{"two", "three", "merge"}, false}},
		},
		"a forced push announces what follows the merge base": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.commit("two", "a", "2")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.git("reset", "--quiet", "--hard", "HEAD~1")
				f.commit("other", "a", "3")
				return []string{"--force", "main"}
			},
			want: []want{{"main", "before", "main", []string{"other"}, false}},
		},
		"a forced push backwards announces no commit": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.commit("two", "a", "2")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.git("reset", "--quiet", "--hard", "HEAD~1")
				return []string{"--force", "main"}
			},
			want: []want{{"main", "before", "main", []string{}, false}},
		},
		"unrelated history is announced whole": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "before")
				f.git("checkout", "--quiet", "--orphan", "fresh")
				f.commit("root", "a", "2")
				f.git("branch", "--force", "main")
				return []string{"--force", "main"}
			},
			want: []want{{"main", "before", "main", []string{"root"}, false}},
		},
		"a deleted branch": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("branch", "feature")
				f.git("push", "--quiet", "origin", "main", "feature")
				return []string{":feature"}
			},
			want: []want{{"feature", "feature", "", []string{}, false}},
		},
		"a light tag on a known commit": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "v1")
				return []string{"v1"}
			},
			want: []want{{"refs/tags/v1", "", "v1", []string{}, false}},
		},
		"an annotated tag is announced by its own id, with new commits": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.commit("two", "a", "2")
				f.git("tag", "--annotate", "--message", "first", "v1")
				return []string{"v1"}
			},
			want: []want{{"refs/tags/v1", "", "refs/tags/v1", []string{"two"}, false}},
		},
		"a branch and a tag on it: the branch announces the commits": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("tag", "v1")
				f.git("branch", "zeta")
				return []string{"v1", "zeta"}
			},
			want: []want{
				{"zeta", "", "zeta", []string{"one"}, false},
				{"refs/tags/v1", "", "v1", []string{}, false},
			},
		},
		"a moved tag announces new commits only": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("tag", "v1")
				f.git("push", "--quiet", "origin", "main", "v1")
				f.git("tag", "before")
				f.commit("two", "a", "2")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "--force", "v1")
				return []string{"--force", "v1"}
			},
			want: []want{{"refs/tags/v1", "before", "v1", []string{}, false}},
		},
		"a deleted tag": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("tag", "v1")
				f.git("push", "--quiet", "origin", "main", "v1")
				return []string{":v1"}
			},
			want: []want{{"refs/tags/v1", "v1", "", []string{}, false}},
		},
		"a tag on a file has no commits": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("push", "--quiet", "origin", "main")
				f.git("tag", "blob", "HEAD:a")
				return []string{"blob"}
			},
			want: []want{{"refs/tags/blob", "", "blob", []string{}, false}},
		},
		"a branch and another deleted in one push": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("branch", "old")
				f.git("push", "--quiet", "origin", "main", "old")
				f.git("checkout", "--quiet", "-b", "new")
				f.commit("two", "a", "2")
				return []string{"new", ":old"}
			},
			want: []want{
				{"new", "", "new", []string{"two"}, false},
				{"old", "old", "", []string{}, false},
			},
		},
		"a renamed branch does not announce its commits again": {
			setup: func(f *fixture) []string {
				f.commit("one", "a", "1")
				f.git("checkout", "--quiet", "-b", "old")
				f.commit("two", "a", "2")
				f.git("push", "--quiet", "origin", "main", "old")
				f.git("branch", "new")
				return []string{"new", ":old"}
			},
			want: []want{
				{"new", "", "new", []string{}, false},
				{"old", "old", "", []string{}, false},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			args := test.setup(f)
			events := f.push(args...)
			id := func(name string) string {
				if name == "" {
					return zeros
				}
				return f.git("rev-parse", name)
			}
			for i := range test.want {
				test.want[i].before, test.want[i].after = id(test.want[i].before), id(test.want[i].after)
			}
			var got []want
			for _, e := range events {
				d := decode(t, e)
				got = append(got, want{e.Subject, d.Before, d.After, d.messages(), d.Truncated})
			}
			slices.SortFunc(test.want, func(a, b want) int { return strings.Compare(a.subject, b.subject) })
			slices.SortFunc(got, func(a, b want) int { return strings.Compare(a.subject, b.subject) })
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(want{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	odd := []string{"new\nline", "tab\tquote\"", "-option", "ünïcödé", "\xff\xfe", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "sub/dir/f"}
	var files []string
	for _, name := range odd {
		files = append(files, name, "content")
	}
	f.commit("root", files...)
	root := decode(t, f.push("main")[0]).Commits[0]
	got := slices.Sorted(slices.Values(root.Added))
	want := slices.Clone(odd)
	want[4] = "\ufffd\ufffd"
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	f.git("mv", "sub/dir/f", "sub/g")
	f.commit("rename, change, binary", "ünïcödé", "other", "image", "\x00\x01\x02")
	if err := os.Remove(filepath.Join(f.work, "-option")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("image", filepath.Join(f.work, "-option")); err != nil {
		t.Fatal(err)
	}
	f.commit("a file becomes a link")
	f.commit("nothing")
	commits := decode(t, f.push("main")[0]).Commits
	lists := func(c commit) [][]string { return [][]string{c.Added, c.Removed, c.Modified} }
	for i, want := range [][][]string{
		{{"image", "sub/g"}, {"sub/dir/f"}, {"ünïcödé"}},
		{{}, {}, {"-option"}},
		{{}, {}, {}},
	} {
		if diff := cmp.Diff(want, lists(commits[i])); diff != "" {
			t.Errorf("commit %d: %s", i, diff)
		}
	}
}

func TestMergeShowsWhatItBrought(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.commit("one", "a", "1")
	f.git("checkout", "--quiet", "-b", "feature")
	f.commit("two", "b", "1")
	f.git("checkout", "--quiet", "main")
	f.commit("three", "c", "1")
	f.git("merge", "--quiet", "--no-ff", "-m", "merge", "feature")
	commits := decode(t, f.push("main")[0]).Commits
	merge := commits[len(commits)-1]
	if diff := cmp.Diff([]string{"b"}, merge.Added); diff != "" || len(merge.Modified)+len(merge.Removed) > 0 {
		t.Errorf("%s %v", diff, merge)
	}
}

// Messages in other encodings arrive as UTF-8, and dates that no calendar has do
// not break the event.
func TestOddCommits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.commit("one", "a", "1")
	tree := f.git("rev-parse", "HEAD^{tree}")
	raw := "tree " + tree + "\nauthor \xe9 <e@example.com> 1720031258 +0230\n" +
		"committer c <c@example.com> 99999999999999 +9999\nencoding ISO-8859-1\n\n\xe9, no newline"
	id, err := f.tryGit(f.work, []byte(raw), "hash-object", "-t", "commit", "-w", "--stdin", "--literally")
	if err != nil {
		t.Fatal(id)
	}
	f.git("branch", "odd", strings.TrimSpace(id))
	c := decode(t, f.push("odd")[0]).Commits[0]
	if c.Message != "é, no newline" || c.Author.Name != "é" || c.Timestamp != zeroTime {
		t.Errorf("got %+v", c)
	}
}

func TestTimestamp(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"1720031258 +0000":     "2024-07-03T18:27:38Z",
		"1720031258 +0230":     "2024-07-03T20:57:38+02:30",
		"1720031258 -0800":     "2024-07-03T10:27:38-08:00",
		"1720031258 +9900":     "2024-07-03T18:27:38Z",
		"1720031258":           "2024-07-03T18:27:38Z",
		"0 +0000":              "1970-01-01T00:00:00Z",
		"-86400 +0000":         "1969-12-31T00:00:00Z",
		"9223372036854775807 ": zeroTime,
		"":                     zeroTime,
	} {
		if got := timestamp(raw); got != want {
			t.Errorf("%q: got %s, want %s", raw, got, want)
		}
	}
}

func TestManyCommits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		n       int
		message func(i int) string
		files   func(i int) []string
	}{
		"a thousand commits": {
			1000,
			func(i int) string { return fmt.Sprintf("commit %d", i) },
			func(i int) []string { return []string{fmt.Sprintf("dir/%d", i%7)} },
		},
		"commits with long messages": {
			300,
			func(i int) string { return fmt.Sprintf("commit %d\n", i) + strings.Repeat("ä\n", 5000) },
			func(i int) []string { return []string{"a"} },
		},
		"commits with many files": {
			300,
			func(i int) string { return fmt.Sprintf("commit %d", i) },
			func(i int) []string {
				var files []string
				for j := range 50 {
					files = append(files, fmt.Sprintf("a rather long folder name/%d/%d", i, j))
				}
				return files
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			after := f.chain("main", test.n, test.message, test.files)
			r, _ := f.open()
			events, err := r.Events(t.Context(), []Update{{zeros, after, "refs/heads/main"}}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			f.check(events)
			d := decode(t, events[0])
			if len(d.Commits) != maxListed || d.CommitsTotal != test.n || !d.Truncated {
				t.Errorf("got %d commits of %d, truncated %t", len(d.Commits), d.CommitsTotal, d.Truncated)
			}
			if last := d.Commits[maxListed-1]; last.ID != after || !strings.HasPrefix(last.Message, fmt.Sprintf("commit %d", test.n-1)) {
				t.Errorf("the last commit is %s %.20q", last.ID, last.Message)
			}
		})
	}
}

// A commit that imports a tree of files loses some of them, not those of its
// neighbours and not its message.
func TestHugeCommit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	after := f.chain("main", 3,
		func(i int) string { return fmt.Sprintf("commit %d\n", i) },
		func(i int) []string {
			if i != 1 {
				return []string{"small", fmt.Sprint(i)}
			}
			var files []string
			for j := range 20_000 {
				files = append(files, fmt.Sprintf("vendor/%05d.go", j))
			}
			return files
		})
	r, _ := f.open()
	events, err := r.Events(t.Context(), []Update{{zeros, after, "refs/heads/main"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.check(events)
	d := decode(t, events[0])
	if !d.Truncated || d.CommitsTotal != 3 || len(d.Commits) != 3 {
		t.Fatalf("got %d of %d commits, truncated %t", len(d.Commits), d.CommitsTotal, d.Truncated)
	}
	if diff := cmp.Diff([]string{"2"}, d.Commits[2].Added); diff != "" {
		t.Error(diff)
	}
	if got := len(d.Commits[1].Added); got < 8000 || got >= 20_000 {
		t.Errorf("%d files are left", got)
	}
	if len(events[0].Data) < maxData*95/100 {
		t.Errorf("only %d bytes are used", len(events[0].Data))
	}
}

// A mirror pushes thousands of refs at once.
func TestManyRefs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	after := f.chain("main", 50, func(i int) string { return fmt.Sprint(i) }, func(i int) []string { return []string{"a"} })
	var in strings.Builder
	var updates []Update
	for i := range 500 {
		ref := fmt.Sprintf("refs/tags/v%d", i)
		fmt.Fprintf(&in, "create %s %s\n", ref, after)
		updates = append(updates, Update{zeros, after, ref})
	}
	if out, err := f.tryGit(f.bare, []byte(in.String()), "update-ref", "--stdin"); err != nil {
		t.Fatal(out)
	}
	updates = append(updates, Update{zeros, after, "refs/heads/main"})
	r, _ := f.open()
	events, err := r.Events(t.Context(), updates, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 501 {
		t.Fatalf("got %d events", len(events))
	}
	if got := len(decode(t, events[500]).Commits); got != 50 {
		t.Errorf("main announces %d commits", got)
	}
	if got := len(decode(t, events[0]).Commits); got != 0 {
		t.Errorf("a tag announces %d commits", got)
	}
}

func TestSHA256Repository(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := t.TempDir()
	f.bare, f.work = filepath.Join(dir, "b.git"), filepath.Join(dir, "w")
	f.gitIn(dir, "init", "--quiet", "--bare", "--object-format=sha256", f.bare)
	f.gitIn(dir, "init", "--quiet", "--object-format=sha256", f.work)
	f.git("remote", "add", "origin", f.bare)
	f.commit("one", "a", "1")
	after := f.commit("two", "a", "2")
	f.git("push", "--quiet", "origin", "main")
	r, _ := f.open()
	events, err := r.Events(t.Context(), []Update{{zeros + zeros[:24], after, "refs/heads/main"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.check(events)
	if diff := cmp.Diff([]string{"one", "two"}, decode(t, events[0]).messages()); diff != "" {
		t.Error(diff)
	}
}

// Objects that are gone, as after a prune, do not keep a push from being announced.
func TestMissingObject(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	after := f.commit("one", "a", "1")
	f.push("main")
	gone := strings.Repeat("1", 40)
	r, _ := f.open()
	events, err := r.Events(t.Context(), []Update{
		{gone, after, "refs/heads/main"},
		{gone, zeros, "refs/heads/old"},
		{zeros, gone, "refs/heads/new"},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.check(events)
	var got [][]string
	for _, e := range events {
		got = append(got, decode(t, e).messages())
	}
	if diff := cmp.Diff([][]string{{"one"}, {}, {}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefOfAnyBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	after := f.commit("one", "a", "1")
	f.git("push", "--quiet", "origin", "main:refs/heads/x\xff\xc2\x85y")
	r, _ := f.open()
	events, err := r.Events(t.Context(), []Update{{zeros, after, "refs/heads/x\xff\xc2\x85y"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f.check(events)
	if got, want := events[0].Subject, "x\ufffd\ufffdy"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	if got := decode(t, events[0]).messages(); len(got) != 1 {
		t.Errorf("commits %q", got)
	}
}

func TestPusher(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	env := slices.DeleteFunc(slices.Clone(f.env), func(e string) bool { return strings.HasPrefix(e, "GIT_PUSHER=") })
	for name, test := range map[string]struct {
		env  []string
		want pusher
	}{
		"an address":          {[]string{"REMOTE_USER=dan@example.com"}, pusher{Login: "dan@example.com", Email: "dan@example.com"}},
		"a name":              {[]string{"GL_USERNAME=dan"}, pusher{Login: "dan"}},
		"a name, an address":  {[]string{"GL_USER=dan", "GIT_PUSHER_EMAIL=d@example.com"}, pusher{Login: "dan", Email: "d@example.com"}},
		"the first one known": {[]string{"REMOTE_USER=dan", "GIT_PUSHER=eve"}, pusher{Login: "eve"}},
	} {
		cfg := f.config()
		cfg.Env = append(slices.Clone(env), test.env...)
		r, err := Open(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, r.pusher(t.Context())); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	cfg := f.config()
	cfg.Env = env
	r, err := Open(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.pusher(t.Context()); p.Login == "" || p.Name != "Ben Mate" || p.Email != "ben@example.com" {
		t.Errorf("without a server: %+v", p)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := os.WriteFile(filepath.Join(f.bare, "description"), []byte("\ufeffTugs\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.commit("one", "a", "1")
	f.push("main")
	r, err := Open(t.Context(), Config{Dir: f.bare, Env: append(f.env, "GIT_DIR=/nowhere")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	events, err := r.Events(t.Context(), []Update{{zeros, f.git("rev-parse", "main"), "refs/heads/main"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	d := decode(t, events[0])
	got := []string{
		d.Repository.Name, d.Repository.FullName, d.Repository.Owner.Login, d.Repository.Description,
		d.Repository.HTMLURL, d.CompareURL, d.Commits[0].URL, d.Repository.DefaultBranch, events[0].Source,
	}
	want := []string{"tugboat", "harbor/tugboat", "harbor", "Tugs", "", "", "", "main", "/git/tugboat"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(d.Repository.CloneURL, "file:///") {
		t.Errorf("clone_url %q", d.Repository.CloneURL)
	}

	// The repository with a working tree is named after that.
	r, err = Open(t.Context(), Config{Dir: f.work, Env: f.env}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.cfg.Name != "work" {
		t.Errorf("name %q", r.cfg.Name)
	}
}

func TestParseUpdates(t *testing.T) {
	t.Parallel()
	a, b := strings.Repeat("a", 40), strings.Repeat("b", 40)
	got, err := ParseUpdates(strings.NewReader(a + " " + b + " refs/heads/m\n" + b + " " + a + " refs/tags/v"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Update{{a, b, "refs/heads/m"}, {b, a, "refs/tags/v"}}, got); diff != "" {
		t.Error(diff)
	}
	for name, line := range map[string]string{
		"empty line":            "",
		"one id":                a,
		"short id":              a[1:] + " " + b + " refs/heads/m",
		"ids of two kinds":      a + " " + b + b[:24] + " refs/heads/m",
		"upper case":            strings.ToUpper(a) + " " + b + " refs/heads/m",
		"option":                "--output=/tmp/x " + b + " refs/heads/m",
		"no ref":                a + " " + b + " ",
		"not below refs":        a + " " + b + " HEAD",
		"option for a ref":      a + " " + b + " --all",
		"space":                 a + " " + b + " refs/heads/a b",
		"control character":     a + " " + b + " refs/heads/a\x01b",
		"pattern":               a + " " + b + " refs/heads/*",
		"parent folder":         a + " " + b + " refs/heads/../../x",
		"longer than any path":  a + " " + b + " refs/heads/" + strings.Repeat("x", 5000),
		"two refs in one line ": a + " " + b + " refs/heads/a refs/heads/b",
	} {
		if got, err := ParseUpdates(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%s: accepted as %v", name, got)
		}
	}
}

func FuzzParseDetails(f *testing.F) {
	id := strings.Repeat("a", 40)
	f.Add([]byte(id + "\x00n\x00e\x00n\x00e\x001 +0000\x00m\n\x00\nA\x00path\x00M\x00p\x00"))
	f.Add([]byte(id + "\x00n\x00e\x00n\x00e\x001 +0000\x00\x00" + id + "\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		details, err := parseDetails(bufio.NewReader(bytes.NewReader(in)), 40)
		if err != nil {
			return
		}
		data := newPush(Update{}, repository{}, user{}, details, len(details))
		out, err := render(data, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(out) || len(out) > 64<<10 {
			t.Errorf("%d bytes, valid %t", len(out), json.Valid(out))
		}
	})
}

func FuzzRender(f *testing.F) {
	f.Add("message", "path", uint16(3), uint16(4))
	f.Add("\x00\u2028\xff<&>", strings.Repeat("\n", 300), uint16(300), uint16(50))
	f.Fuzz(func(t *testing.T, message, path string, commits, files uint16) {
		details := make([]detail, commits%300)
		for i := range details {
			details[i] = detail{id: "x", message: message}
			for range files % 5 {
				details[i].added = append(details[i].added, path)
			}
		}
		const limit = 20 << 10
		out, err := render(newPush(Update{}, repository{}, user{}, details, len(details)), limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > limit {
			t.Errorf("%d bytes, more than %d", len(out), limit)
		}
	})
}

func TestFairShare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		needs      []int
		room, want int
	}{
		{nil, 10, 0},
		{[]int{1, 2, 3}, 10, 3},
		{[]int{1, 2, 30}, 10, 7},
		{[]int{9, 9, 1}, 10, 4},
		{[]int{5, 5}, -3, 0},
	} {
		if got := fairShare(test.needs, test.room); got != test.want {
			t.Errorf("%v in %d: got %d, want %d", test.needs, test.room, got, test.want)
		}
	}
}
