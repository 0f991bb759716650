package event

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

// DecodeHeaderValue reads such a value: it undoes a double-quoted string with
// backslash escapes, then exactly one round of percent-encoding. Lower-case hex
// and needless escapes are accepted. Senders that do not encode at all are common
// (the CloudEvents SDKs for Go and JavaScript): a percent sign that two hexadecimal
// digits do not follow, and a double quote that does not begin a quoted string, stand
// for themselves. Only what does not decode to UTF-8 is an error.
func DecodeHeaderValue(value string) (string, error) {
	if unquoted, ok := unquoteHeader(value); ok {
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
		if c == '%' && i+2 < len(value) {
			if high, low := unhex(value[i+1]), unhex(value[i+2]); high >= 0 && low >= 0 {
				c = byte(high<<4 | low)
				i += 2
			}
		}
		b = append(b, c)
	}
	if !utf8.Valid(b) {
		return "", errors.New("is not valid UTF-8 after percent-decoding")
	}
	return string(b), nil
}

// unquoteHeader undoes a quoted string (RFC 9110, section 5.6.4). ok is false for what
// is not one as a whole.
func unquoteHeader(value string) (unquoted string, ok bool) {
	if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	b := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '\\':
			i++
			if i == len(inner) { // the last quote is escaped
				return "", false
			}
		case '"':
			return "", false
		}
		b = append(b, inner[i])
	}
	return string(b), true
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
