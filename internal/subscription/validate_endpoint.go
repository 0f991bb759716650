package subscription

import (
	"maps"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Limits of an endpoint, in bytes.
const (
	maxURL         = 2048
	maxQuery       = 4096
	maxHeaders     = 50
	maxHeaderName  = 128
	maxHeaderValue = 4096
	maxHeaderBytes = 32 << 10 // all names and values
)

// reservedHeaders are set by jetpost or belong to the connection. A name that
// ends in a dash reserves all that start with it.
var reservedHeaders = []string{
	"Host", "Content-Length", "Content-Type", "Content-Encoding", "Connection", "Keep-Alive", "Transfer-Encoding",
	"Te", "Trailer", "Upgrade", "Expect", "Proxy-", "Webhook-", "Ce-", "Jetpost-",
}

// secretHeaderNames are not right in plain headers, unless the profile's users know
// them there.
var secretHeaderNames = []string{"Authorization", "Cookie"}

func (e *Endpoint) validate(traits Traits, found *validation.Problems) {
	e.validateURL(found)
	if methods := traits.methods(); !slices.Contains(methods, e.Method) {
		last := len(methods) - 1
		found.Add("endpoint.method", "%q: use %s or %s, in capitals", plain.Clip(e.Method), strings.Join(methods[:last], ", "), methods[last])
	}
	if t := time.Duration(e.Timeout); t < minTimeout || t > maxTimeout {
		found.Add("endpoint.timeout", "is %s: use %s to %s", e.Timeout, Duration(minTimeout), Duration(maxTimeout))
	}
	if e.Proxy != "" && !proxyKeyPattern.MatchString(e.Proxy) {
		found.Add("endpoint.proxy", "%s", ProxyProblem(e.Proxy))
	}
	e.validateHeaders(traits, found)
}

// ProxyProblem says that there is no proxy of that key. Clients of compatible APIs know
// these words.
func ProxyProblem(key string) string { return "proxy with key '" + plain.Clip(key) + "' not found" }

// validateURL shows nothing of the URL: it may have a password where none is
// allowed.
func (e *Endpoint) validateURL(found *validation.Problems) {
	const field = "endpoint.url"
	for _, problem := range urlProblems(e.URL) {
		found.Add(field, "%s", problem)
	}
	query := e.Query.Reveal()
	switch {
	case e.Query.IsPlaceholder():
		found.Add("endpoint.query", "%s stands for a stored secret, and there is none: leave it out, or give the query", keyring.Placeholder)
	case len(query) > maxQuery:
		found.Add("endpoint.query", "is longer than %d bytes", maxQuery)
	case strings.IndexFunc(query, func(r rune) bool { return r <= ' ' || r == '#' || r >= 0x7f }) >= 0:
		found.Add("endpoint.query", "has a space, a control character, a # or a character outside ASCII: percent-encode it")
	}
}

// urlProblems says why raw cannot be an endpoint's URL. Which addresses may be
// called is for Egress to say.
func urlProblems(raw string) []string {
	switch {
	case raw == "":
		return []string{"is missing: give the https:// address that receives the events"}
	case len(raw) > maxURL:
		return []string{"is longer than " + strconv.Itoa(maxURL) + " bytes"}
	case strings.IndexFunc(raw, func(r rune) bool { return r <= ' ' || r == '\\' || r >= 0x7f }) >= 0:
		return []string{"has a space, a control character, a backslash or a character outside ASCII: percent-encode it in the path, and write a host name in its punycode form (xn--…)"}
	}
	u, err := url.Parse(raw)
	if err != nil { // not shown: it quotes the URL
		return []string{"is not a URL: write https://host/path, with percent-encoding where it is needed"}
	}
	var problems []string
	if u.Scheme != "http" && u.Scheme != "https" {
		problems = append(problems, "must start with https:// or http://")
	}
	if u.User != nil {
		problems = append(problems, "must not have a user name or password: put credentials into secret_headers, as in \"authorization\": \"Basic …\"")
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		problems = append(problems, "must not have a fragment (#…): it is never sent")
	}
	if u.RawQuery != "" || u.ForceQuery {
		problems = append(problems, "has a query as well as endpoint.query: give it in one of them")
	}
	if problem := egress.HostProblem(u); problem != "" {
		problems = append(problems, problem)
	}
	return problems
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (e *Endpoint) validateHeaders(traits Traits, found *validation.Problems) {
	if n := len(e.Headers) + len(e.SecretHeaders); n > maxHeaders {
		found.Add("endpoint.headers", "and secret_headers have %d entries, at most %d are allowed", n, maxHeaders)
		return
	}
	var size int
	seen := make(map[string]string) // canonical name to field
	check := func(group, name, value string) {
		field := validation.Join(group, plain.Clip(name))
		size += len(name) + len(value)
		if problem := headerProblem(name, traits.Headers); problem != "" {
			found.Add(field, "%s", problem)
		}
		if problem := headerValueProblem(value, traits.HeaderText); problem != "" {
			found.Add(field, "%s", problem)
		}
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if first, ok := seen[canonical]; ok {
			found.Add(field, "is the same header as %s: remove one", first)
		}
		seen[canonical] = field
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		check("endpoint.headers", name, e.Headers[name])
		if canonical := textproto.CanonicalMIMEHeaderKey(name); slices.Contains(secretHeaderNames, canonical) && !slices.Contains(traits.Headers, canonical) {
			found.Add(validation.Join("endpoint.headers", name), "holds a secret: put it into secret_headers, whose values are never shown")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(e.SecretHeaders)) {
		value := e.SecretHeaders[name]
		if value.IsPlaceholder() {
			found.Add(validation.Join("endpoint.secret_headers", plain.Clip(name)), "%s stands for a stored secret, and there is none: leave it out, or give the value", keyring.Placeholder)
		}
		check("endpoint.secret_headers", name, value.Reveal())
	}
	if size > maxHeaderBytes {
		found.Add("endpoint.headers", "and secret_headers have %d bytes in all, at most %d are allowed", size, maxHeaderBytes)
	}
}

func headerProblem(name string, allowed []string) string {
	if name == "" || len(name) > maxHeaderName {
		return "is not a header name: use 1 to " + strconv.Itoa(maxHeaderName) + " characters"
	}
	for i := range len(name) { // a token of RFC 9110, section 5.6.2
		if c := name[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return "is not a header name: use letters, digits and dashes"
		}
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if slices.Contains(allowed, canonical) {
		return ""
	}
	for _, reserved := range reservedHeaders {
		if canonical == reserved || strings.HasSuffix(reserved, "-") && strings.HasPrefix(canonical, reserved) {
			return "is set by jetpost itself or belongs to the connection: choose another name"
		}
	}
	return ""
}

// headerValueProblem does not quote value. Text outside ASCII is for profiles whose
// ecosystem sends it.
func headerValueProblem(value string, text bool) string {
	if len(value) > maxHeaderValue {
		return "is longer than " + strconv.Itoa(maxHeaderValue) + " bytes"
	}
	if value != strings.Trim(value, " \t") {
		return "has a space at its beginning or end"
	}
	problem := "has a control character"
	if !text {
		problem += " or one outside ASCII"
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, func(c rune) bool { return c != '\t' && unicode.IsControl(c) || !text && c > unicode.MaxASCII }) {
		return problem
	}
	return ""
}
