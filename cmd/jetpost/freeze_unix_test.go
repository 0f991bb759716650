//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// freeze stops a process as it stands, and returns when it stands: a signal only asks for
// it, and a process that waits for a processor answers requests meanwhile. thaw has it go
// on.
func freeze(tb testing.TB, p *os.Process) (thaw func()) {
	tb.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		tb.Fatal(err)
	}
	eventually(tb, fmt.Sprintf("process %d stands still", p.Pid), func() bool { return strings.HasPrefix(processState(tb, p.Pid), "T") })
	return func() {
		tb.Helper()
		if err := p.Signal(syscall.SIGCONT); err != nil {
			tb.Fatal(err)
		}
	}
}

// processState is the letter that ps shows: T for one that was stopped.
func processState(tb testing.TB, pid int) string {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err == nil {
		_, after, _ := strings.Cut(string(stat), ") ") // the name before may have spaces
		return after
	}
	out, err := exec.CommandContext(tb.Context(), "ps", "-o", "state=", "-p", fmt.Sprint(pid)).Output()
	if err != nil {
		tb.Fatalf("ask for the state of process %d: %v", pid, err)
	}
	return strings.TrimSpace(string(out))
}
