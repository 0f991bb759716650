// Package wording names places and values of schemas and of data, as problems with them do:
// bounded, so that a hostile document cannot make a long message.
package wording

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"
)

// Bounds of a problem, so that a hostile event cannot make a long one.
const (
	MaxProblems = 20  // problems that are listed, more are counted
	MaxField    = 256 // bytes of a field
)

// Pointer writes a path as a JSON pointer. A path with an overlong name is cut:
// it can no longer be followed, but it can still be read.
func Pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1"))
		if b.Len() > MaxField {
			return Cut(b.String()) + "…"
		}
	}
	return b.String()
}

// Cut shortens s to at most MaxField bytes, between characters.
func Cut(s string) string {
	if len(s) <= MaxField {
		return s
	}
	n := MaxField
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Show writes a value of a schema as JSON.
func Show(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("a certain %T", v)
	}
	return string(text)
}

// Number is a number as a person writes it, to six places.
func Number(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	return r.FloatString(6)
}

// List joins names, as many as a person wants to read.
func List(names []string) string {
	const most = 20
	if len(names) == 0 {
		return "none"
	}
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Address is the name under which the compiler knows a file. Nothing can be
// fetched from it.
func Address(file string) string { return Scheme + file }

// Scheme is what addresses begin with.
const Scheme = "jetpost:///"
