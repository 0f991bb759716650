// Package validation collects what is wrong with a subscription, field by field.
package validation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Problem is one thing that is wrong with a subscription.
type Problem struct {
	// Field is where, as a path: filters[0].exact.subject. Empty: the whole.
	Field string `json:"field"`
	// Message says what is wrong and what to do about it. It shows no secrets.
	Message string `json:"message"`
}

// An Error is all that is wrong with a subscription.
type Error struct {
	Problems []Problem // at least one, in the order of the fields
}

// Error lists the problems.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("the subscription is not valid: ")
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		if p.Field != "" {
			b.WriteString(p.Field + ": ")
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// MaxProblems is how many are kept.
const MaxProblems = 100

// Problems collects what is wrong. The zero value has none.
type Problems struct {
	list []Problem
}

// Add notes a problem; those beyond MaxProblems are left out.
func (p *Problems) Add(field, format string, args ...any) {
	if len(p.list) < MaxProblems {
		p.list = append(p.list, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// Empty reports whether there are none.
func (p *Problems) Empty() bool { return len(p.list) == 0 }

// List returns the problems. Nil: there are none.
func (p *Problems) List() []Problem { return p.list }

// Err returns the problems as an *Error, nil when there are none.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &Error{Problems: slices.Clip(p.list)}
}

// Join is the path of a field inside another one.
func Join(field, name string) string {
	switch {
	case field == "":
		return name
	case strings.HasPrefix(name, "["):
		return field + name
	default:
		return field + "." + name
	}
}

// Index is the path of an element of a field.
func Index(field string, i int) string { return Join(field, "["+strconv.Itoa(i)+"]") }

// TextProblem says why s is not a text without control characters.
func TextProblem(s string) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return fmt.Sprintf("contains the control character U+%04X", r)
		}
	}
	return ""
}
