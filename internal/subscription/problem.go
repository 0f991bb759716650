package subscription

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

// A ValidationError is all that is wrong with a subscription.
type ValidationError struct {
	Problems []Problem // at least one, in the order of the fields
}

// Error lists the problems.
func (e *ValidationError) Error() string {
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

// maxProblems bounds an answer; nobody reads more at a time.
const maxProblems = 100

// problems collects.
type problems struct {
	list []Problem
}

func (p *problems) add(field, format string, args ...any) {
	if len(p.list) < maxProblems {
		p.list = append(p.list, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &ValidationError{Problems: slices.Clip(p.list)}
}

func join(field, name string) string {
	switch {
	case field == "":
		return name
	case strings.HasPrefix(name, "["):
		return field + name
	default:
		return field + "." + name
	}
}

func index(field string, i int) string { return join(field, "["+strconv.Itoa(i)+"]") }

// textProblem says why s is not a text without control characters.
func textProblem(s string) string {
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
