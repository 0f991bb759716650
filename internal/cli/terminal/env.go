// Package terminal is what a command gets from the process that runs it, and how it ends.
package terminal

import (
	"context"
	"io"
)

// An Env is what a command gets from the process that runs it. Tests make their
// own, so a command never uses os.Stdout or a signal directly.
type Env struct {
	Ctx            context.Context //nolint:containedctx // it lives as long as the call of Run it is the argument of
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Version        string // of the program
}
