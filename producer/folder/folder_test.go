package folder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/schemas"
)

// A fixture is a folder, the state of its watcher, and what that has published.
type fixture struct {
	t    *testing.T
	cfg  Config
	hook func(context.Context, []*event.Event) error // in front of publishing; nil: none
	deaf *notifier                                   // instead of the system's notifications

	mu     sync.Mutex
	events []*event.Event
	came   chan struct{} // one signal that something was published, at least
	read   int           // of events, by next
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	// A link in front of the folder, as in some systems' temporary folders.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		t:    t,
		cfg:  Config{Folder: filepath.Join(dir, "libs-release"), StateDir: filepath.Join(dir, "state"), Settle: 20 * time.Millisecond},
		came: make(chan struct{}, 1),
	}
	f.mkdir(".")
	return f
}

func (f *fixture) publish(ctx context.Context, events []*event.Event) error {
	if f.hook != nil {
		if err := f.hook(ctx, events); err != nil {
			return err
		}
	}
	f.mu.Lock()
	f.events = append(f.events, events...)
	f.mu.Unlock()
	select {
	case f.came <- struct{}{}:
	default:
	}
	return nil
}

func (f *fixture) watcher() *Watcher {
	f.t.Helper()
	w, err := New(f.cfg, f.publish, zaptest.NewLogger(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	w.notify = f.deaf
	return w
}

// start runs a watcher until the returned function is called.
func (f *fixture) start() (stop func()) {
	f.t.Helper()
	return testkit.Run(f.t, "watcher", f.watcher().Run)
}

// next waits for n events more and returns them, as "deployed path content" by
// the content's digest, sorted.
func (f *fixture) next(n int) []*event.Event {
	f.t.Helper()
	deadline := testkit.Timeout()
	for {
		f.mu.Lock()
		ready := len(f.events) - f.read
		if ready >= n {
			events := slices.Clone(f.events[f.read : f.read+n])
			f.read += n
			f.mu.Unlock()
			f.check(events)
			return events
		}
		f.mu.Unlock()
		select {
		case <-f.came:
		case <-deadline:
			f.t.Fatalf("%d events instead of %d", ready, n)
		}
	}
}

// want waits for as many events as there are lines and compares them, in any
// order: "deployed path: content" or "deleted path: content".
func (f *fixture) want(lines ...string) []*event.Event {
	f.t.Helper()
	events := f.next(len(lines))
	var got, want []string
	for _, e := range events {
		a := f.artifact(e)
		got = append(got, fmt.Sprintf("%s %s: %d %s", strings.TrimPrefix(e.Type, "artifact."), a.Path, a.Size, a.SHA256[:8]))
	}
	for _, line := range lines {
		head, content, _ := strings.Cut(line, ": ")
		want = append(want, fmt.Sprintf("%s: %d %s", head, len(content), digestOf(content)[:8]))
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Fatal(diff)
	}
	return events
}

// nothing checks that no event came beside those that were waited for.
func (f *fixture) nothing() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.events[f.read:] {
		f.t.Errorf("unexpected: %s %s", e.Type, e.Data)
	}
}

func (f *fixture) check(events []*event.Event) {
	f.t.Helper()
	catalogue, err := schemas.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range events {
		if err := errors.Join(e.Validate(), catalogue.Validate(e)); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fixture) artifact(e *event.Event) artifact {
	f.t.Helper()
	var a artifact
	if err := json.Unmarshal(e.Data, &a); err != nil {
		f.t.Fatal(err)
	}
	return a
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func (f *fixture) path(name string) string { return filepath.Join(f.cfg.Folder, name) }

func (f *fixture) mkdir(name string) {
	f.t.Helper()
	if err := os.MkdirAll(f.path(name), 0o755); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) write(name, content string) {
	f.t.Helper()
	f.mkdir(filepath.Dir(name))
	if err := os.WriteFile(f.path(name), []byte(content), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) rename(from, to string) {
	f.t.Helper()
	if err := os.Rename(f.path(from), f.path(to)); err != nil {
		f.t.Fatal(err)
	}
}

// deafen replaces the system's notifications by none, so that only scans find
// anything; the test may say that some were lost.
func (f *fixture) deafen() (lost chan<- error) {
	errs := make(chan error)
	f.deaf = &notifier{errors: errs, events: make(chan fsnotify.Event)}
	return errs
}

func TestFilesComeChangeAndGo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("there before", "old")
	stop := f.start()
	f.want("deployed there before: old")
	f.write("a.jar", "one")
	f.want("deployed a.jar: one")
	f.write("a.jar", "two, longer")
	f.want("deployed a.jar: two, longer")
	f.write("sub/deep/b.jar", "b")
	f.want("deployed sub/deep/b.jar: b")
	f.remove("a.jar")
	f.want("deleted a.jar: two, longer")
	f.remove("sub")
	f.want("deleted sub/deep/b.jar: b")
	f.write("a.jar", "one")
	f.want("deployed a.jar: one")
	stop()
	f.nothing()
}

func TestEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("org/acme/anvil <&> 2.jar", "anvil")
	f.start()
	e := f.next(1)[0]
	want := `{"repo_key":"libs-release","path":"org/acme/anvil <&> 2.jar","name":"anvil <&> 2.jar","sha256":"` + digestOf("anvil") + `","size":5}`
	if diff := cmp.Diff(want, string(e.Data)); diff != "" {
		t.Error(diff)
	}
	if e.Type != TypeDeployed || e.Source != "/folder/libs-release" || e.Subject != "org/acme/anvil <&> 2.jar" || e.DataContentType != "application/json" {
		t.Errorf("got %+v", e)
	}
	f.remove("org")
	e = f.next(1)[0]
	if diff := cmp.Diff(want, string(e.Data)); diff != "" || e.Type != TypeDeleted {
		t.Errorf("%s %s", e.Type, diff)
	}
}

// Each time a file comes back to content it has had before, that is news.
func TestIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start()
	ids := map[string]bool{}
	for i := range 3 {
		f.write("a", "content")
		ids[f.want("deployed a: content")[0].ID] = true
		f.remove("a")
		ids[f.want("deleted a: content")[0].ID] = true
		if len(ids) != 2*i+2 {
			t.Fatalf("round %d: %d ids", i, len(ids))
		}
	}
}

func TestNestedFoldersAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start()
	var want []string
	for i := range 5 {
		for j := range 5 {
			name := fmt.Sprintf("new/%d/%d/%d/file", i, j, i*j)
			f.write(name, name)
			want = append(want, "deployed "+name+": "+name)
		}
	}
	f.want(want...)
	f.nothing()
}

