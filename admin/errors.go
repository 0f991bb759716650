package admin

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
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/follow"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// retryAfter is what a client is told to wait when NATS does not answer, in seconds.
const retryAfter = 2

var (
	errPrecondition = errors.New("the subscription has another revision than was read")
	errDisabled     = errors.New("the subscription is disabled, so nothing is delivered")
	errQueueFull    = errors.New("the subscription's queue is full")
	errNoQueue      = errors.New("the subscription has no queue")
	errUnreadable   = errors.New("it could not be read, so there is no delivery to make")
	errEventGone    = errors.New("the event is gone")
	errNoEvent      = errors.New("no such event is stored")
	errNotAttempted = errors.New("no attempt and no dead letter of this delivery is on record")
	errNoJob        = errors.New("redrive job not found")
	errJobEnded     = errors.New("the redrive job has ended")
	errUnderway     = errors.New("a request with this Idempotency-Key is under way")
	errOtherRequest = errors.New("this Idempotency-Key belongs to another request")
	errFollowers    = errors.New("too many clients follow a log or export one already")
)

// A problem is a v1.Problem that huma can answer with.
type problem struct{ v1.Problem }

// Error is the detail.
func (p *problem) Error() string { return p.Detail }

// GetStatus makes a problem an answer for huma.
func (p *problem) GetStatus() int { return p.Status }

// ContentType is the media type of RFC 9457.
func (p *problem) ContentType(string) string { return "application/problem+json" }

func newProblem(status int, detail string, fields ...v1.FieldProblem) *problem {
	return &problem{v1.Problem{Title: http.StatusText(status), Status: status, Detail: detail, Errors: fields}}
}

// invalid is a problem with one part of what was sent.
func invalid(field, message string) *problem {
	detail := message
	if field != "" {
		detail = field + ": " + message
	}
	return newProblem(http.StatusUnprocessableEntity, detail, v1.FieldProblem{Field: field, Message: message})
}

func badCursor() *problem {
	return invalid("cursor", "is not the next_cursor of a page of this list: leave it out for the first page")
}

// A meaning says how an error is answered.
type meaning struct {
	err    error
	status int
	advice string
}

// meanings is the only place where errors become statuses. The first that fits
// counts.
func meanings() []meaning {
	return []meaning{
		{audit.ErrNotRecorded, http.StatusServiceUnavailable, ""},
		{audit.ErrNotFound, http.StatusNotFound, "records are kept for 400 days"},
		{subscription.ErrNotFound, http.StatusNotFound, ""},
		{subscription.ErrExists, http.StatusConflict, "change it with PUT or PATCH, or choose another id"},
		{subscription.ErrTooManyKeys, http.StatusConflict, "wait until then, or rotate with an overlap of 0s, which has all old secrets stop now"},
		{subscription.ErrConflict, http.StatusConflict, "read it again and repeat the change"},
		{access.ErrNotFound, http.StatusNotFound, ""},
		{access.ErrConflict, http.StatusConflict, "read it again and repeat the change"},
		{access.ErrTooMany, http.StatusConflict, ""},
		{errNoTokens, http.StatusServiceUnavailable, ""},
		{schemas.ErrNotFound, http.StatusNotFound, ""},
		{schemas.ErrConflict, http.StatusConflict, "read it again and repeat the change"},
		{schemas.ErrReserved, http.StatusConflict, ""},
		{schemas.ErrHasEvents, http.StatusConflict, "wait until they have aged out, or leave the domain as it is"},
		{repository.ErrClass, http.StatusConflict, "delete it and register it again"},
		{repository.ErrConflict, http.StatusConflict, "repeat the change"},
		{repository.ErrInvalid, http.StatusUnprocessableEntity, ""},
		{errNoRepositories, http.StatusServiceUnavailable, ""},
		{follow.ErrStopped, http.StatusServiceUnavailable, ""},
		{errPrecondition, http.StatusPreconditionFailed, "read it again and repeat the change"},
		{errDisabled, http.StatusConflict, "resume it first"},
		{errQueueFull, http.StatusConflict, "wait until deliveries have been made"},
		{errNoQueue, http.StatusConflict, "resume the subscription, which makes it"},
		{errUnreadable, http.StatusConflict, "look at it, and discard it"},
		{errEventGone, http.StatusGone, ""},
		{errNoEvent, http.StatusNotFound, "it never was, it was erased, or it is older than the 30 days for which events are kept"},
		{errNotAttempted, http.StatusNotFound, ""},
		{errNoJob, http.StatusNotFound, ""},
		{errJobEnded, http.StatusConflict, ""},
		{delivery.ErrNoLetter, http.StatusNotFound, "it was redriven, discarded, or is older than 90 days"},
		{errUnderway, http.StatusConflict, "repeat this one in a moment, to get the answer to that"},
		{errOtherRequest, http.StatusUnprocessableEntity, "it was used with another path or body; make a new key for each new request"},
		{errFollowers, http.StatusServiceUnavailable, ""},
		{jetstream.ErrConsumerNotFound, http.StatusServiceUnavailable, ""},
		{jetstream.ErrStreamNotFound, http.StatusServiceUnavailable, ""},
		{jetstream.ErrBucketNotFound, http.StatusServiceUnavailable, ""},
		{jetstream.ErrNoStreamResponse, http.StatusServiceUnavailable, ""},
		{jetstream.ErrNoHeartbeat, http.StatusServiceUnavailable, ""},
		{subscription.ErrStopped, http.StatusServiceUnavailable, ""},
		{context.DeadlineExceeded, http.StatusServiceUnavailable, ""},
		{context.Canceled, http.StatusServiceUnavailable, ""},
		{nats.ErrNoResponders, http.StatusServiceUnavailable, ""},
		{nats.ErrTimeout, http.StatusServiceUnavailable, ""},
		{nats.ErrDisconnected, http.StatusServiceUnavailable, ""},
		{nats.ErrConnectionClosed, http.StatusServiceUnavailable, ""},
		{nats.ErrConnectionDraining, http.StatusServiceUnavailable, ""},
		{nats.ErrReconnectBufExceeded, http.StatusServiceUnavailable, ""},
		{keyring.ErrKeyring, http.StatusInternalServerError, ""},
	}
}

