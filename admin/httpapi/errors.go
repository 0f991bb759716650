package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// retryAfter is how long a client is asked to wait when NATS does not answer, in seconds.
const retryAfter = 2

var (
	errUnderway     = errors.New("a request with this Idempotency-Key is under way")
	errOtherRequest = errors.New("this Idempotency-Key belongs to another request")
	errFollowers    = errors.New("too many clients follow a log or export one already")
)

// A ProblemError is a v1.Problem that huma can answer with.
type ProblemError struct{ v1.Problem }

// Error is the detail.
func (p *ProblemError) Error() string { return p.Detail }

// GetStatus makes a problem an answer for huma.
func (p *ProblemError) GetStatus() int { return p.Status }

// ContentType is the media type of RFC 9457.
func (p *ProblemError) ContentType(string) string { return "application/problem+json" }

// NewProblem is the problem document of a status, with what is wrong and what to do about it.
func NewProblem(status int, detail string, fields ...v1.FieldProblem) *ProblemError {
	return &ProblemError{v1.Problem{Title: http.StatusText(status), Status: status, Detail: detail, Errors: fields}}
}

// Invalid is a problem with one part of what was sent.
func Invalid(field, message string) *ProblemError {
	detail := message
	if field != "" {
		detail = field + ": " + message
	}
	return NewProblem(http.StatusUnprocessableEntity, detail, v1.FieldProblem{Field: field, Message: message})
}

// BadCursor is the problem of a cursor that no page has given.
func BadCursor() *ProblemError {
	return Invalid("cursor", "is not the next_cursor of a page of this list: leave it out for the first page")
}

// An ErrorStatus says how an error is answered.
type ErrorStatus struct {
	Err    error
	Status int
	Advice string
}

// ownStatuses are those of the errors of an API itself.
func ownStatuses() []ErrorStatus {
	return []ErrorStatus{
		{errUnderway, http.StatusConflict, "repeat this one in a moment, to get the answer to that"},
		{errOtherRequest, http.StatusUnprocessableEntity, "it was used with another path or body; make a new key for each new request"},
		{errFollowers, http.StatusServiceUnavailable, ""},
	}
}