// A folder that is moved, within the watched one or from and to elsewhere, takes
// its files along, and goes on being watched under its new name only.
func TestMovedFolders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a/x/1", "1")
	f.start()
	f.want("deployed a/x/1: 1")
	f.rename("a", "b")
	f.want("deleted a/x/1: 1", "deployed b/x/1: 1")
	f.write("b/2", "2")
	f.write("b/x/3", "3")
	f.want("deployed b/2: 2", "deployed b/x/3: 3")
	f.rename("b", "../outside")
	f.want("deleted b/2: 2", "deleted b/x/1: 1", "deleted b/x/3: 3")
	f.write("../outside/4", "4")
	f.rename("../outside", "c")
	f.want("deployed c/2: 2", "deployed c/4: 4", "deployed c/x/1: 1", "deployed c/x/3: 3")
	f.write("c/x/1", "changed")
	f.want("deployed c/x/1: changed")
	f.nothing()
}

func TestRenamedFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a", "a")
	f.write("b", "b")
	f.start()
	f.want("deployed a: a", "deployed b: b")
	f.rename("a", "c")
	f.want("deleted a: a", "deployed c: a")
	f.rename("c", "b")
	f.want("deleted c: a", "deployed b: a")
	f.nothing()
}

// How programs save: a temporary file that is renamed over the old one.
func TestTemporaryFilesAndLinks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("../outside/secret", "secret")
	f.start()
	for _, name := range []string{".hidden", ".git/config", "a.tmp", "a.part", ".a.swp", "a.swp", "a~", "b.tmp/c"} {
		f.write(name, "no")
	}
	if err := errors.Join(
		os.Symlink("../outside/secret", f.path("link")),
		os.Symlink("../outside", f.path("linked folder")),
	); err != nil {
		t.Fatal(err)
	}
	f.rename("a.part", "a")
	f.want("deployed a: no")
	f.write("b.tmp/c", "yes")
	f.rename("b.tmp", "b")
	f.want("deployed b/c: yes")
	// A file that becomes a link, or that is now reached through one, is gone.
	f.remove("a")
	if err := os.Symlink("b/c", f.path("a")); err != nil {
		t.Fatal(err)
	}
	f.want("deleted a: no")
	f.rename("b", ".b")
	if err := os.Symlink(".b", f.path("b")); err != nil {
		t.Fatal(err)
	}
	f.want("deleted b/c: yes")
	f.nothing()
}

