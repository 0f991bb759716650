package jfrog

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// A yamlWriter writes JSON values as YAML 1.2 in block style. It is small because
// JSON is all that comes in; libraries read into maps and floats first, and lose the
// order of keys and the digits of large numbers there.
type yamlWriter struct {
	b      []byte
	limit  int    // of len(b)
	indent string // before every line but the first
}

// maxYAMLLevels bounds the work: each level is read once more than the one above it.
const maxYAMLLevels = 200

// value writes v at a level. It reports false when there is no more room, or v is
// too deep.
func (w *yamlWriter) value(v gjson.Result, level int) bool {
	switch {
	case len(w.b) > w.limit || level > maxYAMLLevels:
		return false
	case !v.Exists():
		w.b = append(w.b, "null"...)
	case v.Type == gjson.String:
		w.b = appendYAMLString(w.b, v.Str)
	case v.Type != gjson.JSON: // numbers by their digits
		w.b = append(w.b, v.Raw...)
	case v.IsArray():
		return w.list(v, level)
	default:
		return w.object(v, level)
	}
	return true
}

func (w *yamlWriter) list(v gjson.Result, level int) bool {
	first, ok := true, true
	v.ForEach(func(_, element gjson.Result) bool {
		if !first {
			w.line(level)
		}
		first = false
		w.b = append(w.b, "- "...)
		ok = w.value(element, level+1)
		return ok
	})
	if first {
		w.b = append(w.b, "[]"...)
	}
	return ok
}

func (w *yamlWriter) object(v gjson.Result, level int) bool {
	first, ok := true, true
	v.ForEach(func(key, member gjson.Result) bool {
		if !first {
			w.line(level)
		}
		first = false
		if len(key.Str) > maxYAMLKey {
			w.b = append(w.b, "? "...)
		}
		w.b = appendYAMLString(w.b, key.Str)
		if len(key.Str) > maxYAMLKey {
			w.line(level)
		}
		w.b = append(w.b, ':')
		if !member.IsObject() && !member.IsArray() || isEmpty(member) {
			w.b = append(w.b, ' ')
		} else {
			w.line(level + 1)
		}
		ok = w.value(member, level+1)
		return ok
	})
	if first {
		w.b = append(w.b, "{}"...)
	}
	return ok
}

// maxYAMLKey is the longest key that can stand before a colon without a question
// mark: 1024 characters of YAML, escapes included (YAML 1.2, section 8.2.2).
const maxYAMLKey = 1024 / len(`\u0000`)

// line begins a line at a level. Where no room is left it writes no more of the
// indentation, which is what grows without end.
func (w *yamlWriter) line(level int) {
	w.b = append(append(w.b, '\n'), w.indent...)
	for range level {
		if len(w.b) > w.limit {
			return
		}
		w.b = append(w.b, "  "...)
	}
}

func isEmpty(v gjson.Result) bool {
	empty := true
	v.ForEach(func(_, _ gjson.Result) bool { empty = false; return false })
	return empty
}

// appendYAMLString writes s plain if no reader of YAML 1.1 or 1.2 can take it for
// something else, otherwise in double quotes.
func appendYAMLString(b []byte, s string) []byte {
	if isPlainYAML(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case strconv.IsPrint(r):
			b = append(b, string(r)...)
		case r > 0xffff:
			b = append(b, `\U`...)
			b = appendHex(b, r, 8)
		default:
			b = append(b, `\u`...)
			b = appendHex(b, r, 4)
		}
	}
	return append(b, '"')
}

func appendHex(b []byte, r rune, digits int) []byte {
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[r>>shift&0xf])
	}
	return b
}

func isPlainYAML(s string) bool {
	if s == "" || !isLetter(s[0]) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte("_-./", c) < 0 {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return true
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