// problemOf turns any error into the answer, and logs what is not the client's
// doing. Errors never hold secrets, so their text is shown, except for those that
// nobody has thought of.
func (a *Admin) problemOf(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if found, ok := errors.AsType[*subscription.ValidationError](err); ok {
		return validationProblem(found)
	}
	if found, ok := errors.AsType[*access.FieldError](err); ok {
		return invalid(found.Field, found.Message)
	}
	if found, ok := errors.AsType[*schemas.LoadError](err); ok {
		return filesProblem(found)
	}
	if found, ok := errors.AsType[*schemas.IncompatibleError](err); ok {
		return incompatibleProblem(found)
	}
	status, detail := http.StatusInternalServerError, "this should not happen; the server's log has more"
	for _, m := range meanings() {
		if errors.Is(err, m.err) {
			status, detail = m.status, err.Error()
			if m.advice != "" {
				detail += ": " + m.advice
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
	p := newProblem(status, detail)
	id := requestID(ctx)
	switch {
	case ctx.Err() != nil: // the client has gone away, and that is all
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
func (a *Admin) RefusalOf(ctx context.Context, err error) Refusal {
	return refusalOf(a.problemOf(ctx, err))
}

func refusalOf(p *problem) Refusal {
	r := Refusal{Status: p.Status, Detail: p.Detail, RequestID: p.RequestID}
	for _, f := range p.Errors {
		r.Fields = append(r.Fields, subscription.Problem{Field: f.Field, Message: f.Message})
	}
	return r
}

func validationProblem(found *subscription.ValidationError) *problem {
	fields := make([]v1.FieldProblem, len(found.Problems))
	for i, one := range found.Problems {
		fields[i] = v1.FieldProblem{Field: one.Field, Message: one.Message}
	}
	detail := strconv.Itoa(len(fields)) + " things are wrong with the subscription"
	if len(fields) == 1 {
		detail = found.Error()
	}
	return newProblem(http.StatusUnprocessableEntity, detail, fields...)
}

// conform gives every error the same form, those of the HTTP library as well. It
// drops the values that those would send back: they may be secrets.
func conform(ctx huma.Context, _ string, v any) (any, error) {
	if model, ok := v.(*huma.ErrorModel); ok {
		p := newProblem(model.Status, model.Detail)
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
	if p, ok := v.(*problem); ok && p.Status == http.StatusServiceUnavailable {
		ctx.SetHeader("Retry-After", strconv.Itoa(retryAfter))
	}
	return v, nil
}

func writeProblem(w http.ResponseWriter, p *problem) {
	writeJSON(w, p.Status, p.ContentType(""), p)
}

// writeJSON answers outside of huma. A client that has gone away is not our problem.
func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
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
