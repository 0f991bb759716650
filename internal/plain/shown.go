package plain

import (
	"strings"
)

// How much of a foreign text is shown.
const (
	FieldLimit = 200 // characters of a value
	LineLimit  = 400 // characters of a line that describes data
)

// Shown makes text from elsewhere fit for a terminal: one line, with an escape for control
// and other invisible characters, at most limit characters of the text.
func Shown(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > limit {
			b.WriteString("…")
			break
		}
		if r == '\t' {
			b.WriteByte(' ')
		} else {
			b.WriteString(Rune(r))
		}
	}
	return b.String()
}
