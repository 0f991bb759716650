package filter

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/glob"

	"github.com/jetpost/jetpost/internal/subscription/filter/wildcard"
)

// Limits of patterns. They bound what comparing one value with one can cost.
const (
	maxPatternBytes = 512
	// maxAlternatives is how many patterns the braces of a glob may stand for, and
	// maxExpandedBytes how long those may be together: combinations of braces are
	// written out, and eight pairs of them already stand for 256 patterns.
	maxAlternatives  = 64
	maxExpandedBytes = 8 << 10
)

// compileGlob compiles a pattern in the syntax of github.com/gobwas/glob without
// separators:
//
//   - **     any run of characters, / included
//     ?         one character
//     [abc]     one of these; [!abc] none of these
//     [a-c]     one of this range; [!a-c] none of it
//     {a,b*}    one of these patterns, which may be empty and contain braces
//     \x        x itself
//
// Anything else is itself, case-sensitively, and the pattern is for the whole
// value. Alternatives become comparisons of their own: what they begin with can
// then be looked up. The library decides what is a pattern; it does not match, since it
// backtracks: see package wildcard.
func compileGlob(pattern string) ([]comparison, error) {
	if err := checkPattern(pattern); err != nil {
		return nil, err
	}
	if _, err := glob.Compile(pattern); err != nil {
		if syntax, ok := errors.AsType[*glob.SyntaxError](err); ok {
			return nil, fmt.Errorf("is not a glob: %s at byte %d of %q", syntax.Reason, syntax.Offset, pattern)
		}
		return nil, fmt.Errorf("is not a glob: %w", err)
	}
	patterns, ok := expandBraces(pattern)
	size := 0
	for _, each := range patterns {
		size += len(each)
	}
	if !ok || size > maxExpandedBytes {
		return nil, fmt.Errorf("has braces that stand for more than %d patterns, or %d bytes of them: use fewer, or several patterns inside any", maxAlternatives, maxExpandedBytes)
	}
	compiled := make([]comparison, len(patterns))
	for i, each := range patterns {
		compiled[i] = compileSimpleGlob(each)
	}
	return compiled, nil
}

func checkPattern(pattern string) error {
	if len(pattern) > maxPatternBytes {
		return fmt.Errorf("is a pattern of %d bytes, at most %d are allowed", len(pattern), maxPatternBytes)
	}
	if !utf8.ValidString(pattern) {
		return errors.New("is not valid UTF-8")
	}
	return nil
}

// compileSimpleGlob compiles a valid pattern without braces.
func compileSimpleGlob(pattern string) comparison {
	literal, middle, tail := globLiterals(pattern)
	c := comparison{literal: literal, tail: tail, whole: middle == ""}
	if strings.Trim(middle, "*") != "" {
		c.rest, c.inner = wildcard.Compile(globTokens(middle))
	}
	return c
}

// globTokens are those of a valid pattern without braces.
func globTokens(pattern string) []wildcard.Token {
	var tokens []wildcard.Token
	for pattern != "" {
		n := globTokenLen(pattern)
		switch token := pattern[:n]; token[0] {
		case '*':
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Run})
		case '?':
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Any})
		case '[':
			tokens = append(tokens, globClass(token[1:n-1]))
		default:
			if len(token) == 2 {
				token = token[1:] // without the backslash
			}
			r, size := utf8.DecodeRuneInString(token + pattern[n:])
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Literal, Rune: r})
			n += size - len(token)
		}
		pattern = pattern[n:]
	}
	return tokens
}

// globClass reads what stands between the brackets.
func globClass(text string) wildcard.Token {
	t := wildcard.Token{Kind: wildcard.Class}
	text, t.Negated = strings.CutPrefix(text, "!")
	low, size := utf8.DecodeRuneInString(text)
	if high, isRange := strings.CutPrefix(text[size:], "-"); isRange { // in which \ is a character
		last, _ := utf8.DecodeRuneInString(high)
		t.Ranges = []wildcard.Range{{Low: low, High: last}}
		return t
	}
	escaped := false
	for _, r := range text {
		if escaped = r == '\\' && !escaped; !escaped {
			t.Ranges = append(t.Ranges, wildcard.Range{Low: r, High: r})
		}
	}
	return t
}

// globLiterals splits a pattern without braces before its first wildcard and behind
// its last one. Without any wildcard all of it is the first part.
func globLiterals(pattern string) (literal, middle, tail string) {
	var b strings.Builder
	first, last := -1, -1
	for at := 0; at < len(pattern); {
		n := globTokenLen(pattern[at:])
		switch token := pattern[at : at+n]; token[0] {
		case '*', '?', '[':
			if first < 0 {
				literal, first = b.String(), at
			}
			last = at + n
			b.Reset()
		case '\\':
			b.WriteString(token[1:])
		default:
			b.WriteString(token)
		}
		at += n
	}
	if first < 0 {
		return b.String(), "", ""
	}
	return literal, pattern[first:last], b.String()
}

// expandBraces writes the alternatives of a valid pattern out, in their order. It
// reports false when there are more than maxAlternatives.
func expandBraces(pattern string) ([]string, bool) {
	x := expansion{rest: pattern}
	patterns := x.sequence(false)
	return patterns, !x.tooMany
}

// An expansion reads a pattern from left to right.
type expansion struct {
	rest    string
	tooMany bool
}

// sequence reads up to the end, or up to the comma or brace that ends an
// alternative.
func (x *expansion) sequence(inside bool) []string {
	patterns := []string{""}
	for x.rest != "" && !x.tooMany {
		var next []string
		switch c := x.rest[0]; {
		case inside && (c == ',' || c == '}'):
			return patterns
		case c == '{':
			next = x.alternatives()
		default:
			n := globTokenLen(x.rest)
			next, x.rest = []string{x.rest[:n]}, x.rest[n:]
		}
		patterns = x.product(patterns, next)
	}
	return patterns
}

// alternatives reads {…}.
func (x *expansion) alternatives() []string {
	var patterns []string
	for x.rest != "" && x.rest[0] != '}' && !x.tooMany {
		x.rest = x.rest[1:] // { or ,
		patterns = append(patterns, x.sequence(true)...)
		x.tooMany = x.tooMany || len(patterns) > maxAlternatives
	}
	x.rest = strings.TrimPrefix(x.rest, "}")
	return patterns
}

func (x *expansion) product(first, second []string) []string {
	if len(first)*len(second) > maxAlternatives {
		x.tooMany = true
		return nil
	}
	product := make([]string, 0, len(first)*len(second))
	for _, a := range first {
		for _, b := range second {
			product = append(product, a+b)
		}
	}
	return product
}

// globTokenLen is how long the character, escape or class is that a valid pattern
// begins with.
func globTokenLen(pattern string) int {
	switch pattern[0] {
	case '\\':
		return min(2, len(pattern)) // of a longer character, the rest follows as it is
	case '[':
	default:
		return 1
	}
	at := 1
	if strings.HasPrefix(pattern[at:], "!") {
		at++
	}
	_, size := utf8.DecodeRuneInString(pattern[at:])
	if strings.HasPrefix(pattern[at+size:], "-") { // a range, in which \ is a character
		at += size + 1
		_, size = utf8.DecodeRuneInString(pattern[at:])
		return min(at+size+1, len(pattern))
	}
	for ; at < len(pattern) && pattern[at] != ']'; at++ {
		if pattern[at] == '\\' {
			at++
		}
	}
	return min(at+1, len(pattern))
}
