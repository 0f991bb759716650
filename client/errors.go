package client

import (
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client/api"
)

// A ConnectionError says that a server could not be reached, or that it has closed the
// connection without an answer: it is not known whether it has done what was asked.
type ConnectionError struct {
	URL string // the base URL
	Err error
}

// Error names the server.
func (e *ConnectionError) Error() string {
	return "no server answers at " + e.URL + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *ConnectionError) Unwrap() error { return e.Err }

// problemOf reads an answer that is no success. One that is no problem document, as a
// proxy may give it, has its text for the detail.
func problemOf(resp *http.Response) *api.Problem {
	p := &api.Problem{}
	const most = 1 << 20
	text, _ := io.ReadAll(io.LimitReader(resp.Body, most)) // what there is of it
	if err := json.Unmarshal(text, p); err != nil {
		*p = api.Problem{Title: http.StatusText(resp.StatusCode), Detail: strings.TrimSpace(string(text))}
	}
	p.Status, p.RetryAfter = resp.StatusCode, retryAfter(resp.Header, time.Now())
	return p
}

// retryAfter reads the header: seconds, of whatever number, or a time by the clock of the
// server (RFC 9110, section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value != "" && strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseUint(value, 10, 31)
		if err != nil { // it is out of range
			return math.MaxInt64
		}
		return time.Duration(seconds) * time.Second //nolint:gosec // of 31 bits
	}
	if at, err := http.ParseTime(value); err == nil {
		if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
			now = theirs
		}
		return max(at.Sub(now), 0)
	}
	return 0
}
