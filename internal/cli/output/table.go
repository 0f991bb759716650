package output

import (
	"bytes"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Style is how much can be done to a text.
type Style struct {
	terminal bool
	colour   bool
	width    int // of a line on a terminal; 0: not known
}

// StyleOf is what a writer can show: colours on a terminal only, and not where the
// user wants none (https://no-color.org).
func StyleOf(w io.Writer) Style {
	if !terminal.IsTerminal(w) {
		return Style{}
	}
	s := Style{terminal: true, colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if f, ok := terminal.FileOf(w); ok {
		s.width, _, _ = term.GetSize(int(f.Fd())) // 0 where it is not known
	}
	return s
}

// AsPublished is where bytes go that are to stay as they are: a terminal gets them
// escaped nevertheless. Call done when all are written.
func AsPublished(w io.Writer) (to io.Writer, done func() error) {
	if !terminal.IsTerminal(w) {
		return w, func() error { return nil }
	}
	escaping := plain.NewWriter(w)
	return escaping, escaping.Flush
}

// The colours, as a terminal knows them.
const (
	bold   = "1"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
)

// Paint colours a text where colours are wanted.
func (s Style) Paint(text, colour string) string {
	if !s.colour || colour == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// Tinted paints a word that says how something stands, and leaves others as they are.
func (s Style) Tinted(word string) string {
	colour := ""
	switch first, _, _ := strings.Cut(strings.TrimSpace(word), " "); first {
	case "active", "alive", "delivered", "closed", "created", "done", "valid", "allowed":
		colour = Green
	case "paused", "retry", "draining", "half_open", "running", "changed", "pending", "expired", "cancelled":
		colour = Yellow
	case "disabled", "open", "exhausted", "rejected", "gone", "overflow", "unreadable", "match_budget", "failed", "denied", "deleted", "revoked":
		colour = Red
	}
	return s.Paint(word, colour)
}

// A Table is printed with its columns aligned, when all of it is known.
type Table struct {
	w     io.Writer
	style Style
	rows  [][]string // the first is the header
	Wraps bool       // the last column is a text to read: it continues below, and loses nothing
}

// NewTable begins a table with a header.
func NewTable(w io.Writer, header ...string) *Table {
	return &Table{w: w, style: StyleOf(w), rows: [][]string{header}}
}

// Row adds a row. Its cells are foreign text.
func (t *Table) Row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = t.style.cell(cell)
	}
	t.rows = append(t.rows, clean)
}

// Flush prints it. On a terminal the last column gives way where a line would not fit,
// or continues below where the table wraps.
func (t *Table) Flush() error {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b bytes.Buffer
	for n, row := range t.rows {
		used := 0
		for i, cell := range row {
			last := i == len(row)-1
			room := t.style.width - used - 1
			if last && t.Wraps && room >= 20 {
				cell = strings.Join(wrapped(cell, room), "\n"+strings.Repeat(" ", used))
			} else if last && t.style.width > 0 && !t.Wraps {
				cell = plain.Shown(cell, max(room, 10)) // and its ellipsis
			}
			text := cell
			if n == 0 {
				text = t.style.Paint(cell, bold)
			} else if named := t.rows[0]; i < len(named) && hasStatus(named[i]) {
				text = t.style.Tinted(cell)
			}
			b.WriteString(text)
			if !last {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
				used += widths[i] + 2
			}
		}
		b.WriteByte('\n')
	}
	_, err := t.w.Write(b.Bytes())
	return err
}

// wrapped are the lines of a text that has room for so many characters in each. A word
// that is longer has a line of its own.
func wrapped(text string, room int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > room {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// hasStatus reports whether a column has the status of something.
func hasStatus(header string) bool {
	switch header {
	case "STATE", "OUTCOME", "REASON", "RESULT", "CHANGE", "BREAKER":
		return true
	}
	return false
}

// cell keeps a cell in its place.
func (s Style) cell(text string) string {
	if text == "" {
		return "-"
	}
	return plain.Shown(strings.Join(strings.Fields(text), " "), s.Limit(plain.FieldLimit))
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}
