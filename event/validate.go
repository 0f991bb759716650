package event

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/timestamp"
)

// Validate reports all that keeps e from being a CloudEvent 1.0.2, in one error
// that wraps ErrInvalidEvent: the required attributes, the type of every attribute and
// the names of extensions. All ways in which events arrive use it.
//
// A nil error means that e survives SetHeader and FromMessage unchanged, and
// AppendStructured and ParseStructured but for the white space around JSON data and an
// implied content type; and that the CloudEvents SDKs of receivers read it. Two things
// pass that the specification or an SDK does not take: a fragment in dataschema, which
// many schemas are named by, and malformed parameters of datacontenttype, because what
// the data is does not depend on them.
//
// Events that were stored under other rules stay valid: see FromEventLog.
func (e *Event) Validate() error {
	var problems []string
	add := func(name, problem string) {
		if problem != "" {
			problems = append(problems, "attribute "+name+" "+problem)
		}
	}
	for _, required := range [...]struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}} {
		if required.value == "" {
			add(required.name, "is missing")
		}
	}
	if e.Time != "" {
		if _, err := timestamp.Parse(e.Time); err != nil {
			add("time", fmt.Sprintf("%q is not an RFC 3339 time: %s", e.Time, err))
		}
	}
	for _, name := range [...]string{"id", "source", "type", "subject", "datacontenttype", "dataschema"} {
		if value, ok := e.Attribute(name); ok {
			problem := textProblem(value)
			if problem == "" {
				problem = contextProblem(name, value)
			}
			add(name, problem)
		}
	}
	for i := range e.Extensions {
		problems = append(problems, extensionProblems(e.Extensions[i])...)
	}
	if name, ok := e.repeatedExtension(); ok {
		add(name, "is given twice")
	}
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalidEvent, strings.Join(problems, "; "))
}

// CheckSource reports why events cannot have a source, before there are any.
func CheckSource(source string) error {
	problem := textProblem(source)
	switch {
	case source == "":
		problem = "is missing"
	case problem == "":
		problem = contextProblem("source", source)
	}
	if problem == "" {
		return nil
	}
	return fmt.Errorf("source of events %s", problem)
}

// contextProblem says why a text is not a value of a context attribute.
func contextProblem(name, value string) string {
	switch name {
	case "source":
		switch value {
		case "#", "//", "//#": // empty, when they are normalized
			return "is a URI reference to nothing"
		}
		if problem := uriProblem(value); problem != "" {
			return "is not a URI reference: it " + problem
		}
	case "dataschema":
		switch problem := uriProblem(value); {
		case problem != "":
			return "is not a URI: it " + problem
		case !isAbsoluteURI(value):
			return "is not an absolute URI: begin with its scheme, as in https://…"
		}
	case "datacontenttype":
		if _, ok := MediaType(value); !ok {
			return "is not a media type: write a type and a subtype, as in application/json"
		}
	default:
		if strings.TrimSpace(value) == "" {
			return "is nothing but white space, which receivers take for empty"
		}
	}
	return ""
}

func extensionProblems(a Attribute) (problems []string) {
	if problem := textProblem(a.Value); problem != "" {
		problems = append(problems, "attribute "+a.Name+" "+problem)
	}
	switch {
	case !validAttributeName(a.Name):
		problems = append(problems, fmt.Sprintf("%q is not an attribute name, use lower-case letters and digits", a.Name))
	case IsContextAttribute(a.Name): // it would replace the attribute of that name on the wire
		problems = append(problems, "attribute "+a.Name+" is no extension")
	case a.Value == "":
		problems = append(problems, "attribute "+a.Name+" is empty")
	}
	return problems
}

// validAttributeName applies the rule of CloudEvents 1.0.2, "Naming Conventions".
// "data" is reserved by the JSON format.
func validAttributeName(name string) bool {
	if name == "" || name == "data" {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// IsContextAttribute reports whether every CloudEvent can have an attribute of
// that name.
func IsContextAttribute(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
		return true
	}
	return false
}

// repeatedExtension finds an extension that is given twice. Parsed events have
// theirs in order, so that a look at the neighbours will do.
func (e *Event) repeatedExtension() (string, bool) {
	byName := func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) }
	sorted := e.Extensions
	if !slices.IsSortedFunc(sorted, byName) {
		sorted = slices.SortedFunc(slices.Values(sorted), byName)
	}
	for i := 1; i < len(sorted); i++ {
		if sorted[i].Name == sorted[i-1].Name {
			return sorted[i].Name, true
		}
	}
	return "", false
}

// textProblem says why value is not a CloudEvents String: the type excludes
// control characters, lone surrogates and noncharacters.
func textProblem(value string) string {
	if !utf8.ValidString(value) {
		return "is not valid UTF-8"
	}
	for _, r := range value {
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f:
			return fmt.Sprintf("contains the control character U+%04X", r)
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return fmt.Sprintf("contains the noncharacter U+%04X", r)
		}
	}
	return ""
}

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
