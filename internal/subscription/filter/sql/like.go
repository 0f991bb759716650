package sql

import (
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/subscription/filter/wildcard"
)

type like struct {
	of      expr
	pattern pattern
}

func (l like) eval(e *run) (value, failure) {
	v, f := evalAs(l.of, e, text)
	if f != 0 {
		return truth(false), f
	}
	rest, ok := strings.CutPrefix(v.text, l.pattern.literal)
	if !ok || l.pattern.rest == nil {
		return truth(ok && rest == ""), e.spend(nodeSteps)
	}
	matched, steps := l.pattern.rest.Match(rest, e.left)
	return truth(matched), e.spend(nodeSteps + steps)
}

// A pattern is that of LIKE: % is any run of characters, _ one character, and a
// backslash before either takes the meaning away.
type pattern struct {
	literal string            // what stands before the first wildcard
	rest    *wildcard.Pattern // for what follows; nil where nothing does
}

func newPattern(s string) pattern {
	var tokens []wildcard.Token
	for i := 0; i < len(s); {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '%' || s[i+1] == '_') {
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Literal, Rune: rune(s[i+1])})
			i += 2
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch r {
		case '%':
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Run})
		case '_':
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Any})
		default:
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Literal, Rune: r})
		}
	}
	var p pattern
	var b strings.Builder
	for len(tokens) > 0 && tokens[0].Kind == wildcard.Literal {
		b.WriteRune(tokens[0].Rune)
		tokens = tokens[1:]
	}
	p.literal = b.String()
	if len(tokens) > 0 {
		p.rest, _ = wildcard.Compile(tokens)
	}
	return p
}
