package client

import (
	"encoding/json"
	"io"
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
	p.Status, p.RetryAfter = resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return p
}

// retryAfter reads the header: seconds, or a time (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
