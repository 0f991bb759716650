package producer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/schemas"
)

// maxListed is how many problems a document lists.
const maxListed = 20

// A problem is why a request was not done. The fields of its errors are JSON pointers
// into the event in structured form, or into the batch.
type problem struct{ api.Problem }

func newProblem(status int, detail string) *problem {
	return &problem{api.Problem{Title: http.StatusText(status), Status: status, Detail: detail}}
}

func (p *problem) with(field, message string) *problem {
	p.Errors = append(p.Errors, api.FieldProblem{Field: field, Message: message})
	return p
}

func (p *problem) withStored(receipts []api.Receipt) *problem {
	p.Stored = receipts
	return p
}

// join adds the problems of another event. The first one gives the detail; an
// event that is too large outweighs one that is wrong.
func (p *problem) join(other *problem) *problem {
	if p == nil {
		return other
	}
	if other.Status > p.Status {
		p.Title, p.Status, p.Detail = other.Title, other.Status, other.Detail
	}
	p.Errors = append(p.Errors, other.Errors[:min(len(other.Errors), maxListed-len(p.Errors))]...)
	return p
}

// outcome is the metric's word for a problem.
func (p *problem) outcome() string {
	if p.Status == http.StatusRequestEntityTooLarge {
		return outcomeTooLarge
	}
	return outcomeInvalid
}

// eventProblem puts the error about one event into a document. at is the JSON
// pointer to the event.
func eventProblem(err error, at string) *problem {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, ErrTooLarge):
		status = http.StatusRequestEntityTooLarge
	case errors.Is(err, ErrUnavailable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, ErrReserved), errors.Is(err, ErrForeign):
		status = http.StatusForbidden
	}
	detail := err.Error()
	if at != "" {
		detail = "event " + strings.TrimPrefix(at, "/") + ": " + detail
	}
	p := newProblem(status, detail)
	var invalid *schemas.ValidationError
	switch {
	case errors.As(err, &invalid):
		for _, broken := range invalid.Problems[:min(len(invalid.Problems), maxListed)] {
			p = p.with(at+broken.Field, broken.Message)
		}
	case errors.Is(err, schemas.ErrUnknownType), errors.Is(err, ErrReserved), errors.Is(err, ErrForeign):
		p = p.with(at+"/type", err.Error())
	case at != "":
		p = p.with(at, err.Error())
	}
	return p
}

func writeProblem(w http.ResponseWriter, p *problem) {
	writeJSON(w, p.Status, "application/problem+json", p)
}
