package redact_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/subscription/redact"
)

// An encoding writes a text in another form, and says which part of that has to do with
// text[from:to].
type encoding struct {
	name  string
	write func(text string, from, to int) (encoded string, begin, end int)
}

// each is an encoding of one character after the other.
func each(name string, write func(string) string) encoding {
	return encoding{name, func(text string, from, to int) (string, int, int) {
		before, secret := write(text[:from]), write(text[from:to])
		return before + secret + write(text[to:]), len(before), len(before) + len(secret)
	}}
}

func runes(write func(r rune) string) func(string) string {
	return func(text string) string {
		var out strings.Builder
		for _, r := range text {
			out.WriteString(write(r))
		}
		return out.String()
	}
}

func inBase64(name string, of *base64.Encoding) encoding {
	return encoding{name, func(text string, from, to int) (string, int, int) {
		return of.EncodeToString([]byte(text)), from * 8 / 6, (to*8 + 5) / 6
	}}
}

func inJSON(escapeHTML bool) func(string) string {
	return func(text string) string {
		var out strings.Builder
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(escapeHTML)
		_ = encoder.Encode(text)
		return strings.TrimSuffix(out.String()[1:], "\"\n")
	}
}

func unquoted(quoted string) string { return quoted[1 : len(quoted)-1] }

