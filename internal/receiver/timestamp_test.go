package receiver

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A timestamp that no clock can show is said to be one.
func TestTimestampOutOfRange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"1769860800000000": "after the year 9999", "99999999999999999999": "after the year 9999", "2026-01-31T12:00:00Z": "not a number of seconds", "-1": "not a number of seconds",
	} {
		h := http.Header{}
		h.Set(idHeader, "id")
		h.Set(timestampHeader, text)
		h.Set(signatureHeader, "v1,AAAA")
		if err := verifyStandard(h, nil, nil, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
