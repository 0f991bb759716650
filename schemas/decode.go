package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/schema/wording"
)

// Bounds of the JSON that is accepted, beyond its syntax. They keep the work an
// event can cause in proportion to its size: the validator computes with exact
// numbers, and 1e1000000 is nine bytes of text and a million digits of number.
const (
	maxDepth    = 128 // nested arrays and objects
	maxNumber   = 400 // characters of a number
	maxExponent = 400 // float64 ends at 308
)

// A fault says why a text is not JSON we accept, and where.
type fault struct {
	path    []string // innermost first, while it is built
	message string   // continues "the value …"
	offset  int      // bytes before the fault, or -1
}

// pointer is the JSON pointer to the place.
func (f *fault) pointer() string {
	path := slices.Clone(f.path)
	slices.Reverse(path)
	return wording.Pointer(path)
}

// decode reads one JSON text as the validator wants it: numbers as json.Number,
// so that nothing is rounded. Beyond encoding/json it refuses text that is not
// UTF-8 and a key that is given twice, because receivers disagree on what those
// mean.
func decode(data []byte) (any, *fault) {
	if len(data) == 0 {
		return nil, &fault{message: "is missing", offset: -1}
	}
	if !utf8.Valid(data) {
		return nil, &fault{message: "is not valid UTF-8", offset: invalidUTF8(data)}
	}
	if !json.Valid(data) {
		return nil, syntaxFault(data)
	}
	r := reader{text: string(data)}
	return r.value(0)
}

func invalidUTF8(data []byte) int {
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size <= 1 {
			return at
		}
		at += size
	}
	return at
}

func syntaxFault(data []byte) *fault {
	var raw json.RawMessage
	err := json.Unmarshal(data, &raw)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return &fault{message: "is not valid JSON: " + syntax.Error(), offset: int(syntax.Offset) - 1} // it counts the bytes read
	}
	return &fault{message: "is not valid JSON", offset: -1}
}

// A reader builds values from a text that is known to be valid JSON, so it can
// find its way by first characters alone. Values are parts of the text where
// possible, not copies.
type reader struct {
	text string
	pos  int
}

func (r *reader) value(depth int) (any, *fault) {
	switch r.next() {
	case '{':
		if depth == maxDepth {
			return nil, r.tooDeep()
		}
		return r.object(depth + 1)
	case '[':
		if depth == maxDepth {
			return nil, r.tooDeep()
		}
		return r.array(depth + 1)
	case '"':
		return r.str(), nil
	case 't':
		r.pos += len("true")
		return true, nil
	case 'f':
		r.pos += len("false")
		return false, nil
	case 'n':
		r.pos += len("null")
		return nil, nil
	default:
		return r.number()
	}
}

// next skips white space and returns the character there without taking it.
func (r *reader) next() byte {
	for {
		switch c := r.text[r.pos]; c {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return c
		}
	}
}

func (r *reader) tooDeep() *fault {
	return &fault{message: fmt.Sprintf("is nested deeper than %d levels", maxDepth), offset: r.pos}
}

func (r *reader) object(depth int) (any, *fault) {
	members := map[string]any{}
	r.pos++ // {
	for r.next() != '}' {
		if r.text[r.pos] == ',' {
			r.pos++
			r.next()
		}
		at := r.pos
		key := r.str()
		if _, twice := members[key]; twice {
			return nil, &fault{path: []string{key}, message: "is given twice", offset: at}
		}
		r.next() // the colon
		r.pos++
		v, f := r.value(depth)
		if f != nil {
			f.path = append(f.path, key)
			return nil, f
		}
		members[key] = v
	}
	r.pos++
	return members, nil
}

func (r *reader) array(depth int) (any, *fault) {
	items := []any{}
	r.pos++ // [
	for r.next() != ']' {
		if r.text[r.pos] == ',' {
			r.pos++
		}
		v, f := r.value(depth)
		if f != nil {
			f.path = append(f.path, strconv.Itoa(len(items)))
			return nil, f
		}
		items = append(items, v)
	}
	r.pos++
	return items, nil
}

func (r *reader) str() string {
	start := r.pos
	r.pos++
	escaped := false
	for {
		switch r.text[r.pos] {
		case '\\':
			escaped = true
			r.pos += 2
		case '"':
			r.pos++
			if !escaped {
				return r.text[start+1 : r.pos-1]
			}
			var s string
			if err := json.Unmarshal([]byte(r.text[start:r.pos]), &s); err != nil {
				panic("decode a string that was found valid: " + err.Error())
			}
			return s
		default:
			r.pos++
		}
	}
}

func (r *reader) number() (any, *fault) {
	start := r.pos
	for r.pos < len(r.text) && inNumber(r.text[r.pos]) {
		r.pos++
	}
	text := r.text[start:r.pos]
	if !bounded(text) {
		return nil, &fault{
			message: fmt.Sprintf("is a number out of bounds: use at most %d characters and an exponent from -%d to %d", maxNumber, maxExponent, maxExponent),
			offset:  start,
		}
	}
	return json.Number(text), nil
}

func inNumber(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E'
}

func bounded(number string) bool {
	if len(number) > maxNumber {
		return false
	}
	e := strings.IndexAny(number, "eE")
	if e < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[e+1:]) // fails when out of range
	return err == nil && exponent >= -maxExponent && exponent <= maxExponent
}

// position turns an offset into the line and column of a file, for people.
func position(data []byte, offset int) string {
	offset = max(0, min(offset, len(data)))
	before := data[:offset]
	line := 1 + bytes.Count(before, []byte("\n"))
	return fmt.Sprintf("line %d, column %d", line, offset-bytes.LastIndexByte(before, '\n'))
}
