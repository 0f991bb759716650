package sql

import (
	"strconv"
	"strings"
)

// A kind is a type of the language.
type kind uint8

const (
	text kind = iota
	integer
	boolean
	anything // of an argument that may have any type
)

// A value is what an expression has. Fields of other kinds are zero, so that values
// can be compared with ==.
type value struct {
	kind   kind
	text   string
	number int32
	truth  bool
}

func str(s string) value   { return value{kind: text, text: s} }
func number(n int32) value { return value{kind: integer, number: n} }
func truth(b bool) value   { return value{kind: boolean, truth: b} }
func (k kind) zero() value { return value{kind: k} }

// as casts a value, as the functions STRING, INT and BOOL do.
func (v value) as(k kind) (value, failure) {
	switch {
	case v.kind == k, k == anything:
		return v, 0
	case k == text && v.kind == integer:
		return str(strconv.Itoa(int(v.number))), 0
	case k == text:
		return str(strconv.FormatBool(v.truth)), 0
	case k == integer && v.kind == boolean:
		if v.truth {
			return number(1), 0
		}
		return number(0), 0
	case k == integer:
		n, err := strconv.ParseInt(v.text, 10, 32)
		if err != nil {
			return number(0), castFailure
		}
		return number(int32(n)), 0
	case v.kind == integer:
		return truth(v.number != 0), 0
	}
	switch strings.ToLower(v.text) {
	case "true":
		return truth(true), 0
	case "false":
		return truth(false), 0
	default:
		return truth(false), castFailure
	}
}
