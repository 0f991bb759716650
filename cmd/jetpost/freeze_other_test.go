//go:build !unix

package main

import (
	"os"
	"testing"
)

// freeze needs signals that this system does not have.
func freeze(tb testing.TB, p *os.Process) (thaw func()) {
	tb.Helper()
	tb.Fatalf("process %d cannot be stopped as it stands on this system", p.Pid)
	return nil
}
