package subscription

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
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
//
// The work is done by doublestar, whose patterns mean the same once they are
// written so that the two cannot disagree: see antSegments and antMatcher.
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
	return []comparison{{literal: literal, tail: antTail(segments), rest: antMatcher(segments, rooted), segments: true}}, nil
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

// antMatcher returns the matcher of paths as cleanPath makes them. Three things are
// not left to doublestar: what a leading / means; that * is one segment, so that a
// path without any does not match it; and that in a*/** both * and ** may stand for
// nothing at once.
func antMatcher(segments []string, rooted bool) func(string) bool {
	anything := len(segments) == 1 && segments[0] == "**"
	// What every path that matches has in it is sooner looked for than matched.
	var inner string
	for _, run := range strings.FieldsFunc(strings.Join(segments, "/"), func(r rune) bool { return r == '*' || r == '?' || r == '/' }) {
		if len(run) > len(inner) {
			inner = run
		}
	}
	escape := strings.NewReplacer(`[`, `\[`, `{`, `\{`, `\`, `\\`)
	pattern := escape.Replace(strings.Join(segments, "/"))
	// folder is the pattern without its /**, where that has to be tried as well.
	folder, both := strings.CutSuffix(pattern, "/**")
	both = both && strings.HasSuffix(folder, "*")
	limit := maxPatternWork / max(1, len(pattern))
	return func(path string) bool {
		if strings.HasPrefix(path, "/") != rooted {
			return false
		}
		if rooted {
			path = path[1:]
		}
		if path == "" || anything {
			return anything
		}
		return len(path) <= limit && strings.Contains(path, inner) &&
			(doublestar.MatchUnvalidated(pattern, path) || both && doublestar.MatchUnvalidated(folder, path))
	}
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