// A file that was only touched is not news, neither now nor after a restart.
func TestTouched(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a", "a")
	stop := f.start()
	f.want("deployed a: a")
	past := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	if err := errors.Join(os.Chtimes(f.path("a"), past, past), os.Chmod(f.path("a"), 0o600)); err != nil {
		t.Fatal(err)
	}
	f.write("marker 1", "m")
	f.want("deployed marker 1: m")
	stop()
	f.rename("a", ".a")
	f.write("a", "a") // another file with the same content
	f.write("marker 2", "m")
	f.start()
	f.want("deployed marker 2: m")
	f.nothing()
}

// Content that changes behind size and modification time is noticed all the same.
func TestChangedBehindItsTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a", "one")
	stop := f.start()
	f.want("deployed a: one")
	stop()
	info, err := os.Stat(f.path("a"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("a", "two")
	if err := os.Chtimes(f.path("a"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.want("deployed a: two")
}

func TestRestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"same", "changes", "goes", "folder/goes"} {
		f.write(name, name)
	}
	stop := f.start()
	f.want("deployed same: same", "deployed changes: changes", "deployed goes: goes", "deployed folder/goes: folder/goes")
	stop()
	f.start()()
	f.nothing()
	f.write("changes", "changed")
	f.remove("goes")
	f.remove("folder")
	f.write("comes", "new")
	stop = f.start()
	f.want("deployed changes: changed", "deleted goes: goes", "deleted folder/goes: folder/goes", "deployed comes: new")
	stop()
	f.start()()
	f.nothing()
}

// A program writes, waits, and writes again: what is half written is not
// announced, however long the wait is.
func TestHalfWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.start()
	file, err := os.Create(f.path("big"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for i := range 3 {
		if _, err := file.WriteString("half "); err != nil {
			t.Fatal(err)
		}
		// By the time this is announced, the other would have been as well.
		for j := range 3 {
			marker := fmt.Sprintf("marker %d %d", i, j)
			f.write(marker, "m")
			f.want("deployed " + marker + ": m")
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f.want("deployed big: half half half ")
	f.nothing()
}

// A file that stays open, as a log does, is announced after a while.
func TestOpenWithoutEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.WriteGrace = 100 * time.Millisecond
	file, err := os.Create(f.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("line"); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.want("deployed log: line")
}

// Without notifications, after the system has lost some, a scan finds all.
func TestOverflow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	lost := f.deafen()
	f.cfg.Rescan = time.Hour
	f.write("a", "a")
	f.write("b", "b")
	f.start()
	f.want("deployed a: a", "deployed b: b")
	f.write("a", "changed")
	f.remove("b")
	f.write("new/c", "c")
	lost <- fsnotify.ErrEventOverflow
	f.want("deployed a: changed", "deleted b: b", "deployed new/c: c")
}

func TestRescan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.deafen()
	f.cfg.Rescan = 30 * time.Millisecond
	f.start()
	f.write("a", "a")
	f.want("deployed a: a")
	f.remove("a")
	f.want("deleted a: a")
}

// The server is away for a while: nothing is lost, and the events of a path come
// in order.
func TestPublishFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	failed := make(chan struct{}, 100)
	var mu sync.Mutex
	down := true
	var first *event.Event
	f.hook = func(_ context.Context, events []*event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = events[0]
		}
		if down {
			failed <- struct{}{}
			return errors.New("connection refused")
		}
		return nil
	}
	f.start()
	f.write("a", "one")
	<-failed
	f.write("a", "two")
	f.write("b", "b")
	<-failed
	mu.Lock()
	down = false
	mu.Unlock()
	if got := f.next(1)[0]; cmp.Diff(first, got) != "" {
		t.Errorf("offered %+v, then %+v", first, got)
	}
	f.want("deployed a: two", "deployed b: b")
	f.nothing()
}

