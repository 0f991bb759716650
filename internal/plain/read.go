// Package plain is where text passes between people and the program: it reads the files
// that people edit, and makes text that strangers wrote fit for a terminal.
package plain

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrUTF16 says that a text is in an encoding that some editors choose by themselves.
var ErrUTF16 = errors.New("it is UTF-16 or UTF-32 text: save it as UTF-8")

// Mark is the byte order mark that some editors write at the beginning of a file.
const Mark = "\uFEFF"

// Text is the text of a file that a person has edited, without a byte order mark. UTF-16
// is refused: no reader behind this one would say what is wrong.
func Text(content []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(content, []byte{0xff, 0xfe}), bytes.HasPrefix(content, []byte{0xfe, 0xff}):
		return nil, ErrUTF16
	case len(content) > 1 && (content[0] == 0) != (content[1] == 0): // no mark: what begins with ASCII has a NUL in every pair
		return nil, ErrUTF16
	case len(content) > 3 && content[0] == 0 && content[1] == 0 && (content[2] == 0xfe || content[2] == 0 && content[3] != 0):
		return nil, ErrUTF16
	}
	return bytes.TrimPrefix(content, []byte(Mark)), nil
}

// ReadFile is Text of a file. Its error names the file.
func ReadFile(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err := Text(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// Lines is a text whose lines end as they do everywhere but on Windows.
func Lines(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// ReadValue reads a file with one value, as a secret: without the end of its last line.
func ReadValue(path string) (string, error) {
	text, err := ReadFile(path)
	return strings.TrimRight(string(text), "\r\n"), err
}

// SecretProblem reports why a text is hardly the intended secret: it begins or
// ends with what cannot be seen, or has a control character in it. Empty: it may be one.
// It does not show the text.
func SecretProblem(secret string) string {
	if secret == "" {
		return ""
	}
	if !utf8.ValidString(secret) {
		return "is not valid UTF-8: save it as UTF-8 text, or encode it, as in base64"
	}
	first, _ := utf8.DecodeRuneInString(secret)
	last, _ := utf8.DecodeLastRuneInString(secret)
	switch {
	case unseen(first):
		return "begins with " + named(first) + ", which is hardly part of it: remove it"
	case unseen(last):
		return "ends with " + named(last) + ", which is hardly part of it: remove it"
	}
	if i := strings.IndexFunc(secret, unicode.IsControl); i >= 0 {
		r, _ := utf8.DecodeRuneInString(secret[i:])
		return "has " + named(r) + " in it: a secret is one line of text without control characters"
	}
	return ""
}

func unseen(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }

func named(r rune) string {
	switch {
	case r == ' ':
		return "a space"
	case r == '\t':
		return "a tab"
	case r == '\n' || r == '\r':
		return "a line end"
	case r == '\uFEFF':
		return "a byte order mark (U+FEFF)"
	case unicode.IsSpace(r):
		return fmt.Sprintf("white space (U+%04X)", r)
	case unicode.IsControl(r):
		return fmt.Sprintf("the control character U+%04X", r)
	}
	return fmt.Sprintf("the invisible character U+%04X", r)
}
