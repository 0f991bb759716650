// Package terminal is what a command gets from the process that runs it, and how it ends.
package terminal

import (
	"context"
	"io"
)

// An Env is what a command gets from the process that runs it. Tests make their
// own, so a command never reaches for os.Stdout or a signal by itself.
type Env struct {
	Ctx            context.Context //nolint:containedctx // it lives as long as the call of Run it is the argument of
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string // of the program
}