// One event that is refused does not hold up the others, and is offered again
// when the file changes or the watcher starts again.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var mu sync.Mutex
	var refusals int
	refuse := true
	f.hook = func(_ context.Context, events []*event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			if refuse && f.artifact(e).Path == "bad" {
				refusals++
				return fmt.Errorf("%w: data.path", ErrRejected)
			}
		}
		return nil
	}
	f.cfg.Rescan = 20 * time.Millisecond
	for _, name := range []string{"a", "bad", "c"} {
		f.write(name, name)
	}
	stop := f.start()
	f.want("deployed a: a", "deployed c: c")
	f.write("d", "d") // some scans later
	f.want("deployed d: d")
	mu.Lock()
	if refusals < 1 || refusals > 2 {
		t.Errorf("offered %d times", refusals)
	}
	refuse = false
	mu.Unlock()
	f.write("bad", "good")
	f.want("deployed bad: good")
	stop()
	f.start()()
	f.nothing()
}

// A crash after publishing and before that was noted: the event is published
// again as it was, and what has happened since comes after it.
func TestCrashBetweenPublishAndNote(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(f *fixture)
		want   []string
	}{
		"nothing else": {func(*fixture) {}, nil},
		"changed":      {func(f *fixture) { f.write("a", "two") }, []string{"deployed a: two"}},
		"deleted":      {func(f *fixture) { f.remove("a") }, []string{"deleted a: one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			crashed := filepath.Join(t.TempDir(), "state")
			f.hook = func(context.Context, []*event.Event) error {
				// What is on disk now is what a crash would leave.
				return os.CopyFS(crashed, os.DirFS(f.cfg.StateDir))
			}
			f.write("a", "one")
			stop := f.start()
			before := f.want("deployed a: one")
			stop()
			f.hook = nil
			f.cfg.StateDir = crashed
			test.change(f)
			f.start()
			again := f.want("deployed a: one")
			if diff := cmp.Diff(before, again); diff != "" {
				t.Errorf("the event differs: %s", diff)
			}
			f.want(test.want...)
			f.write("marker", "m")
			f.want("deployed marker: m")
			f.nothing()
		})
	}
}

// While the folder itself is away, as an unmounted disk is, nothing is deleted.
func TestFolderGoesAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Rescan = 20 * time.Millisecond
	f.write("a", "a")
	f.write("b", "b")
	stop := f.start()
	f.want("deployed a: a", "deployed b: b")
	away := f.cfg.Folder + " away"
	if err := os.Rename(f.cfg.Folder, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(away, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, f.cfg.Folder); err != nil {
		t.Fatal(err)
	}
	f.want("deleted b: b")
	f.write("c", "c")
	f.want("deployed c: c")
	stop()
	f.nothing()
}

func TestManyFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 3000
	largest := 0
	f.hook = func(_ context.Context, events []*event.Event) error {
		largest = max(largest, len(events))
		return nil
	}
	for i := range n {
		f.write(fmt.Sprintf("%d/%d", i%30, i), fmt.Sprint(i))
	}
	stop := f.start()
	paths := map[string]bool{}
	for _, e := range f.next(n) {
		paths[e.Subject] = true
	}
	if len(paths) != n {
		t.Errorf("%d paths", len(paths))
	}
	stop()
	if largest > maxBatch || largest < 10 {
		t.Errorf("batches of up to %d events", largest)
	}
	f.start()()
	f.nothing()
}

func TestNamesOfAnyBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	names := []string{" ", "new\nline", "quote\"", "-option", "ünïcödé", "\xff\xfe", "\xfe\xff"}
	for _, name := range names {
		f.write(name, name)
	}
	stop := f.start()
	for _, e := range f.next(len(names)) {
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", e.Data, err)
		}
	}
	stop()
	f.start()()
	f.nothing()
	for _, name := range names {
		f.remove(name)
	}
	f.start()
	for _, e := range f.next(len(names)) {
		if e.Type != TypeDeleted {
			t.Errorf("got %s %s", e.Type, e.Data)
		}
	}
}

