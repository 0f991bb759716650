package jfrog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jetpost/jetpost/internal/subscription/strict"
)

// A member is one of a JSON object, its value as it was sent.
type member = strict.Member

// members are those of a JSON object, in the order of names and then in theirs.
func members(raw json.RawMessage, names []string) ([]member, error) {
	found, err := strict.Object(raw)
	if err != nil {
		return nil, err
	}
	place := func(m member) int {
		if i := slices.Index(names, m.Name); i >= 0 {
			return i
		}
		return len(names)
	}
	slices.SortStableFunc(found, func(a, b member) int { return place(a) - place(b) })
	return found, nil
}

// object writes a JSON object of members as they are, without white space.
func object(ms []member) json.RawMessage {
	b := []byte{'{'}
	for i, m := range ms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, encode(m.Name)...), ':')
		b = append(b, compact(m.Value)...)
	}
	return append(b, '}')
}

func array(elements []json.RawMessage) json.RawMessage {
	b := []byte{'['}
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, compact(e)...)
	}
	return append(b, ']')
}

// compact leaves out white space, and nothing else is changed.
func compact(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw // it was read before
	}
	return b.Bytes()
}

func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || string(raw) == "null"
}

// text reads a string; null is none.
func text(raw json.RawMessage, field string, found *problems) string {
	var s string
	if !isNull(raw) && json.Unmarshal(raw, &s) != nil {
		found.add(field, "must be a string")
	}
	return s
}

// flag reads a boolean; null is false.
func flag(raw json.RawMessage, field string, found *problems) bool {
	var b bool
	if !isNull(raw) && json.Unmarshal(raw, &b) != nil {
		found.add(field, "must be true or false")
	}
	return b
}

// list reads an array; null is an empty one.
func list(raw json.RawMessage, field string, found *problems) []json.RawMessage {
	var l []json.RawMessage
	if !isNull(raw) && json.Unmarshal(raw, &l) != nil {
		found.add(field, "must be an array")
	}
	return l
}

// entries is list with at most a number of elements: what is done for each of them must
// not add up.
func entries(raw json.RawMessage, field string, most int, found *problems) []json.RawMessage {
	l := list(raw, field, found)
	if len(l) > most {
		found.add(field, fmt.Sprintf("has more than %d entries", most))
		l = l[:most]
	}
	return l
}

// clip bounds what a message quotes.
func clip(s string) string {
	const limit = 80
	if len(s) <= limit {
		return s
	}
	return string(bytes.ToValidUTF8([]byte(s[:limit]), nil)) + "…"
}
