package securesourcemanager

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// systemParameters are those that every method of every API of the vendor takes. They
// say nothing about hooks and are ignored, except prettyPrint.
func systemParameters() []string {
	return []string{
		"access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "pp", "quotaUser", "trace",
		"uploadType", "upload_protocol", "userIp", "userProject",
	}
}

// parameters reads a query: the values of the names that the method takes, in the
// spelling of answers. An unknown name is refused, since a request with
// a mistyped mask does something else.
func parameters(query string, takes []string) (map[string]string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, newFault(400, "INVALID_QUERY", "The query of the URL cannot be read: percent-encode it.")
	}
	found := make(map[string]string)
	for name, all := range values {
		known := spelling(name)
		if strings.HasPrefix(name, "$") || slices.Contains(systemParameters(), name) {
			continue
		}
		if !slices.Contains(takes, known) {
			return nil, badField("UNKNOWN_PARAMETER", clip(name), "is not a parameter of this method.")
		}
		if before, twice := found[known]; twice {
			all = append(all, before)
		}
		for _, value := range all {
			if value != all[0] {
				return nil, badField("DUPLICATE_PARAMETER", known, "is given twice with different values.")
			}
		}
		found[known] = all[0]
	}
	return found, nil
}

// pretty reports whether a client wants line breaks.
func pretty(query url.Values) bool {
	for _, name := range []string{"prettyPrint", "$prettyPrint", "pp"} {
		if on, err := strconv.ParseBool(query.Get(name)); err == nil && on {
			return true
		}
	}
	return false
}
