package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// groupVariable is the file that puts a child into a cgroup when it writes its process
// id there, before it does anything else.
const groupVariable = "JETPOST_TEST_CGROUP"

func joinGroup() {
	path := os.Getenv(groupVariable)
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, "join the cgroup:", err)
		os.Exit(4)
	}
}

// A memoryGroup is a cgroup with a memory limit.
type memoryGroup struct {
	dir  string
	peak string // the file that says how much it has used at most
}

var groups atomic.Int64 //nolint:gochecknoglobals // all tests share the machine

// newMemoryGroup makes a group, of either version of cgroups. It reports false where
// this machine lets the test make none, or data would count as memory.
func newMemoryGroup(tb testing.TB, bytes int64, data string) (memoryGroup, bool) {
	tb.Helper()
	var fs syscall.Statfs_t
	const tmpfs = 0x01021994
	if err := syscall.Statfs(data, &fs); err != nil || fs.Type == tmpfs {
		return memoryGroup{}, false
	}
	name := fmt.Sprintf("jetpost-test-%d-%d", os.Getpid(), groups.Add(1))
	for _, kind := range []struct{ root, limit, peak, noSwap string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", ""},
		{"/sys/fs/cgroup", "memory.max", "memory.peak", "memory.swap.max"},
	} {
		g := memoryGroup{dir: filepath.Join(kind.root, name), peak: kind.peak}
		if os.Mkdir(g.dir, 0o755) != nil {
			continue
		}
		tb.Cleanup(func() { _ = os.Remove(g.dir) }) // the process in it has ended by then
		if os.WriteFile(filepath.Join(g.dir, kind.limit), []byte(strconv.FormatInt(bytes, 10)), 0o600) != nil {
			continue
		}
		if kind.noSwap != "" {
			_ = os.WriteFile(filepath.Join(g.dir, kind.noSwap), []byte("0"), 0o600) // where there is swap
		}
		return g, true
	}
	return memoryGroup{}, false
}

func (g memoryGroup) procs() string { return filepath.Join(g.dir, "cgroup.procs") }

// used is what the group has used at most, in bytes, for the log.
func (g memoryGroup) used() string {
	text, err := os.ReadFile(filepath.Join(g.dir, g.peak))
	if err != nil {
		return "?"
	}
	return strings.TrimSpace(string(text))
}

// peakOf is how much of a process was in memory at most, in bytes.
func peakOf(tb testing.TB, pid int) int64 {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	tb.Fatal("the status of the process does not say how much memory it has used")
	return 0
}
