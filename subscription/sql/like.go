package sql

import (
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/stream"
)

type like struct {
	of      expr
	pattern pattern
}

// maxLikeWork is the product of the lengths of text and pattern from which on LIKE
// fails.
const maxLikeWork = 4 << 20

func (l like) eval(e *stream.Event) (value, failure) {
	v, f := evalAs(l.of, e, text)
	switch {
	case f != 0:
		return truth(false), f
	case len(v.text)*len(l.pattern.steps) > maxLikeWork:
		return truth(false), functionFailure
	}
	return truth(strings.HasPrefix(v.text, l.pattern.literal) && l.pattern.match(v.text[len(l.pattern.literal):])), 0
}

// A pattern is that of LIKE: % is any run of characters, _ one character, and a
// backslash before either takes the meaning away.
type pattern struct {
	literal string // what stands before the first wildcard
	steps   []step // the rest
}

// A step is a character, or with wild % or _.
type step struct {
	character rune
	wild      bool
}

func newPattern(s string) pattern {
	var steps []step
	for i := 0; i < len(s); {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '%' || s[i+1] == '_') {
			steps = append(steps, step{character: rune(s[i+1])})
			i += 2
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		steps = append(steps, step{r, r == '%' || r == '_'})
	}
	var p pattern
	var b strings.Builder
	for len(steps) > 0 && !steps[0].wild {
		b.WriteRune(steps[0].character)
		steps = steps[1:]
	}
	p.literal, p.steps = b.String(), steps
	return p
}

// match takes time in proportion to the product of the lengths: when something does
// not fit, only the last % is made longer.
func (p pattern) match(s string) bool {
	step, star, from := 0, -1, 0
	for at := 0; at < len(s); {
		r, size := utf8.DecodeRuneInString(s[at:])
		if step < len(p.steps) {
			now := p.steps[step]
			if now.wild && now.character == '%' {
				star, from = step, at
				step++
				continue
			}
			if now.wild || now.character == r {
				step++
				at += size
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size = utf8.DecodeRuneInString(s[from:])
		from += size
		step, at = star+1, from
	}
	for step < len(p.steps) && p.steps[step].wild && p.steps[step].character == '%' {
		step++
	}
	return step == len(p.steps)
}
