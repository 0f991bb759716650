// Package sql evaluates CloudEvents SQL 1.0.0 expressions on events.
//
// It reads an expression with the grammar of the CloudEvents SDK, and is the only
// package that knows of it and of the parser generator's runtime behind it. What
// was read is evaluated here, straight from the attributes: the SDK needs every
// event in a form of its own, counts bytes where the specification says characters,
// wraps integers around, and panics on SUBSTRING('abc', 1, -1).
//
// An expression matches when its value is the Boolean true and no error came up on
// the way. Evaluation cannot panic, and its cost is bounded: see the limits of
// Compile, maxText and MatchWithin.
//
// Where the specification leaves room:
//
//   - Attributes are Strings, the extension ones too: events on a stream do not keep
//     other types, as events in binary mode do not anywhere. Where a type is needed they
//     are cast. An expression that is nothing but an extension attribute needs a Boolean,
//     so there the canonical forms of one, true and false, are one, as the conformance
//     suite has it: "mybool" matches when "mybool = true" does. Another text is none.
//   - An Integer out of range is a math error, as a division by zero is.
//   - The quote in a string is written \', doubled quotes are refused.
//   - A function that does not exist is refused, and so is the name data: CloudEvents
//     SQL does not see the data of events.
package sql

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
)

// Limits of an expression.
const (
	maxBytes = 4096
	maxDepth = 32  // parentheses inside each other
	maxUnary = 100 // NOT and -
	maxName  = 256 // bytes of an attribute's name
)

// A Program is a compiled expression. It never changes, so any number of events can
// be matched with it at once.
type Program struct {
	root expr
}

// Compile reads an expression. An error says what is wrong with it and where.
func Compile(expression string) (*Program, error) {
	if err := check(expression); err != nil {
		return nil, err
	}
	root, err := parse(expression)
	if err != nil {
		return nil, err
	}
	if a, ok := root.(attribute); ok && !event.IsContextAttribute(a.name) {
		root = flag(a)
	}
	return &Program{root}, nil
}

// Match reports whether the expression is true for an event, however long that takes.
func (p *Program) Match(e *event.Event) bool {
	matched, _ := p.MatchWithin(e, math.MaxInt)
	return matched
}

// MatchWithin reports whether the expression is true for an event, and how many steps it
// took to find out, which depends on nothing else. Where that would take more than limit,
// it says so by steps beyond limit, and no.
func (p *Program) MatchWithin(e *event.Event, limit int) (matched bool, steps int) {
	r := run{event: e, left: limit}
	v, failure := p.root.eval(&r)
	return failure == 0 && v.kind == boolean && v.truth, limit - r.left
}

// check refuses what is not for the parser: what is too large, and characters whose
// upper case is in the language although they are not.
func check(expression string) error {
	switch {
	case strings.TrimSpace(expression) == "":
		return errors.New("is empty: give an expression")
	case len(expression) > maxBytes:
		return fmt.Errorf("has %d bytes, at most %d are allowed", len(expression), maxBytes)
	case !utf8.ValidString(expression):
		return errors.New("is not valid UTF-8")
	}
	depth, unary := 0, 0
	for i := 0; i < len(expression); i++ {
		switch c := expression[i]; c {
		case '(':
			if depth++; depth > maxDepth {
				return fmt.Errorf("has parentheses nested deeper than %d at byte %d", maxDepth, i)
			}
		case ')':
			depth--
		case '-':
			unary++
		case 'N', 'n': // of NOT, perhaps
			if strings.EqualFold(expression[i:min(i+3, len(expression))], "not") {
				unary++
			}
		case '\'', '"':
			end, err := stringEnd(expression, i)
			if err != nil {
				return err
			}
			i = end
		default:
			if c >= utf8.RuneSelf {
				r, _ := utf8.DecodeRuneInString(expression[i:])
				return fmt.Errorf("has %q at byte %d: put text in quotes", r, i)
			}
		}
	}
	if unary > maxUnary {
		return fmt.Errorf("has more than %d times NOT and -", maxUnary)
	}
	return nil
}

// stringEnd returns where the string ends that begins at start.
func stringEnd(expression string, start int) (int, error) {
	quote := expression[start]
	for i := start + 1; i < len(expression); i++ {
		switch expression[i] {
		case '\\':
			i++
		case quote:
			if i+1 < len(expression) && expression[i+1] == quote {
				return 0, fmt.Errorf("has two quotes at byte %d: write \\%c for one that is part of the text", i, quote)
			}
			return i, nil
		}
	}
	return 0, fmt.Errorf("has a string that begins at byte %d and does not end", start)
}
