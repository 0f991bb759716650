package plain_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/plain"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, line, escaped string }{
		{"", "", ""},
		{"plain é 漢字 🙂 a\u3000b", "plain é 漢字 🙂 a\u3000b", "plain é 漢字 🙂 a\u3000b"},
		{"a\tb\nc", `a\u0009b\u000ac`, "a\tb\nc"},
		{"a\rb\x00\x07\x08\x1b[31m\x7f", `a\u000db\u0000\u0007\u0008\u001b[31m\u007f`, `a\u000db\u0000\u0007\u0008\u001b[31m\u007f`},
		{"\u0080\u0085\u009b31m\u009f", `\u0080\u0085\u009b31m\u009f`, `\u0080\u0085\u009b31m\u009f`},
		{"\u200e\u200f\u061c", `\u200e\u200f\u061c`, `\u200e\u200f\u061c`},
		{"\u202a\u202b\u202c\u202d\u202e", `\u202a\u202b\u202c\u202d\u202e`, `\u202a\u202b\u202c\u202d\u202e`},
		{"\u2066\u2067\u2068\u2069", `\u2066\u2067\u2068\u2069`, `\u2066\u2067\u2068\u2069`},
		{"a\u2028b\u2029c\ufeffd\u200be\u00ad", `a\u2028b\u2029c\ufeffd\u200be\u00ad`, `a\u2028b\u2029c\ufeffd\u200be\u00ad`},
		{"a\xffb\xc2", `a\ufffdb\ufffd`, `a\ufffdb\ufffd`},
		{"a\ufffdb", "a\ufffdb", "a\ufffdb"}, // it was one already
		{"\U000e0041\U0010ffff", `\udb40\udc41\udbff\udfff`, `\udb40\udc41\udbff\udfff`},
	} {
		if got := plain.Line(c.in); got != c.line {
			t.Errorf("Line(%q): got %q, want %q", c.in, got, c.line)
		}
		if got := plain.Escape(c.in); got != c.escaped {
			t.Errorf("Escape(%q): got %q, want %q", c.in, got, c.escaped)
		}
		if got := string(plain.EscapeBytes([]byte(c.in))); got != c.escaped {
			t.Errorf("EscapeBytes(%q): got %q, want %q", c.in, got, c.escaped)
		}
		if got := plain.Clean(c.in); got != (c.in == c.escaped) {
			t.Errorf("Clean(%q): got %v", c.in, got)
		}
	}
}

// What a terminal obeys is named here by itself, so that it does not depend on what
// Visible asks the tables of Unicode.
func obeyed(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		r == 0x200e || r == 0x200f || r == 0x061c || r == 0x2028 || r == 0x2029
}

func TestNothingObeyedIsVisible(t *testing.T) {
	t.Parallel()
	for r := range rune(utf8.MaxRune + 1) {
		if obeyed(r) && (plain.Visible(r) || strings.ContainsFunc(plain.Escape(string(r)), obeyed)) {
			t.Errorf("%U passes", r)
		}
	}
}

func TestStyled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"\x1b[31mopen\x1b[0m\n", "\x1b[31mopen\x1b[0m\n"},
		{"\r\x1b[Kpublished 7", "\r\x1b[Kpublished 7"},
		{"\x1b[2J\x1b]0;title\x07", `\u001b[2J\u001b]0;title\u0007`},
		{"\x1b[38;5;1mx\x1b[m\x1b[123m\x1b[3", `\u001b[38;5;1mx\u001b[m\u001b[123m\u001b[3`},
		{"a\rb\u009b31m\u202e", `a\u000db\u009b31m\u202e`},
	} {
		if got := string(plain.Styled([]byte(c.in))); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

// However a text is cut, it comes out as if it were written at once.
func TestWriter(t *testing.T) {
	t.Parallel()
	const text = "é漢🙂\u202e\u009b\x1b[31m\xff\xe6\xbc"
	want := plain.Escape(text)
	for cut := range len(text) {
		var out bytes.Buffer
		w := plain.NewWriter(&out)
		for _, part := range []string{text[:cut], text[cut:]} {
			if n, err := w.Write([]byte(part)); err != nil || n != len(part) {
				t.Fatal(n, err)
			}
		}
		// Two bytes of three come to an end with the text.
		if err := w.Flush(); err != nil || out.String() != want {
			t.Errorf("cut at %d: got %q, want %q (%v)", cut, out.String(), want, err)
		}
	}
	var out bytes.Buffer
	w := plain.NewTerminal(&out)
	_, _ = w.Write([]byte("\x1b[32mok\x1b[0m \x1b[2J\n"))
	if got, want := out.String(), "\x1b[32mok\x1b[0m \\u001b[2J\n"; got != want || w.Unwrap() != &out {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzEscape checks that nothing a terminal obeys is left of any text, that what is
// visible stays, and that JSON has the same value as before.
func FuzzEscape(f *testing.F) {
	for _, text := range []string{"", "a\tb\n", "\x1b[31m", "\u009b", "\u202e", "\xff", "\U000e0041", `{"a\u202e":["\\` + "\u202e" + `"]}`, "\"\u2028\u0085\xc2\""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		escaped, line, styled := plain.Escape(text), plain.Line(text), string(plain.Styled([]byte(text)))
		if !utf8.ValidString(escaped) || strings.ContainsFunc(escaped, obeyed) || !plain.Clean(escaped) || plain.Escape(escaped) != escaped {
			t.Errorf("%q is escaped as %q", text, escaped)
		}
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return obeyed(r) || r == '\n' || r == '\t' }) {
			t.Errorf("%q is the line %q", text, line)
		}
		if !utf8.ValidString(styled) || strings.ContainsFunc(styled, func(r rune) bool { return obeyed(r) && r != '\x1b' && r != '\r' }) {
			t.Errorf("%q is %q with styles", text, styled)
		}
		if plain.Clean(text) && escaped != text {
			t.Errorf("%q is clean and becomes %q", text, escaped)
		}
		for _, document := range []string{text, quoted(text)} {
			var compact bytes.Buffer
			if json.Compact(&compact, []byte(document)) != nil {
				continue
			}
			var was, is any
			err1, err2 := json.Unmarshal(compact.Bytes(), &was), json.Unmarshal(plain.EscapeBytes(compact.Bytes()), &is)
			if (err1 == nil) != (err2 == nil) || !reflect.DeepEqual(was, is) {
				t.Errorf("%q has the value %#v, and escaped %#v (%v, %v)", document, was, is, err1, err2)
			}
		}
	})
}

// quoted is JSON with the characters of a text as they are, where JSON allows it.
func quoted(text string) string {
	text = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
	return `{"` + text + `":["` + text + `"]}`
}
