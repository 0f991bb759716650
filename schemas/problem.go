package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jetpost/jetpost/internal/schema/wording"
)

// maxValue is how many bytes a value may have that is quoted.
const maxValue = 32

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
	if len(problems) > wording.MaxProblems {
		e.Problems = slices.Clip(problems[:wording.MaxProblems])
		e.More += len(problems) - wording.MaxProblems
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

// printable is s, quoted if it contains what could disturb a terminal or a log.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}
