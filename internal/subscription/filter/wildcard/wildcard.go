// Package wildcard matches texts with patterns of wildcards, in time that is
// proportional to the length of the text, whatever the pattern is.
//
// A pattern is a list of tokens; what they are written like is up to the packages
// that read globs, Ant patterns and LIKE. Where all wildcards are runs of any
// characters, the literals between them are searched one behind the other. For all
// others the states of an automaton are bits, and all of them advance at once with
// each character: see machine.
//
// Matching counts steps, which depend on pattern and text alone, and gives up where
// it needs more than it was granted.
package wildcard

import (
	"strings"
	"unicode/utf8"
)

// A Kind is what a token stands for.
type Kind uint8

// The kinds of tokens.
const (
	Literal  Kind = iota // one character: Rune
	Any                  // any one character
	Class                // one character of Ranges, or with Negated one of none of them
	Run                  // any number of any characters
	Segments             // any number of characters up to a / or from the beginning; none included
)

// A Range is a range of characters, both ends included.
type Range struct{ Low, High rune }

// A Token is one part of a pattern.
type Token struct {
	Kind    Kind
	Rune    rune
	Ranges  []Range
	Negated bool
	// WithinSegment keeps Any and Run from standing for a /.
	WithinSegment bool
	// Optional, of the last but one token before a Run at the end: the text may end
	// before it. Only one token can have it.
	Optional bool
}

// MaxTokens is how many tokens a pattern may have.
const MaxTokens = maxWords*64 - 1

// A Pattern is a compiled list of tokens. It never changes.
type Pattern struct {
	// first and last are the literals at the ends, parts those between runs; where
	// machine is nil.
	first, last string
	parts       []string
	runs        bool // there is a run at all
	// segment: the pattern is a single run within a segment.
	segment bool
	machine *machine
}

// Compile compiles at most MaxTokens tokens. Tokens with characters that are not
// valid match nothing. Every text that matches has the literal inner in it: to look for
// that first is faster.
func Compile(tokens []Token) (p *Pattern, inner string) {
	tokens = collapse(tokens)
	return compile(tokens), longestLiteral(tokens)
}

func compile(tokens []Token) *Pattern {
	if len(tokens) == 1 && tokens[0].Kind == Run && tokens[0].WithinSegment {
		return &Pattern{segment: true}
	}
	for _, t := range tokens {
		if t.Kind != Literal && (t.Kind != Run || t.WithinSegment) || t.Optional {
			return &Pattern{machine: newMachine(tokens)}
		}
	}
	p := &Pattern{}
	var literals []string
	var b strings.Builder
	for _, t := range tokens {
		if t.Kind == Literal {
			b.WriteRune(t.Rune)
			continue
		}
		literals = append(literals, b.String())
		b.Reset()
		p.runs = true
	}
	literals = append(literals, b.String())
	p.first, p.last = literals[0], literals[len(literals)-1]
	if p.runs {
		p.parts = literals[1 : len(literals)-1]
	}
	return p
}

// collapse leaves one of several runs beside each other.
func collapse(tokens []Token) []Token {
	kept := make([]Token, 0, len(tokens))
	for _, t := range tokens {
		if n := len(kept); n > 0 && t.Kind == Run && kept[n-1].Kind == Run {
			kept[n-1].WithinSegment = kept[n-1].WithinSegment && t.WithinSegment
			continue
		}
		kept = append(kept, t)
	}
	return kept
}

func longestLiteral(tokens []Token) string {
	var longest string
	var b strings.Builder
	for _, t := range tokens {
		if t.Kind == Literal && !t.Optional {
			b.WriteRune(t.Rune)
			if b.Len() > len(longest) {
				longest = b.String()
			}
			continue
		}
		b.Reset()
	}
	return longest
}

// Steps of a search, which looks at several bytes at once where what it looks for is
// short.
const (
	partSteps   = 8
	bytesAtOnce = 8
	longLiteral = 63
)

func searchSteps(literal string, bytes int) int {
	if len(literal) > longLiteral {
		return partSteps + bytes
	}
	return partSteps + bytes/bytesAtOnce
}

// Match reports whether all of text matches, and how many steps it took to find out.
// Where that would take more than limit, it says so by steps beyond limit, and no.
func (p *Pattern) Match(text string, limit int) (matched bool, steps int) {
	if p.machine == nil {
		return p.search(text, limit)
	}
	return p.machine.match(text, limit)
}

// search finds the literals one behind the other, each as early as it can be: what
// stands behind them has the more room.
func (p *Pattern) search(text string, limit int) (matched bool, steps int) {
	steps = searchSteps("", len(text))
	switch {
	case steps > limit:
		return false, steps
	case p.segment:
		return strings.IndexByte(text, '/') < 0, steps
	case !p.runs:
		return text == p.first, steps
	case len(text) < len(p.first)+len(p.last) || !strings.HasPrefix(text, p.first) || !strings.HasSuffix(text, p.last):
		return false, steps
	}
	text = text[len(p.first) : len(text)-len(p.last)]
	for _, part := range p.parts {
		at := strings.Index(text, part)
		looked := at + len(part)
		if at < 0 {
			looked = len(text)
		}
		if steps += searchSteps(part, looked); at < 0 || steps > limit {
			return false, steps
		}
		text = text[looked:]
	}
	return true, steps
}

// contains reports whether a token stands for a character. A byte that is not UTF-8 is
// utf8.RuneError to all but literals, as for the engines whose dialects these are.
func (t *Token) contains(r rune, invalid bool) bool {
	switch t.Kind {
	case Literal:
		return t.Rune == r && !invalid
	case Any:
		return !t.WithinSegment || r != '/'
	case Class:
		for _, each := range t.Ranges {
			if each.Low <= r && r <= each.High {
				return !t.Negated
			}
		}
		return t.Negated
	case Run, Segments:
	}
	return false
}

// isInvalid reports whether a decoded character is a byte that is not UTF-8.
func isInvalid(r rune, size int) bool { return r == utf8.RuneError && size <= 1 }
