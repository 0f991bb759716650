package input

import (
	"strings"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"": "0001-01-01T00:00:00Z", "2h": "2026-01-31T10:00:00Z", "0s": "2026-01-31T12:00:00Z", "2026-01-30t12:00:00z": "2026-01-30T12:00:00Z",
		"2016-12-31T23:59:60Z": "2017-01-01T00:00:00Z", "2026-01-31T12:00:00+23:59": "2026-01-30T12:01:00Z",
		"999999h": "1970-01-01T00:00:00Z", "99999999h": "1970-01-01T00:00:00Z", "99999999999999999999s": "1970-01-01T00:00:00Z",
	} {
		if got, err := Time("--since", text, now); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"-2h": "is in the future", "-99999999h": "is in the future", "yesterday": "give a duration such as 2h, or a time", "2026-01-31": "no T between",
		"2026-01-31T12:00:00+24:00": "-23:59 to +23:59", "5 days": "give a duration such as 2h",
	} {
		if got, err := Time("--since", text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %s, %v, want %q", text, got, err, want)
		}
	}
}
