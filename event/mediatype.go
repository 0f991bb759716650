package event

import "strings"

// MediaType returns the type and the subtype of a Content-Type or a datacontenttype, in
// lower case and without parameters. ok is false for what has none (RFC 9110, section
// 8.3.1: two tokens with a slash between them). Parameters that are malformed, such as
// the one of "application/json; utf-8", do not matter: they say nothing about the type.
func MediaType(contentType string) (mediaType string, ok bool) {
	mediaType, _, _ = strings.Cut(contentType, ";")
	mediaType = strings.Trim(mediaType, " \t")
	kind, subtype, _ := strings.Cut(mediaType, "/")
	if !isToken(kind) || !isToken(subtype) {
		return "", false
	}
	return strings.ToLower(mediaType), true
}

// IsJSON reports whether data of a content type is JSON. Everything in jetpost asks here.
// An absent content type means JSON (CloudEvents 1.0.2, "datacontenttype"); of another
// one the subtype decides, which is json or ends in +json (JSON format, section 3.1).
func IsJSON(contentType string) bool {
	switch contentType {
	case "", "application/json":
		return true
	}
	mediaType, ok := MediaType(contentType)
	return ok && (strings.HasSuffix(mediaType, "/json") || strings.HasSuffix(mediaType, "+json"))
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
