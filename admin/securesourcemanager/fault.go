package securesourcemanager

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A fault is why a request is not done. It is answered as a google.rpc.Status.
type fault struct {
	code       int    // of HTTP
	reason     string // of the ErrorInfo: stable, for programs
	message    string
	metadata   map[string]string // of the ErrorInfo: every value that the message names
	violations []violation
}

// A violation is one field that is wrong (google.rpc.BadRequest).
type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// Error is the message.
func (f *fault) Error() string { return f.message }

// newFault makes a fault of a message with places such as {hookId}, and of the names
// and values for them. What a message names is in the metadata so by construction.
func newFault(code int, reason, message string, values ...string) *fault {
	f := &fault{code: code, reason: reason, metadata: make(map[string]string, len(values)/2)}
	places := make([]string, 0, len(values))
	for i := 0; i < len(values); i += 2 {
		value := clip(values[i+1])
		f.metadata[values[i]] = value
		places = append(places, "{"+values[i]+"}", value)
	}
	f.message = strings.NewReplacer(places...).Replace(message)
	return f
}

// badField is a fault of one part of a request.
func badField(reason, field, message string, values ...string) *fault {
	f := newFault(http.StatusBadRequest, reason, "{field}: "+message, append(values, "field", field)...)
	f.violations = []violation{{field, strings.TrimPrefix(f.message, field+": ")}}
	return f
}

// clip bounds what an answer quotes.
func clip(text string) string {
	const limit = 500
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

func notFound(name string) *fault {
	return newFault(http.StatusNotFound, "NOT_FOUND", "{resource} is not found.", "resource", name)
}

func noMethod(r *http.Request) *fault {
	return newFault(http.StatusNotFound, "METHOD_NOT_FOUND", "There is no method {method} {path} in this API.", "method", r.Method, "path", r.URL.Path)
}

// Domain is that of every ErrorInfo: whose the reasons are.
const Domain = "jetpost"

// A class is what a status of HTTP is called here.
type class struct {
	name   string // of google.rpc.Code
	reason string // the default; a caller may give a more precise one
}

func classOf(code int) class {
	switch code {
	case http.StatusUnauthorized:
		return class{"UNAUTHENTICATED", "UNAUTHENTICATED"}
	case http.StatusForbidden:
		return class{"PERMISSION_DENIED", "PERMISSION_DENIED"}
	case http.StatusNotFound:
		return class{"NOT_FOUND", "NOT_FOUND"}
	case http.StatusConflict:
		return class{"ABORTED", "ABORTED"}
	case http.StatusTooManyRequests:
		return class{"RESOURCE_EXHAUSTED", "RATE_LIMITED"}
	case http.StatusServiceUnavailable:
		return class{"UNAVAILABLE", "UNAVAILABLE"}
	case http.StatusRequestTimeout:
		return class{"DEADLINE_EXCEEDED", "BODY_TOO_SLOW"}
	case http.StatusRequestEntityTooLarge:
		return class{"INVALID_ARGUMENT", "BODY_TOO_LARGE"}
	}
	if code >= http.StatusInternalServerError {
		return class{"INTERNAL", "INTERNAL"}
	}
	return class{"INVALID_ARGUMENT", "INVALID_ARGUMENT"}
}

// status is the body of an error: google.rpc.Status as REST has it.
type status struct {
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Details []any  `json:"details"`
	} `json:"error"`
}

type errorInfo struct {
	Type     string            `json:"@type"`
	Reason   string            `json:"reason"`
	Domain   string            `json:"domain"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

type badRequest struct {
	Type            string      `json:"@type"`
	FieldViolations []violation `json:"fieldViolations"`
}

type requestInfo struct {
	Type      string `json:"@type"`
	RequestID string `json:"requestId"`
}

func (f *fault) status(requestID string) *status {
	s := &status{}
	s.Error.Code, s.Error.Message, s.Error.Status = f.code, f.message, classOf(f.code).name
	if f.reason == reasonExists {
		s.Error.Status = "ALREADY_EXISTS"
	}
	s.Error.Details = []any{errorInfo{"type.googleapis.com/google.rpc.ErrorInfo", f.reason, Domain, f.metadata}}
	if len(f.violations) > 0 {
		s.Error.Details = append(s.Error.Details, badRequest{"type.googleapis.com/google.rpc.BadRequest", f.violations})
	}
	if requestID != "" {
		s.Error.Details = append(s.Error.Details, requestInfo{"type.googleapis.com/google.rpc.RequestInfo", requestID})
	}
	return s
}

const reasonExists = "HOOK_EXISTS"

// Refuse answers a request that was not let in, for what stands before the Handler.
// The headers that belong to the status are set already.
func Refuse(w http.ResponseWriter, code int, _, text string) {
	f := newFault(code, classOf(code).reason, "{problem}", "problem", text)
	writeJSON(w, code, f.status(""), false)
}

// refuse answers what the envelope did not let through.
func refuse(w http.ResponseWriter, r *http.Request, why httpapi.Refusal) {
	f := faultOf(why)
	if why.Status == http.StatusNotFound || why.Status == http.StatusMethodNotAllowed {
		f = noMethod(r)
	}
	writeFault(w, r, f, why.RequestID)
}

// faultOf says in this API's words what the others have refused.
func faultOf(why httpapi.Refusal) *fault {
	code := why.Status
	if code == http.StatusUnprocessableEntity {
		code = http.StatusBadRequest
	}
	if len(why.Fields) == 0 {
		return newFault(code, classOf(code).reason, "{problem}", "problem", why.Detail)
	}
	first := why.Fields[0]
	f := badField("INVALID_FIELD", fieldOf(first.Field), "{problem}", "problem", first.Message)
	f.code, f.violations = code, nil
	for _, field := range why.Fields {
		f.violations = append(f.violations, violation{fieldOf(field.Field), clip(field.Message)})
	}
	return f
}

// fieldOf is what a field of a subscription comes from.
func fieldOf(field string) string {
	switch {
	case strings.HasPrefix(field, "endpoint.url"):
		return "hook.targetUri"
	case strings.HasPrefix(field, "endpoint.query"):
		return "hook.sensitiveQueryString"
	case strings.HasPrefix(field, "types"):
		return "hook.events"
	case strings.HasPrefix(field, "filters"):
		return "hook.pushOption.branchFilter"
	}
	return "hook"
}

// explain turns any error into a fault, and logs what is not the client's doing.
func (a *API) explain(ctx context.Context, name string, err error) (f *fault, requestID string) {
	if f, ok := errors.AsType[*fault](err); ok {
		return f, ""
	}
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return notFound(name), ""
	case errors.Is(err, subscription.ErrExists):
		return newFault(http.StatusConflict, reasonExists, "{resource} exists already.", "resource", name), ""
	}
	why := a.envelope.RefusalOf(ctx, err)
	return faultOf(why), why.RequestID
}
