package timestamp_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/jetpost/jetpost/internal/timestamp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-01-31T12:00:00Z":                "2026-01-31T12:00:00Z",
		"2026-01-31t12:00:00z":                "2026-01-31T12:00:00Z",
		"2026-01-31T12:00:00.5z":              "2026-01-31T12:00:00.5Z",
		"2026-01-31T12:00:00.1234567899Z":     "2026-01-31T12:00:00.123456789Z",
		"2026-01-31T12:00:00+23:59":           "2026-01-30T12:01:00Z",
		"2026-01-31T12:00:00-23:59":           "2026-02-01T11:59:00Z",
		"2026-01-31T12:00:00-00:00":           "2026-01-31T12:00:00Z",
		"2016-12-31T23:59:60Z":                "2017-01-01T00:00:00Z",
		"1990-12-31T15:59:60-08:00":           "1991-01-01T00:00:00Z",
		"1998-12-31t23:59:60.25z":             "1999-01-01T00:00:00.25Z",
		"2017-01-01T08:59:60+09:00":           "2017-01-01T00:00:00Z",
		"2024-02-29T00:00:00Z":                "2024-02-29T00:00:00Z",
		"0000-01-01T00:00:00Z":                "0000-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999999+00:00": "9999-12-31T23:59:59.999999999Z",
	} {
		at, err := timestamp.Parse(text)
		if got := at.UTC().Format(time.RFC3339Nano); err != nil || got != want || !timestamp.Valid(text) {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                           "its date is not a year, month and day such as 2026-01-31",
		"26-01-31T12:00:00Z":         "its date is not a year, month and day such as 2026-01-31",
		"+2026-01-31T12:00:00Z":      "its date is not a year, month and day such as 2026-01-31",
		"2026-1-31T12:00:00Z":        "its date is not a year, month and day such as 2026-01-31",
		"2026-02-29T12:00:00Z":       "there is no such day",
		"2026-13-01T12:00:00Z":       "there is no such day",
		"2026-00-01T12:00:00Z":       "there is no such day",
		"2026-01-00T12:00:00Z":       "there is no such day",
		"2026-01-31":                 "there is no T between its date and its time",
		"2026-01-31 12:00:00Z":       "there is no T between its date and its time",
		"2026-01-31T1:00:00Z":        "its time of day is not hours, minutes and seconds such as 12:00:00",
		"2026-01-31T24:00:00Z":       "its time of day is not hours, minutes and seconds such as 12:00:00",
		"2026-01-31T12:60:00Z":       "its time of day is not hours, minutes and seconds such as 12:00:00",
		"2026-01-31T12:00:61Z":       "its time of day is not hours, minutes and seconds such as 12:00:00",
		"2026-01-31T12:00Z":          "its time of day is not hours, minutes and seconds such as 12:00:00",
		"2026-01-31T12:00:00":        "it has no zone: end it with Z, or with an offset such as +01:00",
		"2026-01-31T12:00:00.Z":      "its fraction of a second has no digits behind the point",
		"2026-01-31T12:00:00,5Z":     "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00+24:00":  "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00+23:60":  "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00-24:00":  "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00+0100":   "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00 01:00":  "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00Z ":      "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:00+٠1:00":  "its zone is neither Z nor an offset from -23:59 to +23:59",
		"2026-01-31T12:00:60Z":       "a leap second is at 23:59:60 UTC of the last day of a month",
		"1998-12-31T23:58:60Z":       "a leap second is at 23:59:60 UTC of the last day of a month",
		"1998-12-31T22:59:60Z":       "a leap second is at 23:59:60 UTC of the last day of a month",
		"1998-12-30T23:59:60Z":       "a leap second is at 23:59:60 UTC of the last day of a month",
		"1998-12-31T23:59:60+01:00":  "a leap second is at 23:59:60 UTC of the last day of a month",
		"1998-12-31T23:59:60.5-0:00": "its zone is neither Z nor an offset from -23:59 to +23:59",
	} {
		if at, err := timestamp.Parse(text); err == nil || err.Error() != want || timestamp.Valid(text) {
			t.Errorf("%s: got %s, %v, want the error %q", text, at, err, want)
		}
	}
}

// What is read is read again as the same from what Go writes.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"2026-01-31T12:00:00Z", "2016-12-31t23:59:60.5-00:00", "2026-01-31T12:00:00.123+23:59", "2026-01-31T12:00:00+24:00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := timestamp.Parse(text)
		if err != nil {
			return
		}
		written := at.Format(time.RFC3339Nano)
		if len(written) > 0 && at.Year() > 9999 {
			return
		}
		if again, err := timestamp.Parse(written); err != nil || !again.Equal(at) {
			t.Errorf("%q is %s, which is read as %s, %v", text, written, again, err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		text, date string
		want       time.Duration
	}{
		{"", "", 0},
		{"0", "", 0},
		{"120", "", 2 * time.Minute},
		{" 120\t", "", 2 * time.Minute},
		{"4294967295", "", 4294967295 * time.Second},
		{"4294967296", "", 4294967296 * time.Second},
		{"9223372036", "", 9223372036 * time.Second},
		{"9223372037", "", timestamp.VeryLong},
		{"18446744073709551616", "", timestamp.VeryLong},
		{"99999999999999999999999999999999999999", "", timestamp.VeryLong},
		{"000000000000000000000000000120", "", 2 * time.Minute},
		{"+120", "", 0},
		{"-120", "", 0},
		{"1.5", "", 0},
		{"1e3", "", 0},
		{"2m", "", 0},
		{"Sat, 31 Jan 2026 12:02:00 GMT", "", 2 * time.Minute},
		{"Saturday, 31-Jan-26 12:02:00 GMT", "", 2 * time.Minute},
		{"Sat Jan 31 12:02:00 2026", "", 2 * time.Minute},
		{"Sat, 31 Jan 2026 12:02:00 CET", "", 0},
		{"Saturday, 31-Jan-26 12:02:00 CET", "", 0},
		{"Sat, 31 Jan 2026 11:00:00 GMT", "", 0},
		{"Sat, 31 Jan 2026 23:59:60 GMT", "", 12 * time.Hour},
		{"Wednesday, 31-Jan-75 12:00:00 GMT", "", time.Date(2075, 1, 31, 12, 0, 0, 0, time.UTC).Sub(now)},
		{"Sunday, 31-Jan-77 12:00:00 GMT", "", 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", "", timestamp.VeryLong},
		{"2026-01-31T12:02:00Z", "", 0},
		{"Sat, 31 Jan 2026 12:02:00 GMT", "Sat, 31 Jan 2026 12:00:30 GMT", 2 * time.Minute},
		{"Sat, 31 Jan 2026 10:02:00 GMT", "Sat, 31 Jan 2026 10:00:00 GMT", 2 * time.Minute},
	} {
		h := http.Header{}
		if tt.text != "" {
			h.Set("Retry-After", tt.text)
		}
		if tt.date != "" {
			h.Set("Date", tt.date)
		}
		if got := timestamp.RetryAfter(h, now); got != tt.want {
			t.Errorf("Retry-After: %s (Date: %s): got %s, want %s", tt.text, tt.date, got, tt.want)
		}
	}
}
