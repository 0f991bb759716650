package redact

import (
	"bytes"
	"html"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A view is a text that was decoded, with where each of its bytes comes from. The
// source itself is one without spans.
type view struct {
	text  []byte
	spans []span // of the source, for each byte
	// binary: it was in base64, or never, so that most of it means nothing.
	binary bool
}

// A span is a part of the source.
type span struct{ begin, end int32 }

func newSpan(begin, end int) span {
	return span{int32(begin), int32(end)} //nolint:gosec // no text is longer than an answer
}

func newView(size int, binary bool) *view {
	return &view{text: make([]byte, 0, size), spans: make([]span, 0, size), binary: binary}
}

// source is the part of the source that text[from:to] was decoded from.
func (v *view) source(from, to int) span {
	if v.spans == nil {
		return newSpan(from, to)
	}
	return span{v.spans[from].begin, v.spans[to-1].end}
}

// add appends what a part of the source was decoded to.
func (v *view) add(source span, decoded string) {
	v.text = append(v.text, decoded...)
	spans := v.spans
	for range len(decoded) {
		spans = append(spans, source)
	}
	v.spans = spans
}

// copy appends bytes of another view as they are.
func (v *view) copy(of *view, from, to int) {
	v.text = append(v.text, of.text[from:to]...)
	if of.spans != nil {
		v.spans = append(v.spans, of.spans[from:to]...)
		return
	}
	spans := v.spans
	for at := from; at < to; at++ {
		spans = append(spans, newSpan(at, at+1))
	}
	v.spans = spans
}

// A decoder returns what a view decodes to, or nil when there is nothing in it to be
// decoded. shortest is the length of the shortest secret.
type decoder func(v *view, shortest int) *view

var decoders = []decoder{
	unescape('\\', backslash), unescape('%', percent), unescape('&', entity),
	inBase64(0), inBase64(1), inBase64(2), inBase64(3),
}

// unescape decodes escapes that begin with one character. Everything else stays as it
// is, also what begins like one.
func unescape(start byte, read func([]byte) (decoded string, size int)) decoder {
	return func(v *view, _ int) *view {
		var out *view
		copied := 0
		for at := 0; at < len(v.text); {
			next := bytes.IndexByte(v.text[at:], start)
			if next < 0 {
				break
			}
			at += next
			decoded, size := read(v.text[at:])
			if size == 0 {
				at++
				continue
			}
			if out == nil {
				out = newView(len(v.text), v.binary)
			}
			out.copy(v, copied, at)
			out.add(v.source(at, at+size), decoded)
			at += size
			copied = at
		}
		if out != nil {
			out.copy(v, copied, len(v.text))
		}
		return out
	}
}

// backslash reads an escape of JSON, Go, JavaScript or C.
func backslash(text []byte) (decoded string, size int) {
	if len(text) < 2 {
		return "", 0
	}
	const letters, meant = `abfnrtv"'\/`, "\a\b\f\n\r\t\v\"'\\/"
	c := text[1]
	if i := strings.IndexByte(letters, c); i >= 0 {
		return meant[i : i+1], 2
	}
	switch {
	case c == 'x':
		if n, ok := digits(text[2:], 2, 16); ok {
			return string([]byte{byte(n)}), 4 //nolint:gosec // two hexadecimal digits
		}
	case c == 'u':
		return unicodeEscape(text)
	case c == 'U':
		if n, ok := digits(text[2:], 8, 16); ok && n <= unicode.MaxRune {
			return string(n), 10
		}
	case c >= '0' && c <= '3':
		if n, ok := digits(text[1:], 3, 8); ok {
			return string([]byte{byte(n)}), 4 //nolint:gosec // at most 0377
		}
	}
	return "", 0
}

// unicodeEscape reads \u0041, \ud83d\ude00 and \u{1f600}.
func unicodeEscape(text []byte) (decoded string, size int) {
	if len(text) > 2 && text[2] == '{' {
		end := bytes.IndexByte(text[:min(len(text), 12)], '}')
		if end < 4 {
			return "", 0
		}
		if n, ok := digits(text[3:], end-3, 16); ok {
			return string(n), end + 1
		}
		return "", 0
	}
	high, ok := digits(text[2:], 4, 16)
	if !ok {
		return "", 0
	}
	if high >= 0xd800 && high < 0xdc00 && len(text) >= 12 && text[6] == '\\' && text[7] == 'u' {
		if low, ok := digits(text[8:], 4, 16); ok && low >= 0xdc00 && low < 0xe000 {
			return string(0x10000 + (high-0xd800)<<10 + (low - 0xdc00)), 12
		}
	}
	return string(high), 6
}

// digits reads exactly n digits.
func digits(text []byte, n int, base rune) (value rune, ok bool) {
	if len(text) < n {
		return 0, false
	}
	for _, c := range text[:n] {
		d := digit(c)
		if d < 0 || d >= base || value > unicode.MaxRune {
			return 0, false
		}
		value = value*base + d
	}
	return value, true
}

func digit(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// percent reads %2F. The + of forms needs no decoding: see fold.
func percent(text []byte) (decoded string, size int) {
	if len(text) < 3 {
		return "", 0
	}
	n, ok := digits(text[1:], 2, 16)
	if !ok {
		return "", 0
	}
	return string([]byte{byte(n)}), 3 //nolint:gosec // two hexadecimal digits
}

// unpercent decodes what is percent-encoded in text. A percent sign that encodes nothing
// stands for itself, as receivers read it.
func unpercent(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if decoded, size := percent([]byte(text[i:min(i+3, len(text))])); text[i] == '%' && size > 0 {
			b.WriteString(decoded)
			i += size
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// maxEntity is how long an entity of HTML can be: the longest name has 32 characters.
const maxEntity = 34

// entity reads &amp;, &#38; and &#x26;.
func entity(text []byte) (decoded string, size int) {
	end := 1
	for end < min(len(text), maxEntity) && (text[end] == '#' || text[end] < 0x80 && alphanumeric(text[end])) {
		end++
	}
	if end == len(text) || text[end] != ';' {
		return "", 0
	}
	if text[1] == '#' {
		number, base := text[2:end], rune(10)
		if len(number) > 0 && number[0]|' ' == 'x' {
			number, base = number[1:], 16
		}
		n, ok := digits(number, len(number), base)
		if !ok || len(number) == 0 {
			return "", 0
		}
		return string(n), end + 1
	}
	whole := string(text[:end+1])
	plain := html.UnescapeString(whole)
	if plain == whole {
		return "", 0
	}
	return plain, end + 1
}

// base64Value is what a character of either alphabet stands for; -1: it is in none.
var base64Value = func() (values [256]int8) {
	for i := range values {
		values[i] = -1
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		values[c] = int8(i) //nolint:gosec // 64 of them
	}
	values['-'], values['_'] = values['+'], values['/']
	return values
}()

// inBase64 decodes every run of characters that may be base64, as if its first phase
// characters were something else: encoded text follows other letters without a gap. Line
// ends do not end a run. What was decoded is binary, and a NUL stands between two runs.
func inBase64(phase int) decoder {
	return func(v *view, shortest int) *view {
		var out *view
		needed := (shortest*4 + 2) / 3
		for at := 0; at < len(v.text); {
			if base64Value[v.text[at]] < 0 {
				at++
				continue
			}
			end, n := runOf(v.text, at)
			if n-phase >= needed {
				if out == nil {
					out = newView(len(v.text), true)
				} else {
					out.add(v.source(at, at+1), "\x00")
				}
				out.addRun(v, at, end, phase)
			}
			at = end
		}
		return out
	}
}

// runOf returns the end of the run that begins at a place, and how many characters of
// the alphabet it has.
func runOf(text []byte, at int) (end, n int) {
	end = at
	for ; at < len(text); at++ {
		switch c := text[at]; {
		case base64Value[c] >= 0:
			n, end = n+1, at+1
		case c != '\n' && c != '\r':
			return end, n
		}
	}
	return end, n
}

// addRun decodes a run but for its first skip characters.
func (v *view) addRun(of *view, at, end, skip int) {
	var bits uint32
	held, last := 0, 0 // bits not written yet, and where the character before stands
	for ; at < end; at++ {
		value := base64Value[of.text[at]]
		if value < 0 {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		bits, held = bits<<6|uint32(value), held+6 //nolint:gosec // not negative
		if held >= 8 {
			held -= 8
			v.add(of.source(last, at+1), string([]byte{byte(bits >> held)}))
		}
		last = at
	}
}

// decodable is what of a view may be encoded again. Of a binary one that is what is
// text, which keeps what means nothing from being decoded again and again.
func (v *view) decodable(shortest int) *view {
	if !v.binary {
		return v
	}
	out := newView(len(v.text), true)
	begin := 0
	flush := func(at int) {
		if at-begin >= shortest {
			out.copy(v, begin, at)
			out.add(v.source(at-1, at), "\x00")
		}
	}
	for at := 0; at < len(v.text); {
		r, size := utf8.DecodeRune(v.text[at:])
		if r == utf8.RuneError && size <= 1 || r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			flush(at)
			begin = at + size
		}
		at += size
	}
	flush(len(v.text))
	return out
}