// problemOf turns any error into the answer, and logs what is not the client's
// doing. Errors never hold secrets, so their text is shown, except for
// unexpected ones.
func (a *API) problemOf(ctx context.Context, err error) *ProblemError {
	if p, ok := errors.AsType[*ProblemError](err); ok {
		return p
	}
	if found, ok := errors.AsType[*subscription.ValidationError](err); ok {
		return validationProblem(found)
	}
	if found, ok := errors.AsType[*access.FieldError](err); ok {
		return Invalid(found.Field, found.Message)
	}
	status, detail := http.StatusInternalServerError, "this should not happen; the server's log has more"
	for _, m := range a.statuses {
		if errors.Is(err, m.Err) {
			status, detail = m.Status, err.Error()
			if m.Advice != "" {
				detail += ": " + m.Advice
			}
			break
		}
	}
	if fault := stream.FaultOf(err); errors.Is(err, audit.ErrNotRecorded) && fault != stream.NoFault {
		detail = audit.ErrNotRecorded.Error() + ": " + fault.String() + ": " + fault.Advice()
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && status == http.StatusInternalServerError {
		status, detail = http.StatusServiceUnavailable, "NATS refuses: "+api.Description
		if fault := stream.FaultOf(err); fault != stream.NoFault {
			detail = fault.String() + ": " + fault.Advice()
		}
	}
	p := NewProblem(status, detail)
	id := RequestID(ctx)
	switch {
	case ctx.Err() != nil: // the client has disconnected, and that is all
		a.log.Debug("request was given up by its client", zap.String("request_id", id), zap.Error(err))
	case status == http.StatusServiceUnavailable:
		p.RequestID = id
		a.log.Warn("request failed because of NATS, the client may repeat it", zap.String("request_id", id), zap.Error(err))
	case status >= http.StatusInternalServerError:
		p.RequestID = id
		a.log.Error("request failed", zap.String("request_id", id), zap.Error(err))
	}
	return p
}

// A Refusal is why a request was not done, for an API that has another form of errors
// than problem documents.
type Refusal struct {
	Status    int                    // of HTTP
	Detail    string                 // what is wrong, and what to do about it; never a secret
	Fields    []subscription.Problem // everything that is wrong with what was sent
	RequestID string                 // under which the server's log has more, where it is not the client's doing
}

// RefusalOf turns any error into an answer, and logs what is not the client's doing.
func (a *API) RefusalOf(ctx context.Context, err error) Refusal {
	return refusalOf(a.problemOf(ctx, err))
}

func refusalOf(p *ProblemError) Refusal {
	r := Refusal{Status: p.Status, Detail: p.Detail, RequestID: p.RequestID}
	for _, f := range p.Errors {
		r.Fields = append(r.Fields, subscription.Problem{Field: f.Field, Message: f.Message})
	}
	return r
}

func validationProblem(found *subscription.ValidationError) *ProblemError {
	fields := make([]v1.FieldProblem, len(found.Problems))
	for i, one := range found.Problems {
		fields[i] = v1.FieldProblem{Field: one.Field, Message: one.Message}
	}
	detail := strconv.Itoa(len(fields)) + " things are wrong with the subscription"
	if len(fields) == 1 {
		detail = found.Error()
	}
	return NewProblem(http.StatusUnprocessableEntity, detail, fields...)
}

// conform gives every error the same form, those of the HTTP library as well. It
// drops the values that those would send back: they may be secrets.
func conform(ctx huma.Context, _ string, v any) (any, error) {
	if model, ok := v.(*huma.ErrorModel); ok {
		p := NewProblem(model.Status, model.Detail)
		if p.Detail == "request body is required" {
			p.Detail = "a body is required: send JSON; /docs has an example"
		}
		for _, e := range model.Errors {
			p.Errors = append(p.Errors, v1.FieldProblem{Field: e.Location, Message: remedy(ctx.Operation(), e)})
		}
		if len(p.Errors) == 1 {
			p.Detail = p.Errors[0].Field + ": " + p.Errors[0].Message
		}
		v = p
	}
	if p, ok := v.(*ProblemError); ok && p.Status == http.StatusServiceUnavailable {
		ctx.SetHeader("Retry-After", strconv.Itoa(retryAfter))
	}
	return v, nil
}

// WriteProblem answers outside of an operation.
func WriteProblem(w http.ResponseWriter, p *ProblemError) {
	WriteJSON(w, p.Status, p.ContentType(""), p)
}

// WriteJSON answers outside of huma. A client that has disconnected is not our problem.
func WriteJSON(w http.ResponseWriter, status int, contentType string, body any) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // strings and numbers always can
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes())
}

// remedy says in other words what the HTTP library has found wrong with a parameter,
// and what to do about it.
func remedy(op *huma.Operation, found *huma.ErrorDetail) string {
	if message, ok := instantMessage(found.Message); ok {
		return message
	}
	switch {
	case found.Message == "unknown query parameter":
		var names []string
		for _, p := range op.Parameters {
			if p.In == "query" {
				names = append(names, p.Name)
			}
		}
		if len(names) == 0 {
			return "is unknown: this path takes no query parameters"
		}
		return "is unknown: use " + strings.Join(names, ", ")
	case found.Message == "invalid integer" && isWhole(found.Value):
		return "is out of range"
	case found.Message == "invalid integer":
		return "must be a whole number"
	case found.Message == "invalid boolean":
		return "must be true or false"
	case found.Message == "required query parameter is missing":
		return "is missing: " + describedAs(op, strings.TrimPrefix(found.Location, "query."))
	}
	return found.Message
}

// isWhole reports whether a parameter is a whole number, however large.
func isWhole(value any) bool {
	text, ok := value.(string)
	text = strings.TrimLeft(text, "+-")
	return ok && text != "" && strings.Trim(text, "0123456789") == ""
}

// describedAs is the description of a parameter.
func describedAs(op *huma.Operation, name string) string {
	for _, p := range op.Parameters {
		if p.Name == name {
			return p.Description
		}
	}
	return "give it"
}

// jsonWord is what JSON calls a type of Go.
func jsonWord(t reflect.Type) string {
	words := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean, true or false", reflect.Slice: "array", reflect.Array: "array", reflect.Map: "object", reflect.Struct: "object",
	}
	return cmp.Or(words[t.Kind()], "number")
}
