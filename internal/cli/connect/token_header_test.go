package connect

import (
	"strings"
	"testing"
)

func TestTokensThatNoHeaderTakes(t *testing.T) {
	t.Parallel()
	// A token is sent in a header: what cannot be is said before.
	for _, token := range []string{"jp_token\r", "\ufeffjp_token"} {
		if _, err := (&Flags{Server: "http://127.0.0.1:9", Token: token, places: &places{}}).Resolve(t.Context()); err == nil || strings.Contains(err.Error(), "jp_token") {
			t.Errorf("%q: got %v", token, err)
		}
	}
}
