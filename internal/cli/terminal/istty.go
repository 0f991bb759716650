package terminal

import (
	"os"

	"golang.org/x/term"

	"github.com/jetpost/jetpost/internal/plain"
)

// IsTerminal reports whether a person sees it, or types it.
func IsTerminal(stream any) bool {
	f, ok := FileOf(stream)
	return ok && term.IsTerminal(int(f.Fd()))
}

// FileOf is the file that something is read from or written to.
func FileOf(stream any) (*os.File, bool) {
	if w, ok := stream.(*plain.Writer); ok {
		stream = w.Unwrap()
	}
	f, ok := stream.(*os.File)
	return f, ok
}