func encodings() []encoding {
	return []encoding{
		each("plain", func(s string) string { return s }),
		each("json", inJSON(true)),
		each("json without html", inJSON(false)),
		each("json with slashes", func(s string) string { return strings.ReplaceAll(inJSON(false)(s), "/", `\/`) }),
		each("json in ascii", runes(func(r rune) string {
			if r >= 0x10000 {
				r -= 0x10000
				return fmt.Sprintf(`\u%04x\u%04X`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			}
			return fmt.Sprintf(`\u%04x`, r)
		})),
		each("%q", func(s string) string { return unquoted(strconv.Quote(s)) }),
		each("%+q", func(s string) string { return unquoted(strconv.QuoteToASCII(s)) }),
		each("path", url.PathEscape),
		each("form", url.QueryEscape),
		each("percent", func(s string) string {
			var out strings.Builder
			for i := range len(s) {
				fmt.Fprintf(&out, "%%%02x", s[i])
			}
			return out.String()
		}),
		each("html", html.EscapeString),
		each("html in decimal", runes(func(r rune) string { return fmt.Sprintf("&#%d;", r) })),
		each("html in hexadecimal", runes(func(r rune) string { return fmt.Sprintf("&#x%X;", r) })),
		inBase64("base64", base64.StdEncoding),
		inBase64("base64 without padding", base64.RawStdEncoding),
		inBase64("base64url", base64.URLEncoding),
		inBase64("base64url without padding", base64.RawURLEncoding),
	}
}

// around is what may stand beside a secret.
func around() [][2]string {
	return [][2]string{
		{"", ""}, {`{"authorization":"Bearer `, `"}`}, {"user:", ""}, {"GET /?token=", "&v=1"}, {"x", "y"}, {"é ", " ü"}, {"\n\t", "\r\n"}, {`a "`, `" b`},
	}
}

// nested is a secret in two encodings, one inside of the other.
func nested(outer, inner encoding, secret string, near [2]string) (text string, begin, end int) {
	text, begin, end = inner.write(near[0]+secret+near[1], len(near[0]), len(near[0])+len(secret))
	text, begin, end = outer.write(near[0]+text+near[1], len(near[0])+begin, len(near[0])+end)
	return "the answer: " + text + " (end)", begin + len("the answer: "), end + len("the answer: ")
}

const (
	lettersOfTokens = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+="
	lettersOfText   = ` !"#$%&'()*+,-./0123456789:;<=>?@ABCXYZ[\]^_abcxyz{|}~`
	lettersOfWorld  = "äéßøñ→中文字😀🔑 aZ0%&\\\"<"
)

func randomSecret(r *rand.Rand) string {
	letters := []rune([]string{lettersOfTokens, lettersOfText, lettersOfWorld}[r.IntN(3)])
	secret := make([]rune, 6+r.IntN(60))
	for i := range secret {
		secret[i] = letters[r.IntN(len(letters))]
	}
	return string(secret)
}

// maxMore is how much may be struck out beside a secret: where it ends in a backslash,
// what follows can be read in more than one way.
const maxMore = 36

// Nothing of a secret is left, however it is encoded, and nothing else is struck out.
func TestEveryEncoding(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number
	r := rand.New(rand.NewPCG(seed, 1))   //nolint:gosec // a test that can be repeated
	t.Logf("seed %d", seed)
	for range 6 {
		secret := randomSecret(r)
		redactor := redact.New(func(s *redact.Set) { s.Add(secret) })
		for _, outer := range encodings() {
			for _, inner := range encodings() {
				for _, near := range around() {
					text, begin, end := nested(outer, inner, secret, near)
					got := redactor.Strike(text, len(text))
					before, _, found := strings.Cut(got, redact.Placeholder)
					after := got[strings.LastIndex(got, "]")+1:]
					exact := found && len(before) <= begin && len(after) <= len(text)-end && len(before)+len(after)+end-begin+maxMore >= len(text)
					if !exact || !strings.HasPrefix(text, before) || !strings.HasSuffix(text, after) {
						t.Errorf("%q in %s in %s near %q:\ngot  %s\nwant %s\nfrom %s", secret, inner.name, outer.name, near, got, text[:begin]+redact.Placeholder+text[end:], text)
					}
				}
			}
		}
		if t.Failed() {
			return
		}
	}
}

// An error quotes what a receiver has encoded twice.
func TestQuotedInError(t *testing.T) {
	t.Parallel()
	const secret = `s3cr3t/"of"\ours&+é`
	redactor := redact.New(func(s *redact.Set) { s.Add(secret) })
	for _, outer := range encodings() {
		for _, inner := range encodings() {
			text, _, _ := nested(outer, inner, secret, [2]string{"", ""})
			message := fmt.Sprintf("malformed header line: %q", text)
			got := redactor.Strike(message, len(message))
			if want := `malformed header line: "the answer: ` + redact.Placeholder; !strings.HasPrefix(got, want) {
				t.Errorf("%s in %s: got %s", inner.name, outer.name, got)
			}
		}
	}
}

func FuzzStrike(f *testing.F) {
	f.Add("s3cr3t/key", "before ", " after", uint8(1), uint8(13), uint16(4096))
	f.Add(`a"b\c&d`, `{"x":"`, `"}`, uint8(10), uint8(3), uint16(20))
	f.Fuzz(func(t *testing.T, secret, before, after string, outer, inner uint8, keep uint16) {
		if !utf8.ValidString(secret) || strings.IndexFunc(secret, unicode.IsControl) >= 0 || len(secret) < 6 || len(secret) > 64 {
			return // no subscription can have that secret: package subscription refuses it
		}
		all := encodings()
		e, i := all[int(outer)%len(all)], all[int(inner)%len(all)]
		text, begin, end := i.write(secret, 0, len(secret))
		text, begin, end = e.write("<"+text+">", begin+1, end+1)
		coded := text[begin:end]
		text = before + " " + text + " " + after
		got := redact.New(func(s *redact.Set) { s.Add(secret) }).Strike(text, int(keep))
		if strings.Contains(got, coded) {
			t.Errorf("%q in %s in %s: %q is left in %q", secret, i.name, e.name, coded, got)
		}
		if keep := int(keep); len(text) <= keep && got != redact.Withheld && !strings.Contains(got, redact.Placeholder) {
			t.Errorf("%q in %s in %s: nothing is struck out of %q", secret, i.name, e.name, text)
		}
	})
}

// What is a secret is said by how it is used.
func TestParts(t *testing.T) {
	t.Parallel()
	redactor := redact.New(func(s *redact.Set) {
		s.AddQuery("key=s3cr3t%2Fkey&v=1&flag-of-mine&pin=4711&debug=true&empty=")
		s.AddHeader("Bearer t0ken-value")
		s.AddHeader("basic " + base64.StdEncoding.EncodeToString([]byte("deployer:pa:55")))
		s.AddHeader("session=c00kie-1; theme=dark; id=\"qu0ted\"")
		s.AddHeader("abc12")
		s.AddKey("whsec_" + base64.StdEncoding.EncodeToString([]byte("the bytes of the key itself!")))
	})
	for _, tt := range []struct{ name, in, want string }{
		{"the whole query", "GET /?key=s3cr3t%2Fkey&v=1&flag-of-mine&pin=4711&debug=true&empty=", "GET /?[secret]"},
		{"a value of it", `{"key":"s3cr3t%2Fkey"}`, `{"key":"[secret]"}`},
		{"a value of it, decoded", `{"key":"s3cr3t/key","flag-of-mine":1}`, `{"key":"[secret]","[secret]":1}`},
		{"a short value, where it is a word", `{"pin":4711,"seq":1471100}`, `{"pin":[secret],"seq":1471100}`},
		{"a value too short for a secret, and its name", "v=1 is not v: 1", "[secret] is not v: 1"},
		{"a word of JSON", "debug=true", "debug=true"},
		{"a token", "authorization: Bearer t0ken-value", "authorization: [secret]"},
		{"a token without its scheme", "no Bearer token=t0ken-value;", "no Bearer token=[secret];"},
		{"user and password", `{"user":"deployer","password":"pa:55"}`, `{"user":"[secret]","password":"[secret]"}`},
		{"both", "deployer:pa:55@", "[secret]@"},
		{"cookies", "c00kie-1, dark, qu0ted", "[secret], [secret], [secret]"},
		{"a short header", "X-Pin: abc12, not abc123", "X-Pin: [secret], not abc123"},
		{"a short header in base64", "got " + base64.StdEncoding.EncodeToString([]byte("pin abc12")), "got cGluI[secret]"},
		{"a key without its prefix", base64.RawStdEncoding.EncodeToString([]byte("the bytes of the key itself!")), "[secret]"},
		{"the bytes of a key", "the bytes of the key itself!", "[secret]"},
		{"ordinary text", `{"status":"ok","took":1}`, `{"status":"ok","took":1}`},
		{"nothing", "", ""},
	} {
		if got := redactor.Strike(tt.in, len(tt.in)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := redact.New(func(*redact.Set) {}).Strike("text", len("text")); got != "text" {
		t.Errorf("without secrets: got %q", got)
	}
	if got := (*redact.Redactor)(nil).Strike("text", 2); got != "te" {
		t.Errorf("without a redactor: got %q", got)
	}
}

// Receivers keep a percent sign that encodes nothing as it is.
func TestPercentSignOfItsOwn(t *testing.T) {
	t.Parallel()
	redactor := redact.New(func(s *redact.Set) { s.AddQuery("key=s3cr3t%2Fkey%&rate=100%-of%40it%zz") })
	for _, tt := range []struct{ in, want string }{
		{"key: s3cr3t/key%", "key: [secret]"},
		{"key: s3cr3t%2Fkey%", "key: [secret]"},
		{"rate: 100%-of@it%zz", "rate: [secret]"},
		{"rate: 100%25-of%40it%25zz", "rate: [secret]"},
	} {
		if got := redactor.Strike(tt.in, len(tt.in)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

// Of a secret across the end of what is kept nothing is left, in whatever encoding.
func TestCut(t *testing.T) {
	t.Parallel()
	const secret = `a "secret" of some length/with\signs`
	redactor := redact.New(func(s *redact.Set) { s.Add(secret) })
	for _, outer := range encodings() {
		for _, inner := range encodings() {
			text, begin, end := nested(outer, inner, secret, [2]string{"", ""})
			text = strings.Repeat("x ", 50) + text
			for keep := begin + 100; keep <= end+100; keep += 7 {
				want := text[:begin+100]
				if keep > begin+100 {
					want += redact.Placeholder
				}
				if got := redactor.Strike(text, keep); got != want {
					t.Errorf("%s in %s, %d of %d bytes: got %q, want %q", inner.name, outer.name, keep, len(text), got, want)
				}
			}
		}
	}
	long := strings.Repeat("0123456789abcdef", 300)
	if got := redact.New(func(s *redact.Set) { s.Add(long) }).Strike("x "+long+" y", 10_000); got != "x [secret] y" {
		t.Errorf("got %.100q, want a long secret struck out", got)
	}
}

// The work is bounded, whatever a receiver answers and whatever the secrets are.
func TestHostileTexts(t *testing.T) {
	t.Parallel()
	const size = 64 << 10
	deep := "secret-of-mine"
	for len(deep) < size {
		deep = base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(inJSON(true)(`"` + html.EscapeString(deep) + `"`))))
	}
	redactor := redact.New(func(s *redact.Set) {
		s.Add("secret-of-mine")
		for i := range 60 {
			s.Add(strings.Repeat("a", i+6))
			s.Add(strings.Repeat("%41", i+6))
		}
	})
	for name, text := range map[string]string{
		"many layers": deep[:size], "percent signs": strings.Repeat("%25", size/3), "backslashes": strings.Repeat(`\\`, size/2),
		"entities": strings.Repeat("&amp;", size/5), "all of them": strings.Repeat(`%5c&#x25;41\u0026amp;QUFB`, size/24), "one letter": strings.Repeat("a", size),
		"base64 of base64": base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("QUFB", size/8))))),
	} {
		began := time.Now()
		got := redactor.Strike(text, 4096)
		t.Logf("%s: %s, %d bytes", name, time.Since(began), len(got))
		if len(got) > 3*4096 {
			t.Errorf("%s: got %d bytes", name, len(got))
		}
	}
}

func BenchmarkStrike(b *testing.B) {
	redactor := redact.New(func(s *redact.Set) {
		s.AddHeader("Bearer t0ken-value-of-some-length")
		s.AddKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	})
	for name, text := range map[string]string{
		"ok": `{"status":"ok"}`, "page": strings.Repeat("<p class=\"a\">An ordinary page &amp; its text, with /paths/of/some-length?a=%20b</p>\n", 800)[:64<<10],
		"json": strings.Repeat(`{"id":"5f3a9c0e","message":"said \"no\"","url":"https:\/\/example.com\/a%2Fb"},`, 60),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				redactor.Strike(text, 4096)
			}
		})
	}
}
