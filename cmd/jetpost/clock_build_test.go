package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// clockVariable names a file of eight bytes: by how much the clock of a child is wrong,
// in nanoseconds. Only children of a binary that buildClocked has built have such a clock.
const clockVariable = "JETPOST_TEST_CLOCK"

// clockSource is added to package time. The file is mapped into memory, so that a clock
// is set at once and in the middle of everything, as that of a machine is.
const clockSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var testClock = mapTestClock()

func mapTestClock() *int64 {
	name, found := syscall.Getenv("` + clockVariable + `")
	if !found {
		return new(int64)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic("open " + name + ": " + err.Error())
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("map " + name + ": " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&b[0]))
}

func testNow() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = runtimeNow()
	by := atomic.LoadInt64(testClock) + int64(nsec)
	sec += by / 1e9
	if by %= 1e9; by < 0 {
		by += 1e9
		sec--
	}
	return sec, int32(by), mono
}
`

var clockedDirs []string //nolint:gochecknoglobals // see removeClocked

// clocked is the test binary with a clock that can be set. It is built once, since the
// whole program is built again with another package time; the build is kept in the cache.
var clocked = sync.OnceValues(func() (path string, err error) { //nolint:gochecknoglobals // built once for all tests
	dir, err := os.MkdirTemp("", "jetpost-clock-")
	if err != nil {
		return "", err
	}
	clockedDirs = append(clockedDirs, dir)
	std := filepath.Join(runtime.GOROOT(), "src", "time") //nolint:staticcheck // the toolchain that has built this test
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		return "", err
	}
	changed := strings.Replace(string(source), "func Now() Time {\n\tsec, nsec, mono := runtimeNow()", "func Now() Time {\n\tsec, nsec, mono := testNow()", 1)
	overlay := map[string]map[string]string{"Replace": {
		filepath.Join(std, "time.go"):      filepath.Join(dir, "time.go"),
		filepath.Join(std, "testclock.go"): filepath.Join(dir, "testclock.go"),
	}}
	description, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	for name, content := range map[string]string{"time.go": changed, "testclock.go": clockSource, "overlay.json": string(description)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	path = filepath.Join(dir, "jetpost.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", path, ".")
	build.Stderr = os.Stderr
	return path, build.Run()
})

// removeClocked removes what clocked has built, if it was called.
func removeClocked() {
	for _, dir := range clockedDirs {
		_ = os.RemoveAll(dir)
	}
}

// A setClock is a clock that a test can set, of the processes that are given it.
type setClock struct {
	binary, file string
	by           time.Duration

	mu  sync.Mutex
	all []clockSetting // that it ever had
}

// A clockSetting is by what a clock was wrong, and from when on.
type clockSetting struct {
	from time.Time
	by   time.Duration
}

// newClock returns a clock that is right. Tests that need one share a build.
func newClock(tb testing.TB) *setClock {
	tb.Helper()
	binary, err := clocked()
	if err != nil {
		tb.Fatalf("build the program with a clock that can be set: %v", err)
	}
	c := &setClock{binary: binary, file: filepath.Join(tb.TempDir(), "clock")}
	c.write(tb, 0)
	return c
}

// write sets the clock of all processes that have it: from now on it is wrong by that.
func (c *setClock) write(tb testing.TB, by time.Duration) {
	tb.Helper()
	f, err := os.OpenFile(c.file, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(by)), 0); err != nil { //nolint:gosec // two's complement
		tb.Fatal(err)
	}
	c.by = by
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, clockSetting{time.Now(), by})
}

// readings are the times at which a clock may have shown a time; a clock that cannot be
// set has one.
func (c *setClock) readings(shown time.Time) []time.Time {
	if c == nil {
		return []time.Time{shown}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var at []time.Time
	for i, s := range c.all {
		// What is shown may be in whole seconds, and a setting takes a moment.
		reading, slack := shown.Add(-s.by), 2*time.Second
		if reading.Before(s.from.Add(-slack)) || i+1 < len(c.all) && reading.After(c.all[i+1].from.Add(slack)) {
			continue
		}
		at = append(at, reading)
	}
	return at
}

// latest is the last time, no later than limit, at which a clock may have shown a time.
func (c *setClock) latest(shown, limit time.Time) time.Time {
	var latest time.Time
	for _, at := range c.readings(shown) {
		if at.After(latest) && !at.After(limit) {
			latest = at
		}
	}
	if latest.IsZero() {
		return shown
	}
	return latest
}

// set sets the clock by so much from what it shows.
func (c *setClock) set(tb testing.TB, by time.Duration) {
	tb.Helper()
	c.write(tb, c.by+by)
}

// give gives the clock to a process that has not been started.
func (c *setClock) give(p *program) {
	p.cmd.Path, p.cmd.Args[0] = c.binary, c.binary
	p.cmd.Env = append(p.cmd.Env, clockVariable+"="+c.file)
}
