package timestamp

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxSkew is by how much the clocks of both sides may differ before a date is read by
// that of the other side.
const maxSkew = time.Minute

// VeryLong is a Retry-After of more seconds than a duration holds. The caller has a bound
// of its own.
const VeryLong = time.Duration(math.MaxInt64)

// RetryAfter reads the header of that name: seconds or an HTTP date (RFC 9110, section
// 10.2.3). What cannot be read, and what is past, is 0. A date is read by the clock of the
// answering server, which its Date shows, where the two clocks differ.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.Trim(h.Get("Retry-After"), " \t")
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(VeryLong/time.Second) { // digits only, so too many of them
			return VeryLong
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := ParseHTTP(text, now)
	if err != nil {
		return 0
	}
	if theirs, err := ParseHTTP(h.Get("Date"), now); err == nil && theirs.Sub(now).Abs() > maxSkew {
		now = theirs
	}
	return max(at.Sub(now), 0)
}

var errHTTPDate = errors.New("it is not an HTTP date such as Sat, 31 Jan 2026 12:00:00 GMT")

// ParseHTTP reads an HTTP date of any of the three forms of RFC 9110, section 5.6.7. Of a
// year of two digits the century is that which is at most fifty years ahead of now. A leap
// second is read as the second after it.
func ParseHTTP(text string, now time.Time) (time.Time, error) {
	before, after, leap := strings.Cut(text, ":60 ")
	if leap {
		text = before + ":59 " + after
	}
	for _, form := range [...]string{http.TimeFormat, time.RFC850, time.ANSIC} {
		at, err := time.Parse(form, text)
		if err != nil {
			continue
		}
		if form == time.RFC850 {
			if !strings.HasSuffix(text, " GMT") { // or any other name of a zone would be read as GMT
				continue
			}
			at = inCentury(at, now)
		}
		if leap {
			at = at.Add(time.Second)
		}
		return at.UTC(), nil
	}
	return time.Time{}, errHTTPDate
}

// inCentury gives a year of two digits its century.
func inCentury(at, now time.Time) time.Time {
	year := now.UTC().Year()
	at = at.AddDate(year-year%100-at.Year()+at.Year()%100, 0, 0)
	if at.After(now.AddDate(50, 0, 0)) {
		return at.AddDate(-100, 0, 0)
	}
	return at
}
