package event

import (
	"fmt"
	"net/netip"
	"strings"
)

// Classes of characters that parts of a URI are made of (RFC 3986, appendix A).
const (
	schemeChar uint8 = 1 << iota
	userChar         // of a user name and password
	hostChar         // of a registered name
	pathChar         // of a path, the slash too
	queryChar        // of a query or a fragment
)

var uriChars = func() (classes [256]uint8) {
	set := func(chars string, class uint8) {
		for i := range len(chars) {
			classes[chars[i]] |= class
		}
	}
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	set(alphanumeric+"+-.", schemeChar)
	set(alphanumeric+"-._~"+"!$&'()*+,;=", userChar|hostChar|pathChar|queryChar)
	set(":", userChar|pathChar|queryChar)
	set("@/", pathChar|queryChar)
	set("?", queryChar)
	return classes
}()

// uriProblem says why s is not a URI reference (RFC 3986, section 4.1); empty when it
// is one. It leaves s out: a URI may hold a password.
//
// It reports two rare forms that the grammar allows too, because Go's
// net/url does not read them, and with it the CloudEvents SDK of many receivers: a host
// with ASCII characters that are percent-encoded, and IP literals of future versions.
func uriProblem(s string) string {
	rest, fragment, _ := strings.Cut(s, "#")
	rest, query, _ := strings.Cut(rest, "?")
	if at := strings.IndexAny(rest, ":/"); at >= 0 && rest[at] == ':' {
		if !isScheme(rest[:at]) {
			return "has a colon where no scheme stands before it: percent-encode it as %3A, or begin with ./"
		}
		rest = rest[at+1:]
	}
	if authority, ok := strings.CutPrefix(rest, "//"); ok {
		end := strings.IndexByte(authority, '/')
		if end < 0 {
			end = len(authority)
		}
		if problem := authorityProblem(authority[:end]); problem != "" {
			return problem
		}
		rest = authority[end:]
	}
	for _, part := range [...]struct {
		text  string
		class uint8
	}{{rest, pathChar}, {query, queryChar}, {fragment, queryChar}} {
		if problem := charProblem(part.text, part.class); problem != "" {
			return problem
		}
	}
	return ""
}

// isAbsoluteURI reports whether a URI reference without problems has a scheme.
func isAbsoluteURI(s string) bool {
	at := strings.IndexAny(s, ":/?#")
	return at > 0 && s[at] == ':'
}

func isScheme(s string) bool {
	for i := range len(s) {
		if uriChars[s[i]]&schemeChar == 0 {
			return false
		}
	}
	return s != "" && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
}

func authorityProblem(authority string) string {
	host := authority
	if user, behind, ok := strings.Cut(authority, "@"); ok {
		if problem := charProblem(user, userChar); problem != "" {
			return problem
		}
		host = behind
	}
	host, port, hasPort := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") {
		literal, behind, closed := strings.Cut(authority[strings.IndexByte(authority, '[')+1:], "]")
		address, err := netip.ParseAddr(literal)
		if !closed || err != nil || !address.Is6() || address.Zone() != "" {
			return "has square brackets that do not hold an IPv6 address"
		}
		if behind != "" && behind[0] != ':' {
			return "has something between the IPv6 address and its end or a port"
		}
		host, port, hasPort = "", strings.TrimPrefix(behind, ":"), behind != ""
	}
	if problem := charProblem(host, hostChar); problem != "" {
		return problem
	}
	for i := range len(host) {
		if host[i] == '%' && unhex(host[i+1]) < 8 {
			return "has a percent-encoded ASCII character in its host: write the character itself"
		}
	}
	if hasPort && strings.Trim(port, "0123456789") != "" {
		return "has a port that is not a number"
	}
	return ""
}

// charProblem says what in a part of a URI is not of a class and not percent-encoded.
func charProblem(part string, class uint8) string {
	for i := 0; i < len(part); i++ {
		switch c := part[i]; {
		case uriChars[c]&class != 0:
		case c != '%':
			for _, r := range part[i:] {
				return fmt.Sprintf("has the character %q, which must be percent-encoded there", r)
			}
		case i+2 >= len(part) || unhex(part[i+1]) < 0 || unhex(part[i+2]) < 0:
			return "has a percent sign that two hexadecimal digits do not follow: write %25"
		default:
			i += 2
		}
	}
	return ""
}
