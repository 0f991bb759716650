package folder

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest"
)

// A bench is a tracker without the goroutines around it, and a clock.
type bench struct {
	*fixture
	tracker *tracker
	now     time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	f := newFixture(t)
	f.cfg.Settle = time.Second
	w := f.watcher()
	if err := os.MkdirAll(w.stateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(filepath.Join(w.stateDir, "journal"), w.root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	info, err := os.Stat(w.root)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{fixture: f, tracker: newTracker(w, j, stampOf(info).device), now: time.Unix(1762070400, 0)}
}

// after lets time pass and does what is due then.
func (b *bench) after(d time.Duration) {
	b.now = b.now.Add(d)
	b.tracker.settle(b.now)
}

func (b *bench) observe(path string) { b.tracker.observe(path, b.now) }

// hash reads what waits to be read and returns the paths.
func (b *bench) hash() []string {
	paths := []string{}
	for _, r := range b.tracker.toHash {
		paths = append(paths, r.path)
		b.tracker.toHash = b.tracker.toHash[1:]
		b.tracker.hashed(b.tracker.w.hash(b.t.Context(), r, make([]byte, 100)), b.now)
	}
	return paths
}

// offer publishes what waits to be published and returns it.
func (b *bench) offer() []string {
	b.t.Helper()
	lines := []string{}
	batch, err := b.tracker.next()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range batch.changes {
		verb := "deployed "
		if c.deleted {
			verb = "deleted "
		}
		lines = append(lines, verb+c.path)
	}
	b.tracker.offered(offered{accepted: batch.changes}, b.now)
	return lines
}

func (b *bench) same(what string, got []string, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		b.t.Errorf("%s: %s", what, diff)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "1")
	b.observe("a")
	b.after(999 * time.Millisecond)
	b.same("before the time", b.hash())
	b.write("a", "12")
	b.observe("a")
	b.after(time.Millisecond)
	b.same("written to again", b.hash())
	b.after(999 * time.Millisecond)
	b.same("unchanged for a second", b.hash(), "a")
	b.same("announced", b.offer(), "deployed a")
}

// No notification reports the last change: it is seen when the time is up.
func TestSettleWithoutNotification(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "1")
	b.observe("a")
	b.write("a", "12")
	b.after(time.Second)
	b.same("changed meanwhile", b.hash())
	b.after(time.Second)
	b.same("unchanged for a second", b.hash(), "a")
}

func TestCameAndWent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "1")
	b.observe("a")
	b.remove("a")
	b.observe("a")
	b.after(time.Second)
	b.same("read", b.hash())
	b.same("announced", b.offer())
	if len(b.tracker.work) != 0 {
		t.Errorf("left: %v", b.tracker.work)
	}
}

// What changes between reading and publishing is announced twice, in order; what
// changes while it is read is read again.
func TestChangesOnTheWay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "1")
	b.observe("a")
	b.after(time.Second)
	b.write("a", "12")
	b.same("read too late", b.hash(), "a")
	b.same("announced", b.offer())
	b.after(time.Second)
	b.same("read again", b.hash(), "a")
	b.write("a", "123")
	b.observe("a")
	b.same("announced as read", b.offer(), "deployed a")
	b.remove("a")
	b.observe("a")
	b.after(time.Second)
	b.same("deleted", b.offer(), "deleted a")
}

// A folder that is not there has not been emptied.
func TestAbsent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.write("a", "1")
	b.observe("a")
	b.after(time.Second)
	b.hash()
	b.same("announced", b.offer(), "deployed a")
	away := b.cfg.Folder + " away"
	if err := os.Rename(b.cfg.Folder, away); err != nil {
		t.Fatal(err)
	}
	b.observe("a")
	b.after(time.Second)
	b.same("while it is away", b.offer())
	if !b.tracker.absent {
		t.Error("not noticed")
	}
	full := func() { b.tracker.scan++; b.tracker.scanned(found{last: true, full: true}, b.now) }
	full()
	b.after(time.Second)
	b.same("scanned while it is away", b.offer())
	b.mkdir(".")
	full()
	b.after(time.Second)
	b.same("back and empty", b.offer(), "deleted a")

	b.tracker.device++
	b.mkdir(".")
	full()
	if !b.tracker.absent {
		t.Error("another disk is not noticed")
	}
}

func TestRefusedWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	refuse := func() {
		batch, err := b.tracker.next()
		if err != nil || len(batch.changes) != 1 {
			t.Fatalf("%v, %v", batch, err)
		}
		b.tracker.offered(offered{refused: batch.changes}, b.now)
	}
	b.write("a", "1")
	b.observe("a")
	b.after(time.Second)
	b.hash()
	refuse()
	b.observe("a")
	b.after(refusedWait / 2)
	b.same("too early", b.offer())
	b.after(refusedWait / 2)
	b.observe("a")
	b.after(time.Second)
	b.same("read again", b.hash())
	b.same("offered again", b.offer(), "deployed a")

	b.remove("a")
	b.observe("a")
	b.after(time.Second)
	refuse()
	b.observe("a")
	b.after(time.Second)
	b.same("deletion, too early", b.offer())
	b.write("a", "12")
	b.observe("a")
	b.after(time.Second)
	b.hash()
	b.same("changed instead", b.offer(), "deployed a")
}

// When the journal cannot be written nothing is published, and nothing is lost.
func TestJournalFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.tracker.w.log = zaptest.NewLogger(t)
	b.write("a", "1")
	b.observe("a")
	b.after(time.Second)
	b.hash()
	good := b.tracker.journal.f
	bad, err := os.Open(b.tracker.journal.path) // not for writing
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	b.tracker.journal.f = bad
	if _, err := b.tracker.next(); err == nil {
		t.Error("written to a file that cannot be written")
	}
	b.tracker.journal.f = good
	b.same("later", b.offer(), "deployed a")
	if seq := b.tracker.journal.seq; seq != 1 {
		t.Errorf("number %d", seq)
	}
}
