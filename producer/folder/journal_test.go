package folder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func reopen(t *testing.T, path string) *journal {
	t.Helper()
	j, err := openJournal(path, "/folder")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.f.Close() })
	return j
}

func newChange(path string, deleted bool) *change {
	return &change{
		at: time.Date(2025, 11, 2, 9, 0, 0, 7, time.UTC), path: path, deleted: deleted,
		file: file{stamp: stamp{size: 1 << 60, mtime: -1, ctime: 2, inode: 1<<64 - 1}, sum: digest{1, 2, 3}},
	}
}

// state is what a restart has to know.
type state struct {
	ID      string
	Seq     uint64
	Files   map[string]file
	Pending []change
}

func stateOf(j *journal) state {
	s := state{ID: j.id, Seq: j.seq, Files: map[string]file{}}
	for path, f := range j.files {
		s.Files[path] = *f
	}
	for _, c := range j.unfinished() {
		s.Pending = append(s.Pending, *c)
	}
	return s
}

var sameState = cmp.AllowUnexported(file{}, change{}, stamp{})

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestJournalRemembers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j := reopen(t, path)
	a, b, c, d := newChange("a", false), newChange("dir/b\n\xff", false), newChange("c", false), newChange("d", false)
	gone := newChange("a", true)
	must(t,
		j.begin([]*change{a, b, c}), j.done([]*change{a, b}), j.refused([]*change{c}),
		j.begin([]*change{gone}), j.done([]*change{gone}),
		j.touched("dir/b\n\xff", file{stamp: stamp{size: 7}, sum: digest{9}}),
		j.begin([]*change{d}),
	)
	want := stateOf(j)
	if want.Seq != 5 || len(want.Files) != 1 || len(want.Pending) != 1 {
		t.Fatalf("got %+v", want)
	}
	for _, step := range []func(j *journal) error{
		func(*journal) error { return nil },
		(*journal).rewrite,
	} {
		j = reopen(t, path)
		if diff := cmp.Diff(want, stateOf(j), sameState); diff != "" {
			t.Error(diff)
		}
		must(t, step(j))
	}
	j = reopen(t, path)
	if diff := cmp.Diff(want, stateOf(j), sameState); diff != "" {
		t.Errorf("rewritten: %s", diff)
	}
}

// Numbers are not used twice, whatever became of the changes that had them.
func TestJournalNumbers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j := reopen(t, path)
	a := newChange("a", false)
	must(t, j.begin([]*change{a}), j.refused([]*change{a}), j.rewrite())
	j = reopen(t, path)
	b := newChange("b", false)
	must(t, j.begin([]*change{b}))
	if b.seq != 2 {
		t.Errorf("number %d", b.seq)
	}
}

// A crash may leave any beginning of the last line, or garbage in its place.
func TestJournalTornLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	j := reopen(t, path)
	a, b := newChange("a", false), newChange("b", false)
	must(t, j.begin([]*change{a}), j.done([]*change{a}))
	want := stateOf(j)
	whole := j.size
	must(t, j.begin([]*change{b}))
	content, err := os.ReadFile(path)
	must(t, err)
	for end := whole; end < j.size; end++ {
		torn := filepath.Join(dir, fmt.Sprint(end))
		must(t, os.WriteFile(torn, content[:end], 0o600))
		k := reopen(t, torn)
		if diff := cmp.Diff(want, stateOf(k), sameState); diff != "" {
			t.Fatalf("%d bytes: %s", end-whole, diff)
		}
		c := newChange("c", false)
		must(t, k.begin([]*change{c}))
		if again := reopen(t, torn); len(again.pending) != 1 {
			t.Fatalf("%d bytes: what was written afterwards is lost", end-whole)
		}
	}
	torn := filepath.Join(dir, "garbage")
	must(t, os.WriteFile(torn, append(content[:whole:whole], "\x00\x00\x00\n"...), 0o600))
	if diff := cmp.Diff(want, stateOf(reopen(t, torn)), sameState); diff != "" {
		t.Error(diff)
	}
}

// What was not a crash is not repaired: files would be announced again, or not at all.
func TestJournalRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	j := reopen(t, path)
	a, b := newChange("a", false), newChange("b", false)
	must(t, j.begin([]*change{a}), j.begin([]*change{b}))
	content, err := os.ReadFile(path)
	must(t, err)
	lines := strings.SplitAfter(string(content), "\n")
	for name, bad := range map[string]string{
		"empty":            "",
		"no header":        lines[1] + lines[2],
		"two headers":      lines[0] + lines[0] + lines[1],
		"garbage inside":   lines[0] + "{\n" + lines[2],
		"unknown kind":     lines[0] + `{"kind":"x"}` + "\n" + lines[2],
		"later version":    strings.Replace(string(content), `"version":1`, `"version":2`, 1),
		"sum of 1 byte":    lines[0] + `{"kind":"file","path":"a","sha256":"00"}` + "\n" + lines[2],
		"sum of 100 bytes": lines[0] + `{"kind":"file","path":"a","sha256":"` + strings.Repeat("00", 100) + `"}` + "\n" + lines[2],
	} {
		must(t, os.WriteFile(path, []byte(bad), 0o600))
		if _, err := openJournal(path, "/folder"); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	must(t, os.WriteFile(path, content, 0o600))
	if _, err := openJournal(path, "/other"); err == nil {
		t.Error("the journal of another folder is accepted")
	}
}

func TestJournalStaysSmall(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j := reopen(t, path)
	for range 12_000 {
		must(t, j.touched("a", file{}))
	}
	if !j.garbage() {
		t.Fatal("12,000 lines about one file are no garbage")
	}
	if j = reopen(t, path); j.lines != 2 || len(j.files) != 1 {
		t.Errorf("%d lines, %d files", j.lines, len(j.files))
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"kind":"journal","version":1,"id":"x","folder":"L2ZvbGRlcg=="}` + "\n" +
		`{"kind":"change","seq":1,"path":"a","sha256":"` + strings.Repeat("00", 32) + `"}` + "\n" + `{"kind":"done","seq":1}` + "\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "journal")
		must(t, os.WriteFile(path, content, 0o600))
		j, err := openJournal(path, "/folder")
		if err != nil {
			return
		}
		defer func() { j.close() }()
		must(t, j.begin([]*change{newChange("b", false)}))
		k, err := openJournal(path, "/folder")
		if err != nil {
			t.Fatal(err)
		}
		defer k.close()
		if k.seq != j.seq || len(k.pending) != len(j.pending) {
			t.Errorf("read %d %d, written %d %d", k.seq, len(k.pending), j.seq, len(j.pending))
		}
	})
}
