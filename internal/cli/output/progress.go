package output

import (
	"fmt"
	"io"
	"time"

	"github.com/jetpost/jetpost/internal/cli/terminal"
)

const (
	progressRedraw = 200 * time.Millisecond
	progressEvery  = time.Second // where a line cannot be redrawn
)

// A Progress shows how far a command is: in one line that is redrawn on a terminal,
// otherwise in a new line each second.
type Progress struct {
	w        io.Writer
	terminal bool
	drawn    time.Time
	shown    bool
}

// NewProgress starts a progress on w, which shows nothing yet.
func NewProgress(w io.Writer) *Progress {
	return &Progress{w: w, terminal: terminal.IsTerminal(w), drawn: time.Now()}
}

// Update replaces the text shown, unless the last one was drawn just before.
func (p *Progress) Update(text func() string) {
	now := time.Now()
	if p.terminal && now.Sub(p.drawn) < progressRedraw || !p.terminal && now.Sub(p.drawn) < progressEvery {
		return
	}
	p.drawn = now
	if !p.terminal {
		_, _ = fmt.Fprintln(p.w, text())
		return
	}
	p.shown = true
	_, _ = fmt.Fprint(p.w, "\r\x1b[K"+text())
}

// Clear removes the text from a terminal.
func (p *Progress) Clear() {
	if p.shown {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
