package stream

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// EncodeHeaderValue writes an attribute value as both the HTTP and the NATS
// protocol binding of CloudEvents ask for: space, double quote, percent and all
// outside U+0021 to U+007E become the %XX of their UTF-8 bytes.
func EncodeHeaderValue(value string) string {
	escapes := 0
	for i := range len(value) {
		if needsEscape(value[i]) {
			escapes++
		}
	}
	if escapes == 0 {
		return value
	}
	b := make([]byte, 0, len(value)+2*escapes)
	for i := range len(value) {
		if c := value[i]; needsEscape(c) {
			b = append(b, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func needsEscape(c byte) bool { return c <= ' ' || c > '~' || c == '"' || c == '%' }

var errEscape = errors.New("a percent sign is not followed by two hexadecimal digits")

// DecodeHeaderValue reads such a value: it undoes a double-quoted string with
// backslash escapes, then exactly one round of percent-encoding. Lower-case hex
// and needless escapes are accepted; a result that is not UTF-8 is an error.
func DecodeHeaderValue(value string) (string, error) {
	if strings.HasPrefix(value, `"`) {
		unquoted, err := unquoteHeader(value)
		if err != nil {
			return "", err
		}
		value = unquoted
	}
	if strings.IndexByte(value, '%') < 0 {
		if !utf8.ValidString(value) {
			return "", errors.New("is not valid UTF-8")
		}
		return value, nil
	}
	b := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		c := value[i]
		if c == '%' {
			if i+2 >= len(value) {
				return "", errEscape
			}
			high, low := unhex(value[i+1]), unhex(value[i+2])
			if high < 0 || low < 0 {
				return "", errEscape
			}
			c = byte(high<<4 | low)
			i += 2
		}
		b = append(b, c)
	}
	if !utf8.Valid(b) {
		return "", errors.New("is not valid UTF-8 after percent-decoding")
	}
	return string(b), nil
}

func unquoteHeader(value string) (string, error) {
	if len(value) < 2 || value[len(value)-1] != '"' {
		return "", errors.New("opens a double quote and does not close it")
	}
	inner := value[1 : len(value)-1]
	b := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '\\':
			i++
			if i == len(inner) {
				return "", errors.New("ends inside a backslash escape")
			}
		case '"':
			return "", errors.New("has a double quote inside a quoted string")
		}
		b = append(b, inner[i])
	}
	return string(b), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// headerError says which header of a message cannot be read. The value is left
// out: an attribute may be anything.
func headerError(name string, err error) error {
	return fmt.Errorf("%w: header %s %w", ErrInvalidEvent, name, err)
}
