package filter

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/subscription/filter/wildcard"
)

// compileAnt compiles an Ant pattern for paths:
//
//	?    one character that is not /
//	*    any run of characters inside one segment
//	**   as a whole segment: any number of segments, none included
//
// A / at the end means /**. Anything else is itself, case-sensitively, [ { and \
// included, and the pattern is for the whole path. As in Ant, empty segments do
// not count, in neither pattern nor path, and a pattern that begins with / is for
// paths that do.
func compileAnt(pattern string) ([]comparison, error) {
	if err := checkPattern(pattern); err != nil {
		return nil, err
	}
	segments := antSegments(pattern)
	wild := slices.IndexFunc(segments, func(s string) bool { return strings.ContainsAny(s, "*?") })
	rooted := strings.HasPrefix(pattern, "/")
	root := ""
	if rooted {
		root = "/"
	}
	if wild < 0 {
		return []comparison{{literal: root + strings.Join(segments, "/"), whole: true, segments: true}}, nil
	}
	literal := root + strings.Join(segments[:wild], "/")
	if start := segments[wild]; start != "**" { // which may stand for nothing, not even a /
		if wild > 0 {
			literal += "/"
		}
		literal += start[:strings.IndexAny(start, "*?")]
	}
	c := comparison{literal: literal, tail: antTail(segments), segments: true, relative: !rooted}
	if len(segments) == 1 && segments[0] == "**" { // any path, the empty one too
		return []comparison{c}, nil
	}
	c.least = len(root) + 1 // each of the other wildcards is in a segment
	tokens := antTokens(segments)
	skip, drop := utf8.RuneCountInString(literal)-len(root), utf8.RuneCountInString(c.tail)
	c.rest, c.inner = wildcard.Compile(tokens[skip : len(tokens)-drop])
	return []comparison{c}, nil
}

// antTokens are those of a pattern for a path that is not empty, without the / that it
// may begin with.
func antTokens(segments []string) []wildcard.Token {
	var tokens []wildcard.Token
	slash := wildcard.Token{Kind: wildcard.Literal, Rune: '/'}
	for i, segment := range segments {
		last := i == len(segments)-1
		if segment == "**" {
			if !last {
				tokens = append(tokens, wildcard.Token{Kind: wildcard.Segments})
				continue
			}
			tokens[len(tokens)-1].Optional = true // the / before it: it may stand for nothing
			tokens = append(tokens, wildcard.Token{Kind: wildcard.Run})
			continue
		}
		for _, r := range segment {
			switch r {
			case '*':
				tokens = append(tokens, wildcard.Token{Kind: wildcard.Run, WithinSegment: true})
			case '?':
				tokens = append(tokens, wildcard.Token{Kind: wildcard.Any, WithinSegment: true})
			default:
				tokens = append(tokens, wildcard.Token{Kind: wildcard.Literal, Rune: r})
			}
		}
		if !last {
			tokens = append(tokens, slash)
		}
	}
	return tokens
}

// antTail returns what stands behind the last wildcard, and behind the / after a **,
// which may stand for nothing.
func antTail(segments []string) string {
	pattern := strings.Join(segments, "/")
	at := strings.LastIndexAny(pattern, "*?") + 1
	tail := pattern[at:]
	if last := pattern[:at]; last == "**" || strings.HasSuffix(last, "/**") {
		tail = strings.TrimPrefix(tail, "/")
	}
	return tail
}

// antSegments splits a pattern into segments, writes runs of * that are not a whole
// segment of two as one, and repeated ** as one, which is all the same in Ant.
func antSegments(pattern string) []string {
	var segments []string
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	for segment := range strings.SplitSeq(pattern, "/") {
		if segment != "**" {
			for strings.Contains(segment, "**") {
				segment = strings.ReplaceAll(segment, "**", "*")
			}
		}
		again := segment == "**" && len(segments) > 0 && segments[len(segments)-1] == "**"
		if segment != "" && !again {
			segments = append(segments, segment)
		}
	}
	return segments
}

// segmentsPrefix before the name of an operand makes the operand whose value is
// the path that cleanPath makes of the other's: no name has an @ in it.
const segmentsPrefix = "@"

// cleanPath takes empty segments out of a path.
func cleanPath(path string) string {
	if !strings.Contains(path, "//") && (len(path) < 2 || !strings.HasSuffix(path, "/")) {
		return path
	}
	var b strings.Builder
	if path[0] == '/' {
		b.WriteByte('/')
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			continue
		}
		if n := b.Len(); n > 1 || n == 1 && path[0] != '/' {
			b.WriteByte('/')
		}
		b.WriteString(segment)
	}
	return b.String()
}
