package securesourcemanager

import (
	"errors"
	"strings"
)

// ErrQuery is returned for a sensitive query string that is not one. It is not part
// of the text.
var ErrQuery = errors.New("a sensitive query string has no #, no space, no control character and none outside ASCII: percent-encode them")

// JoinQuery returns the URL to call: target, and behind it the sensitive query
// string, byte for byte but for one leading ? or &. What stands between them is not
// documented: nothing if target ends in ? or &, & if it has a query, otherwise ?.
// The result is a secret.
func JoinQuery(target, sensitive string) (string, error) {
	if strings.IndexFunc(sensitive, func(r rune) bool { return r <= ' ' || r == '#' || r >= 0x7f }) >= 0 {
		return "", ErrQuery
	}
	if sensitive != "" && (sensitive[0] == '?' || sensitive[0] == '&') {
		sensitive = sensitive[1:]
	}
	switch {
	case sensitive == "":
		return target, nil
	case strings.HasSuffix(target, "?"), strings.HasSuffix(target, "&"):
		return target + sensitive, nil
	case strings.Contains(target, "?"):
		return target + "&" + sensitive, nil
	default:
		return target + "?" + sensitive, nil
	}
}
