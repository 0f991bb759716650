package main

import (
	"context"
	"io"
)

// An env is what a command gets from the process that runs it. Tests make their
// own, so a command never reaches for os.Stdout or a signal by itself.
type env struct {
	ctx            context.Context //nolint:containedctx // it lives as long as the call of Run it is the argument of
	stdin          io.Reader
	stdout, stderr io.Writer
}