// The journal may be inside the folder that is watched.
func TestStateInside(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.StateDir = f.path("state")
	f.write("a", "a")
	stop := f.start()
	f.want("deployed a: a")
	f.write("b", "b")
	f.want("deployed b: b")
	stop()
	f.nothing()
}

func TestTwoWatchers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a", "a")
	stop := f.start()
	f.want("deployed a: a")
	if err := f.watcher().Run(t.Context()); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
	stop()
	f.start()()
	f.nothing()
}

// The publish under way when Run ends is waited for, within Grace.
func TestStopWaits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.hook = func(lasting context.Context, _ []*event.Event) error {
		cancel()
		return lasting.Err()
	}
	f.write("a", "a")
	if err := f.watcher().Run(ctx); err != nil {
		t.Fatal(err)
	}
	f.want("deployed a: a")
	f.hook = nil
	f.start()()
	f.nothing()

	f.cfg.Grace = time.Millisecond
	ctx, cancel = context.WithCancel(t.Context())
	f.hook = func(lasting context.Context, _ []*event.Event) error {
		cancel()
		<-lasting.Done()
		return lasting.Err()
	}
	f.write("b", "b")
	if err := f.watcher().Run(ctx); err != nil {
		t.Fatal(err)
	}
	f.nothing()
	f.hook = nil
	f.start()
	f.want("deployed b: b")
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a", "a")
	w := f.watcher()
	if h := w.hash(t.Context(), hashRequest{path: "missing"}, make([]byte, 10)); h.state != changed {
		t.Errorf("missing: %+v", h)
	}
	s, _, err := w.look("a")
	if err != nil {
		t.Fatal(err)
	}
	if h := w.hash(t.Context(), hashRequest{path: "a", stamp: s}, make([]byte, 10)); h.state != complete || h.sum.String() != digestOf("a") {
		t.Errorf("complete: %+v", h)
	}
	older := s
	older.mtime--
	if h := w.hash(t.Context(), hashRequest{path: "a", stamp: older}, make([]byte, 10)); h.state != changed {
		t.Errorf("changed before: %+v", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if h := w.hash(ctx, hashRequest{path: "a", stamp: s}, make([]byte, 10)); h.state != unreadable || h.err == nil {
		t.Errorf("ended: %+v", h)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("file", "x")
	for name, cfg := range map[string]Config{
		"no folder":          {Folder: f.path("missing")},
		"a file":             {Folder: f.path("file")},
		"a bad key":          {Folder: f.cfg.Folder, RepoKey: "a/b"},
		"a negative settle":  {Folder: f.cfg.Folder, Settle: -1},
		"a negative rescan":  {Folder: f.cfg.Folder, Rescan: -1},
		"a negative grace":   {Folder: f.cfg.Folder, Grace: -1},
		"a negative hashers": {Folder: f.cfg.Folder, Hashers: -1},
		"a bad source":       {Folder: f.cfg.Folder, Source: "/my folder"},
	} {
		cfg.StateDir = f.cfg.StateDir
		if _, err := New(cfg, f.publish, zaptest.NewLogger(t)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRepoKey(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"libs-release_1.0":       "libs-release_1.0",
		"my files":               "my-files",
		".config":                "config",
		"/":                      "files",
		"日本":                     "files",
		strings.Repeat("x", 200): strings.Repeat("x", 100),
	} {
		if got := repoKey(name); got != want || !repoKeyPattern.MatchString(got) {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cfg, err := Config{}.withDefaults(f.cfg.Folder)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Settle != 200*time.Millisecond || cfg.Rescan != time.Minute || cfg.WriteGrace != time.Minute || cfg.Grace != 5*time.Second || cfg.Hashers < 1 {
		t.Errorf("got %+v", cfg)
	}
	if !strings.HasSuffix(cfg.StateDir, filepath.Join("jetpost", "folders")) {
		t.Errorf("state in %s", cfg.StateDir)
	}
}
