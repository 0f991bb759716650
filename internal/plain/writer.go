package plain

import (
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// A Writer passes text on as Escape has it. It may be used by several goroutines at once.
type Writer struct {
	to     io.Writer
	styled bool

	mu   sync.Mutex
	held []byte // the beginning of a character whose end has not arrived
}

// NewWriter returns a Writer for text that strangers wrote.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// NewTerminal returns the Writer before a terminal: it lets the colours and the redrawn
// lines of the program itself through. What strangers wrote has to be escaped before it
// comes here; this is what stands behind one that has forgotten it.
func NewTerminal(to io.Writer) *Writer { return &Writer{to: to, styled: true} }

// Unwrap is what it writes to.
func (w *Writer) Unwrap() io.Writer { return w.to }

// Write writes text. Half a character at its end waits for the next text, or for Flush.
func (w *Writer) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := text
	if len(w.held) > 0 {
		all = append(w.held, text...)
		w.held = nil
	}
	if whole := len(all) - unfinished(all); whole < len(all) {
		w.held = append([]byte(nil), all[whole:]...)
		all = all[:whole]
	}
	if _, err := w.to.Write(w.escaped(all)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Flush writes what is held back.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.to.Write([]byte(Escape(string(w.held))))
	w.held = nil
	return err
}

func (w *Writer) escaped(text []byte) []byte {
	if w.styled {
		return Styled(text)
	}
	return EscapeBytes(text)
}

// Styled is EscapeBytes for text of the program, which may have its colours.
func Styled(text []byte) []byte {
	if clean(text) {
		return text
	}
	s := string(text)
	b := make([]byte, 0, len(s)+16)
	for {
		i := strings.IndexAny(s, "\r\x1b")
		if i < 0 {
			return append(b, Escape(s)...)
		}
		b = append(b, Escape(s[:i])...)
		s = s[i:]
		n := style(s)
		if n > 0 {
			b = append(b, s[:n]...)
		} else {
			n = 1
			b = appendEscape(b, rune(s[0]))
		}
		s = s[n:]
	}
}

// unfinished is how many bytes at the end are the beginning of a character.
func unfinished(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if c := text[len(text)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}
