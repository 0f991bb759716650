package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Problem is why a request was not done (RFC 9457).
type Problem struct { //nolint:errname // what RFC 9457 calls it
	Title     string         `json:"title" doc:"The status in words."`
	Status    int            `json:"status" doc:"The HTTP status."`
	Detail    string         `json:"detail" doc:"What is wrong, and what to do about it."`
	Errors    []FieldProblem `json:"errors,omitempty" doc:"All problems of the request, so that one correction fixes them."`
	RequestID string         `json:"request_id,omitempty" doc:"Under which the server's log has more, for errors that are not the client's."`
	Stored    []Receipt      `json:"stored,omitempty" hidden:"true" doc:"Of a batch of events that could not be stored as a whole: what is stored."`

	// RetryAfter is how long the server asks to wait before the request is repeated: the
	// header Retry-After of the answer. 0: it does not say.
	RetryAfter time.Duration `json:"-"`
}

// A FieldProblem is one thing that is wrong with a request.
type FieldProblem struct {
	Field   string `json:"field" doc:"Where: a path into the body such as filters[0].exact.subject, or the name of a parameter. Empty: the whole."`
	Message string `json:"message" doc:"What is wrong there. It never shows a secret."`
}

// Error has the detail in its first line and, where it does not say them already, each
// thing that is wrong in a line of its own.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Detail)
	if p.Detail == "" {
		b.WriteString("the server answers " + strconv.Itoa(p.Status) + " " + http.StatusText(p.Status))
	}
	for _, one := range p.Errors {
		if strings.Contains(p.Detail, one.Message) {
			continue
		}
		b.WriteString("\n  ")
		if one.Field != "" {
			b.WriteString(one.Field + ": ")
		}
		b.WriteString(one.Message)
	}
	if p.RequestID != "" {
		b.WriteString(" (request " + p.RequestID + ")")
	}
	return b.String()
}

// Temporary reports whether the same request may succeed later.
func (p *Problem) Temporary() bool {
	switch p.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// Rejects reports whether the server has read the request and will never accept it.
func (p *Problem) Rejects() bool {
	switch p.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
