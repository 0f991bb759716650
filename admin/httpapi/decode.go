package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/jetpost/jetpost/internal/subscription/strict"
)

// numberMessage says why a number is none of a type of Go.
func numberMessage(t reflect.Type, number string) string {
	switch {
	case t.Kind() != reflect.Float64 && !isWhole(number):
		return "must be a whole number, not " + Clip(number)
	case t.Kind() == reflect.Uint64 && number[0] == '-':
		return "must not be negative"
	}
	return "is out of range"
}

// Decode reads a small body: only fields of v, each of its type and once.
// No body leaves v as it is.
func Decode(b []byte, v any) error {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	if _, err := strict.Value(b); err != nil {
		return NewProblem(http.StatusBadRequest, "the body "+err.Error())
	}
	b, err := readTimes(b, reflect.TypeOf(v).Elem())
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err = dec.Decode(v); err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*instantError](err); ok {
		return Invalid(wrong.field(b), wrong.message)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // its text shows no value but numbers
		if number, ok := strings.CutPrefix(wrong.Value, "number "); ok && jsonWord(wrong.Type) == "number" {
			return Invalid(jsonPath(wrong.Field), numberMessage(wrong.Type, number))
		}
		return Invalid(jsonPath(wrong.Field), "must be a "+jsonWord(wrong.Type)+", not a "+wrong.Value)
	}
	return Invalid("", strings.TrimPrefix(err.Error(), "json: "))
}

// jsonPath takes the names of embedded Go types out of the path to a field: a client does
// not know them.
func jsonPath(field string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(field, "."), func(name string) bool {
		return name != "" && unicode.IsUpper(rune(name[0]))
	}), ".")
}

// Clip shortens what comes from outside, for messages and records.
func Clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
