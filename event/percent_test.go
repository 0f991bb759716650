package event_test

import (
	"testing"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
)

// The table of the CloudEvents HTTP and NATS bindings, as far as they give one,
// and a character on each side of every boundary of their rule.
func TestEncodeHeaderValue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"words, a currency sign and an emoji", "Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"},
		{"a percent sign", "a b 100%", "a%20b%20100%25"},
		{"double quotes", `say "hi"`, "say%20%22hi%22"},
		{"nothing to do", "https://example.com/a?b=c#d", "https://example.com/a?b=c#d"},
		{"empty", "", ""},
		{"the first character that stays", "!", "!"},
		{"the last character that stays", "~", "~"},
		{"the character behind it", "\x7f", "%7F"},
		{"what is already encoded is encoded again", "a%20b", "a%2520b"},
		{"a backslash stays", `a\b`, `a\b`},
		{"line breaks cannot make a header", "a\r\nce-id: b", "a%0D%0Ace-id:%20b"},
		{"spaces at the ends survive the trimming of headers", " a ", "%20a%20"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := event.EncodeHeaderValue(tt.value); got != tt.want {
				t.Errorf("encode %q: got %q, want %q", tt.value, got, tt.want)
			}
			got, err := event.DecodeHeaderValue(tt.want)
			if err != nil || got != tt.value {
				t.Errorf("decode %q: got %q, %v, want %q", tt.want, got, err, tt.value)
			}
		})
	}
}

func TestDecodeHeaderValue(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value, want string }{
		{"lower-case hex", "Euro%20%e2%82%ac", "Euro €"},
		{"needless escapes", "%61%62c", "abc"},
		{"one round only", "a%2520b", "a%20b"},
		{"what other clients leave raw", "Euro € 😀", "Euro € 😀"},
		{"a quoted string", `"a b"`, "a b"},
		{"an empty quoted string", `""`, ""},
		{"backslash escapes in a quoted string", `"say \"hi\" \\ \x"`, `say "hi" \ x`},
		{"escapes inside a quoted string", `"a%20%22b%22"`, `a "b"`},
		{"a backslash cannot hide an escape", `"\%41"`, "A"},
		{"a quote that does not open the value", `a"b`, `a"b`},
		{"a backslash without quotes", `a\"b`, `a\"b`},

		// What senders do that do not encode.
		{"a percent sign at the end", "100%", "100%"},
		{"a percent sign alone", "%", "%"},
		{"a percent sign before one digit", "100%2", "100%2"},
		{"a percent sign before letters that are no digits", "100%zz", "100%zz"},
		{"a percent sign before a digit and another letter", "%2g", "%2g"},
		{"a percent sign before an escape", "%%20", "% "},
		{"a percent sign between escapes", "a%20%b%20%", "a %b %"},
		{"a percent sign beside raw letters", "größe 100 % – 5%", "größe 100 % – 5%"},
		{"a percent sign in a quoted string", `"100%"`, "100%"},
		{"a quote that opens and does not close", `"abc`, `"abc`},
		{"a single quote", `"`, `"`},
		{"a closing quote that is escaped", `"abc\"`, `"abc\"`},
		{"a quoted string with something behind it", `"a"b"`, `"a"b"`},
		{"a quoted word at the beginning", `"a" b`, `"a" b`},
		{"a quoted word at the beginning, with an escape behind", `"a"%20b`, `"a" b`},
		{"two quoted words", `"a" "b"`, `"a" "b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.DecodeHeaderValue(tt.value)
			if err != nil || got != tt.want {
				t.Errorf("decode %q: got %q, %v, want %q", tt.value, got, err, tt.want)
			}
		})
	}
}

func TestDecodeHeaderValueRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, value string }{
		{"an overlong form of a space", "%C0%A0"},
		{"half of a character", "%E2%82"},
		{"a surrogate", "%ED%A0%80"},
		{"raw bytes that are not UTF-8", "a\xffb"},
		{"raw bytes that are not UTF-8, beside an escape", "a\xff%20"},
		{"half of a character before a percent sign", "%E2%82%"},
		{"bytes that are not UTF-8 beside a percent sign", "100%\xff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got, err := event.DecodeHeaderValue(tt.value); err == nil {
				t.Errorf("decode %q: got %q, want an error", tt.value, got)
			}
		})
	}
}

func FuzzHeaderValue(f *testing.F) {
	for _, seed := range []string{"", "a b 100%", `say "hi"`, "Euro € 😀", "%C0%A0", `"a\"b"`, "%", "a%2", "\xff", `"\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if got, err := event.DecodeHeaderValue(value); err == nil && !utf8.ValidString(got) {
			t.Errorf("decode %q: got %q, which is not UTF-8", value, got)
		}
		encoded := event.EncodeHeaderValue(value)
		for i := range len(encoded) {
			if c := encoded[i]; c <= ' ' || c > '~' || c == '"' {
				t.Fatalf("encode %q: got %q with byte %#x in it", value, encoded, c)
			}
		}
		got, err := event.DecodeHeaderValue(encoded)
		if utf8.ValidString(value) && (err != nil || got != value) {
			t.Errorf("decode %q, the encoded %q: got %q, %v", encoded, value, got, err)
		}
		if !utf8.ValidString(value) && err == nil {
			t.Errorf("decode %q, the encoded %q, which is not UTF-8: got %q", encoded, value, got)
		}
	})
}
