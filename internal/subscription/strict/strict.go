// Package strict reads JSON as it was written, where encoding/json is lenient: a name
// that comes twice is an error, since readers disagree about which one counts, and
// nothing may follow the end.
//
// Its errors say what is wrong without the name of what was read: "is not valid JSON:
// it ends too early". They quote names, never values, which may be secrets.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A Member of an object, its value as it was written.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Object returns the members of a JSON object, in their order.
func Object(raw json.RawMessage) ([]Member, error) {
	var members []Member
	seen := make(map[string]bool)
	err := walk(raw, '{', "an object", func(dec *json.Decoder) error {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		m := Member{Name: name.(string)} // a key is nothing else
		if seen[m.Name] {
			return twice(m.Name)
		}
		seen[m.Name] = true
		if err := dec.Decode(&m.Value); err != nil {
			return err
		}
		members = append(members, m)
		return nil
	})
	return members, err
}

// Array returns the elements of a JSON array.
func Array(raw json.RawMessage) ([]json.RawMessage, error) {
	var elements []json.RawMessage
	err := walk(raw, '[', "an array", func(dec *json.Decoder) error {
		var element json.RawMessage
		if err := dec.Decode(&element); err != nil {
			return err
		}
		elements = append(elements, element)
		return nil
	})
	return elements, err
}

// walk calls each for everything in an object or array.
func walk(raw json.RawMessage, open json.Delim, want string, each func(*json.Decoder) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	token, err := dec.Token()
	if err != nil {
		return syntaxError(err)
	}
	if token != open {
		return fmt.Errorf("must be %s, not %s", want, Kind(raw))
	}
	for dec.More() {
		if err := each(dec); err != nil {
			return syntaxError(err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return syntaxError(err)
	}
	return end(dec)
}

// maxDepth bounds the nesting of what Value reads.
const maxDepth = 32

// Value reads all of b as map[string]any, []any and what is in them. Numbers are a
// json.Number and keep their digits.
func Value(b []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	value, err := decodeValue(dec, 1)
	if err != nil {
		return nil, syntaxError(err)
	}
	return value, end(dec)
}

func decodeValue(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("is nested deeper than %d levels", maxDepth)
	}
	if delimiter == '[' {
		elements := []any{}
		for dec.More() {
			element, err := decodeValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			elements = append(elements, element)
		}
		_, err = dec.Token()
		return elements, err
	}
	members := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // the key of an object is always a string
		if _, exists := members[name]; exists {
			return nil, twice(name)
		}
		if members[name], err = decodeValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return members, err
}

func end(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("has something after its end")
	}
	return nil
}

func twice(name string) error {
	const limit = 80 // of what a message quotes
	if len(name) > limit {
		name = string(bytes.ToValidUTF8([]byte(name[:limit]), nil)) + "…"
	}
	return fmt.Errorf("has %q twice", name)
}

func syntaxError(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("is not valid JSON: %w at byte %d", err, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is not valid JSON: it ends too early")
	default:
		return err
	}
}

// Kind names the kind of a JSON value by its beginning: "an object", "null".
func Kind(raw json.RawMessage) string {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}
