package wildcard

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// naive is the definition: one token after the other, tried at every length.
func naive(tokens []Token, text string, start bool) bool {
	if len(tokens) == 0 {
		return text == ""
	}
	t := tokens[0]
	if t.Optional && text == "" {
		return true
	}
	r, size := utf8.DecodeRuneInString(text)
	switch t.Kind {
	case Run:
		return naive(tokens[1:], text, false) ||
			size > 0 && (!t.WithinSegment || r != '/') && naive(tokens, text[size:], false)
	case Segments:
		if start && naive(tokens[1:], text, false) {
			return true
		}
		return size > 0 && naive(tokens, text[size:], r == '/')
	case Literal, Any, Class:
	}
	return size > 0 && t.contains(r, isInvalid(r, size)) && naive(tokens[1:], text[size:], r == '/')
}

// tokensOf reads a pattern for tests: * and ? within segments, + any run, . any
// character, # segments, [ a class of a and b, ] what is not in it, | an optional / .
func tokensOf(pattern string) []Token {
	var tokens []Token
	for i, c := range pattern {
		t := Token{Kind: Literal, Rune: c}
		switch c {
		case '*':
			t = Token{Kind: Run, WithinSegment: true}
		case '+':
			t = Token{Kind: Run}
		case '?':
			t = Token{Kind: Any, WithinSegment: true}
		case '.':
			t = Token{Kind: Any}
		case '[', ']':
			t = Token{Kind: Class, Ranges: []Range{{'a', 'b'}}, Negated: c == ']'}
		case '#':
			if i > 0 && pattern[i-1] != '/' {
				continue // segments begin where one does
			}
			t = Token{Kind: Segments}
		case '|':
			return append(tokens, Token{Kind: Literal, Rune: '/', Optional: true}, Token{Kind: Run})
		}
		tokens = append(tokens, t)
	}
	return tokens
}

func check(t *testing.T, pattern, text string) {
	t.Helper()
	tokens := tokensOf(pattern)
	p, inner := Compile(tokens)
	got, steps := p.Match(text, 1<<30)
	if got && !strings.Contains(text, inner) {
		t.Fatalf("%q matches %q, which does not have %q", pattern, text, inner)
	}
	if want := naive(tokens, text, true); got != want {
		t.Fatalf("%q with %q: got %t, want %t", pattern, text, got, want)
	}
	if got2, steps2 := p.Match(text, steps); got2 != got || steps2 != steps {
		t.Fatalf("%q with %q: %t in %d steps, then %t in %d", pattern, text, got, steps, got2, steps2)
	}
	if steps > 0 {
		if got, used := p.Match(text, steps-1); got || used < steps {
			t.Fatalf("%q with %q: %t in %d steps with one less granted than %d", pattern, text, got, used, steps)
		}
	}
}

// TestMatchRandomly compares many short patterns with the definition, and long ones
// whose states take several words.
func TestMatchRandomly(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 1)) //nolint:gosec // a fixed seed
	word := func(alphabet string, longest int) string {
		var b strings.Builder
		letters := []rune(alphabet)
		for range r.IntN(longest + 1) {
			b.WriteRune(letters[r.IntN(len(letters))])
		}
		return b.String()
	}
	for range 40_000 {
		check(t, word("ab/*+?.#[]|", 7), word("ab/é", 7))
	}
	for range 2000 {
		lead := strings.Repeat(word("ab.[", 3), 1+r.IntN(60))
		check(t, lead+word("ab/*+?.#[]|", 6), strings.Repeat("ab", len(lead)/2)+word("ab/", 6))
	}
	for _, text := range []string{"\xff", "a\xe2b", "\xe2\x82", "�", "a�\xff"} {
		for _, pattern := range []string{"+", ".", "?+", "a+", "]+", "[.+", ".+.", "�", "�+.", "*", "a�.*"} {
			check(t, pattern, text)
		}
	}
}

// TestMatchIsLinear: twice the text takes at most twice the steps, whatever the pattern
// is, and a pattern of any length at most so many for each byte.
func TestMatchIsLinear(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		strings.Repeat("+a", 255) + "+c+", strings.Repeat("+ab", 170) + "c", strings.Repeat("+a.", 170) + "+c+",
		strings.Repeat("*a", 255) + "b", strings.Repeat("#a/", 170) + "b", strings.Repeat("#*a*/", 100) + "b",
		strings.Repeat("+[.", 170) + "c", strings.Repeat(".", 500) + "+c", "#" + strings.Repeat("a/", 250) + "b", strings.Repeat("a", 100) + "+" + strings.Repeat("a", 100) + "+c",
	} {
		p, _ := Compile(tokensOf(pattern))
		for _, unit := range []string{"a", "ab", "a/", "aaab/", "c", "aaaaaaaaaaaaaaaac"} {
			steps := func(n int) int {
				_, steps := p.Match(strings.Repeat(unit, n), 1<<40)
				return steps
			}
			one, two := steps(5_000), steps(10_000)
			if two > 2*one+len(pattern)*partSteps {
				t.Errorf("%.20s with %s: %d steps, with twice the text %d", pattern, unit, one, two)
			}
			if most := 11*len(unit)*10_000 + len(pattern)*partSteps; two > most {
				t.Errorf("%.20s with %s: %d steps, more than %d", pattern, unit, two, most)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	for _, pattern := range []string{"a*/#b|", "+a.b+", "#*", "[]+a", "#a/|", "/#/*a"} {
		f.Add(pattern, "a/b/ab")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(text) > 20 || len(pattern) > 40 || strings.Count(pattern, "*")+strings.Count(pattern, "+")+strings.Count(pattern, "#") > 6 || !utf8.ValidString(pattern) {
			return
		}
		check(t, pattern, text)
	})
}
