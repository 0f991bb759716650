package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of an error, so that a hostile event can't make a long one.
const (
	maxProblems = 20  // problems that are listed, more are counted
	maxField    = 256 // bytes of a field
	maxValue    = 32  // bytes of a value that is quoted, longer ones are not
)

// A Problem is one thing wrong with an event.
type Problem struct {
	// Field is where: a JSON pointer (RFC 6901) into the event as CloudEvents'
	// JSON format writes it, such as "/data/commits/0/id" or "/datacontenttype".
	// A field that is missing is named as if it were there.
	Field string
	// Message continues the field's name: "is required", "must be an integer, is
	// a string". It quotes short values of an enumeration, and no other data.
	Message string
}

func (p Problem) String() string { return printable(p.Field) + " " + p.Message }

// A ValidationError says why an event's data is not what its type demands.
type ValidationError struct {
	Type     string    // the event type
	Problems []Problem // at least one, sorted by field
	More     int       // problems beyond those listed
}

// Error names all fields in one line.
func (e *ValidationError) Error() string {
	var b strings.Builder
	b.WriteString("validate ")
	b.WriteString(e.Type)
	b.WriteString(": ")
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "; and %d more", e.More)
	}
	return b.String()
}

// newValidationError sorts problems, because the validator walks maps, and cuts
// them to size. more is the number of further ones.
func newValidationError(eventType string, problems []Problem, more int) *ValidationError {
	problems = ordered(problems)
	e := &ValidationError{Type: eventType, Problems: problems, More: more}
	if len(problems) > maxProblems {
		e.Problems = slices.Clip(problems[:maxProblems])
		e.More += len(problems) - maxProblems
	}
	return e
}

// fewest are as many problems as a person wants to read about one file.
func fewest(d description) []Problem { return newValidationError("", d.problems, d.more).Problems }

// ordered sorts problems by field and drops repeats, which several branches of a
// schema can cause.
func ordered(problems []Problem) []Problem {
	slices.SortFunc(problems, func(a, b Problem) int {
		if c := strings.Compare(a.Field, b.Field); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	})
	return slices.Compact(problems)
}

// pointer writes a path as a JSON pointer. A path with an overlong name is cut:
// it can no longer be followed, but it can still be read.
func pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
		if b.Len() > maxField {
			return cut(b.String()) + "…"
		}
	}
	return b.String()
}

// cut shortens s to at most maxField bytes, between characters.
func cut(s string) string {
	if len(s) <= maxField {
		return s
	}
	n := maxField
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// printable is s, quoted if it contains what could disturb a terminal or a log.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}
