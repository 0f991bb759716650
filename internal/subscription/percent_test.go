package subscription

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/keyring"
)

func TestRequestURL(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, query, want string }{
		{"https://example.com", "", "https://example.com"},
		{"https://example.com", "a=b", "https://example.com?a=b"},
		{"https://example.com/hook", "", "https://example.com/hook"},
		{"https://example.com/hook", "f={a|b}^c&g=\"h\"", "https://example.com/hook?f=%7Ba%7Cb%7D%5Ec&g=%22h%22"},
		{"https://example.com/hook", "a=<>[]`\\", "https://example.com/hook?a=%3C%3E%5B%5D%60%5C"},
		// What is encoded, in whatever way, stays.
		{"https://example.com/hook", "a=%7b%7C%2f%20+%zz%4&b=100%", "https://example.com/hook?a=%7b%7C%2f%20+%25zz%254&b=100%25"},
		{"https://example.com/hook", "-._~!$&'()*+,;=:@/?azAZ09", "https://example.com/hook?-._~!$&'()*+,;=:@/?azAZ09"},
		{"https://example.com/a%2Fb|c/{d}", "", "https://example.com/a%2Fb%7Cc/%7Bd%7D"},
		{"https://example.com/a[0]/\"^`<>", "x", "https://example.com/a%5B0%5D/%22%5E%60%3C%3E?x"},
		{"https://example.com//a//b/;p=1", "", "https://example.com//a//b/;p=1"},
		{"https://[2001:db8::1]:8443/[x]", "[y]", "https://[2001:db8::1]:8443/%5Bx%5D?%5By%5D"},
		{"https://[2001:db8::1]", "", "https://[2001:db8::1]"},
	} {
		e := Endpoint{URL: tt.address, Query: keyring.NewSecret(tt.query)}
		got := e.RequestURL()
		if got != tt.want {
			t.Errorf("%s and %s: got %s, want %s", tt.address, tt.query, got, tt.want)
		}
		// It is the one that is sent, and nothing of it is encoded again.
		u, err := url.Parse(got)
		if err != nil || u.String() != tt.want {
			t.Errorf("%s: net/url makes %v of it, %v", got, u, err)
		}
		again := Endpoint{URL: u.Scheme + "://" + u.Host + u.EscapedPath(), Query: keyring.NewSecret(u.RawQuery)}
		if again.RequestURL() != got {
			t.Errorf("%s becomes %s", got, again.RequestURL())
		}
	}
}

// What is stored of a URL is encoded by the same rules.
func TestNormalisedURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"HTTPS://Example.COM/a%2fb|c":            "https://example.com/a%2fb%7Cc",
		"https://example.com/a%2Fb/é":            "https://example.com/a%2Fb/%C3%A9",
		"https://example.com/a%2Fb{c}?q={d}&e=/": "https://example.com/a%2Fb%7Bc%7D",
		"https://example.com?a=/|":               "https://example.com",
		"https://example.com/a|b#c|d":            "https://example.com/a%7Cb#c%7Cd", // which Validate refuses
		"https://example.com/%zz|":               "https://example.com/%zz|",
		"https://example.com/a\x01|":             "https://example.com/a\x01|",
		"https://[2001:DB8::1]/[x]":              "https://[2001:db8::1]/%5Bx%5D",
		"not a URL":                              "not a URL",
	} {
		e := Endpoint{URL: address}
		e.normalise()
		if e.URL != want {
			t.Errorf("%q: got %q, want %q", address, e.URL, want)
		}
	}
}

// What is sent is a query of RFC 3986, and stands for what was given.
func FuzzRequestURL(f *testing.F) {
	for _, query := range []string{"a=b", "f={a|b}", "%7b%zz%", "é#\x00 "} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := strings.TrimPrefix(Endpoint{URL: "https://example.com/", Query: keyring.NewSecret(query)}.RequestURL(), "https://example.com/")
		got = strings.TrimPrefix(got, "?")
		if strings.ContainsAny(got, "\"#<>[\\]^`{|} ") || strings.IndexFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0 {
			t.Errorf("%q is sent as %q", query, got)
		}
		sent, err := url.PathUnescape(got)
		if err != nil {
			t.Fatalf("%q is sent as %q: %v", query, got, err)
		}
		if given, err := url.PathUnescape(query); err == nil && sent != given {
			t.Errorf("%q is sent as %q, which stands for %q", query, got, sent)
		}
	})
}
