package plain

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Visible reports whether a terminal shows a character, and does nothing else with it:
// control characters of ASCII and beyond (C0, DEL, C1), those that change the direction
// of what is around them, separators of lines and paragraphs and all that has no form of
// its own are not visible.
func Visible(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r != 0x7f
	}
	return unicode.IsGraphic(r)
}

// Line is a text in one line with what is not Visible as \uXXXX.
func Line(s string) string {
	if i := hidden(s, false); i < len(s) {
		return string(appendVisible(make([]byte, 0, len(s)+16), s, i, false))
	}
	return s
}

// Escape is a text of several lines with what is not Visible as \uXXXX; line ends and tabs
// stay. Compact or indented JSON stays JSON with the same values: outside of its strings
// it has nothing else that is not visible, and in them \uXXXX stands for the character
// (invalid UTF-8 is \ufffd, as its readers take it).
func Escape(s string) string {
	if i := hidden(s, true); i < len(s) {
		return string(appendVisible(make([]byte, 0, len(s)+16), s, i, true))
	}
	return s
}

// EscapeBytes is Escape. Where there is nothing to do it returns what it was given.
func EscapeBytes(text []byte) []byte {
	if clean(text) {
		return text
	}
	return []byte(Escape(string(text)))
}

// Rune is a character as Line has it.
func Rune(r rune) string {
	if Visible(r) {
		return string(r)
	}
	return string(appendEscape(nil, r))
}

// clean spares a copy of what is ASCII, as nearly all is.
func clean(text []byte) bool {
	for _, c := range text {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// hidden is where the first character is that is not visible.
func hidden(s string, lines bool) int {
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if stays(r, size, lines) {
			i += size
			continue
		}
		return i
	}
	return len(s)
}

func stays(r rune, size int, lines bool) bool {
	return Visible(r) && (r != utf8.RuneError || size > 1) || lines && (r == '\n' || r == '\t')
}

// appendVisible appends s, of which all before from is visible.
func appendVisible(b []byte, s string, from int, lines bool) []byte {
	b = append(b, s[:from]...)
	for i := from; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if stays(r, size, lines) {
			b = append(b, s[i:i+size]...)
		} else {
			b = appendEscape(b, r)
		}
		i += size
	}
	return b
}

// appendEscape appends a character as JSON writes it: two halves for one beyond U+FFFF.
func appendEscape(b []byte, r rune) []byte {
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendEscape(appendEscape(b, high), low)
	}
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// Clean reports whether a terminal can be given a text as it is.
func Clean(s string) bool { return hidden(s, true) == len(s) }

// style is how long the beginning of s is that the program itself sends to a terminal: a
// colour, or to write a line again.
func style(s string) int {
	if rest, ok := strings.CutPrefix(s, "\r\x1b[K"); ok {
		return len(s) - len(rest)
	}
	rest, ok := strings.CutPrefix(s, "\x1b[")
	if !ok {
		return 0
	}
	digits := 0
	for digits < len(rest) && digits < 2 && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if digits > 0 && digits < len(rest) && rest[digits] == 'm' {
		return 2 + digits + 1
	}
	return 0
}
