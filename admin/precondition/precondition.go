// Package precondition decides by If-Match and If-None-Match whether a request is to be
// done (RFC 9110, sections 13.1.1, 13.1.2 and 13.2.2).
package precondition

import "strings"

// Names of the headers.
const (
	IfMatch     = "If-Match"
	IfNoneMatch = "If-None-Match"
)

// A Decision is what becomes of a request.
type Decision int

// The decisions.
const (
	// Proceed does it.
	Proceed Decision = iota
	// NotMatched refuses it: what there is is not what If-Match names.
	NotMatched
	// Matched refuses it, or answers a read with 304: what there is is what If-None-Match
	// names.
	Matched
	// Unreadable refuses it: If-None-Match is neither * nor a list of ETags. An If-Match
	// that is neither matches nothing.
	Unreadable
)

// A Current is what there is at the time of the request.
type Current struct {
	Exists bool
	ETag   string // as it is sent; empty where there is none
}

// Conditions are those of one request. The zero value has none.
type Conditions struct {
	match, noneMatch condition
}

// A condition is the value of one header.
type condition struct {
	given    bool
	any      bool // *
	readable bool
	tags     []tag
}

// A tag is an entity tag (section 8.8.3).
type tag struct {
	weak   bool
	opaque string // with its quotes
}

// Read reads the lines of both headers, each in the order in which they came.
func Read(ifMatch, ifNoneMatch []string) Conditions {
	return Conditions{readCondition(ifMatch), readCondition(ifNoneMatch)}
}

// None reports whether there are no conditions.
func (c Conditions) None() bool { return !c.match.given && !c.noneMatch.given }

// Bound reports whether the request is to be done only to what its If-Match names.
func (c Conditions) Bound() bool { return c.match.given }

// Decide says what becomes of the request. If-Match comes first.
func (c Conditions) Decide(now Current) Decision {
	switch {
	case c.noneMatch.given && !c.noneMatch.readable:
		return Unreadable
	case c.match.given && !c.match.holds(now, strongly):
		return NotMatched
	case c.noneMatch.given && c.noneMatch.holds(now, weakly):
		return Matched
	}
	return Proceed
}

// holds reports whether c names what there is.
func (c condition) holds(now Current, same func(a, b tag) bool) bool {
	if c.any || !now.Exists {
		return c.any && now.Exists
	}
	current, rest, ok := readTag(now.ETag)
	if !ok || rest != "" {
		return false
	}
	for _, named := range c.tags {
		if same(named, current) {
			return true
		}
	}
	return false
}

// strongly and weakly compare tags (section 8.8.3.2).
func strongly(a, b tag) bool { return !a.weak && !b.weak && a.opaque == b.opaque }
func weakly(a, b tag) bool   { return a.opaque == b.opaque }

// readCondition reads "*" or a list of tags. Lines of one name are one list, and empty
// elements count as not there (sections 5.3 and 5.6.1.2).
func readCondition(lines []string) condition {
	c := condition{given: len(lines) > 0, readable: true}
	text := trim(strings.Join(lines, ","))
	if text == "*" {
		c.any = true
		return c
	}
	for text != "" {
		if text[0] == ',' {
			text = trim(text[1:])
			continue
		}
		one, rest, ok := readTag(text)
		if rest = trim(rest); !ok || rest != "" && rest[0] != ',' {
			return condition{given: true}
		}
		c.tags, text = append(c.tags, one), rest
	}
	return c
}

// readTag reads the tag at the beginning of text. A comma may be part of it.
func readTag(text string) (one tag, rest string, ok bool) {
	text, one.weak = strings.CutPrefix(text, "W/")
	if text == "" || text[0] != '"' {
		return tag{}, "", false
	}
	length := strings.IndexByte(text[1:], '"')
	if length < 0 {
		return tag{}, "", false
	}
	one.opaque, rest = text[:length+2], text[length+2:]
	for i := range len(one.opaque) {
		if c := one.opaque[i]; c <= ' ' || c == 0x7f {
			return tag{}, "", false
		}
	}
	return one, rest, true
}

func trim(text string) string { return strings.Trim(text, " \t") }
