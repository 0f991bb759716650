package transport

import (
	"net/http"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 500_000_000, time.UTC)
	for text, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"120":                            2 * time.Minute,
		" 7 ":                            7 * time.Second,
		"86400":                          24 * time.Hour,
		"86401":                          24 * time.Hour,
		"4294967295":                     24 * time.Hour,
		"4294967296":                     24 * time.Hour,
		"9223372037":                     24 * time.Hour,
		"99999999999999999999":           24 * time.Hour,
		"Sun, 01 Mar 2026 12:01:00 GMT":  59*time.Second + 500*time.Millisecond,
		"Sunday, 01-Mar-26 12:01:00 GMT": 59*time.Second + 500*time.Millisecond, // obsolete forms
		"Sun Mar  1 12:01:00 2026":       59*time.Second + 500*time.Millisecond,
		"Sun, 01 Mar 2026 11:00:00 GMT":  0,
		"Fri, 31 Dec 9999 23:59:59 GMT":  24 * time.Hour,
		// What cannot be read is ignored.
		"-1": 0, "1.5": 0, "1e3": 0, "soon": 0, "0x10": 0, "2026-03-01T12:01:00Z": 0, "5, 10": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := retryAfter(http.Header{}, now); got != 0 {
		t.Errorf("without the header: got %s, want none", got)
	}
}

// A date in Retry-After is of the receiver's clock, which may be wrong: its Date says
// by how much.
func TestRetryAfterByWhoseClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name        string
		theirs      time.Duration // ahead of ours
		silent      bool          // no Date
		wants, want time.Duration
	}{
		{"clocks agree", 0, false, 5 * time.Minute, 5 * time.Minute},
		{"clocks nearly agree", 30 * time.Second, false, 5 * time.Minute, 5*time.Minute + 30*time.Second},
		{"ours is an hour behind", time.Hour, false, 5 * time.Minute, 5 * time.Minute},
		{"ours is an hour ahead", -time.Hour, false, 5 * time.Minute, 5 * time.Minute},
		{"ours is an hour behind, and theirs unknown", time.Hour, true, 5 * time.Minute, time.Hour + 5*time.Minute},
		{"ours is an hour ahead, and theirs unknown", -time.Hour, true, 5 * time.Minute, 0},
		{"ours is days behind, and theirs unknown", 1000 * time.Hour, true, 5 * time.Minute, MaxRetryAfter},
	} {
		theirs := now.Add(tt.theirs)
		h := http.Header{"Retry-After": {theirs.Add(tt.wants).Format(http.TimeFormat)}}
		if !tt.silent {
			h.Set("Date", theirs.Format(http.TimeFormat))
		}
		if got := retryAfter(h, now); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}
