package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/precondition"
	v1 "github.com/jetpost/jetpost/client/api"
)

type conditionsKey struct{}

// withConditions reads the conditions of a request, all lines of them.
func withConditions(ctx huma.Context, next func(huma.Context)) {
	var ifMatch, ifNoneMatch []string
	ctx.EachHeader(func(name, value string) {
		switch {
		case strings.EqualFold(name, precondition.IfMatch):
			ifMatch = append(ifMatch, value)
		case strings.EqualFold(name, precondition.IfNoneMatch):
			ifNoneMatch = append(ifNoneMatch, value)
		}
	})
	next(huma.WithValue(ctx, conditionsKey{}, precondition.Read(ifMatch, ifNoneMatch)))
}

// ConditionsOf are those of the request. Compatible APIs know none.
func ConditionsOf(ctx context.Context) precondition.Conditions {
	c, _ := ctx.Value(conditionsKey{}).(precondition.Conditions)
	return c
}

// conditional has an operation heed If-Match and If-None-Match (RFC 9110, section 13):
//
//	PUT, PATCH, DELETE   by the handler, on the very state that it changes: see mayChange
//	GET                  here, by the ETag of the answer: 304, or 412
//	POST                 here, before it is done. What it makes or does has no ETag yet:
//	                     with If-Match it is never done, and with If-None-Match always
func conditional[I, O any](op *huma.Operation, handle func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	op.Middlewares = append(op.Middlewares, withConditions)
	answer := reflect.TypeFor[O]()
	describeConditions(op, answer)
	method, log := op.Method, answer == reflect.TypeFor[Streamed]()
	return func(ctx context.Context, in *I) (*O, error) {
		switch {
		case method == http.MethodPost:
			if err := mayPost(ctx); err != nil {
				return nil, err
			}
		case method == http.MethodGet && log: // one that has begun has to be ended
			if err := mayShow(ctx, ""); err != nil {
				return nil, err
			}
		}
		out, err := handle(ctx, in)
		if err == nil && method == http.MethodGet && !log {
			err = mayShow(ctx, tagOf(out))
		}
		return out, err
	}
}

// mayPost says why a request must not be done that makes something, or has something
// done.
func mayPost(ctx context.Context) error {
	switch ConditionsOf(ctx).Decide(precondition.Current{}) {
	case precondition.NotMatched:
		return NewProblem(http.StatusPreconditionFailed, "what is made or done here has no ETag that If-Match could name: leave If-Match out")
	case precondition.Unreadable:
		return unreadable()
	case precondition.Proceed, precondition.Matched:
	}
	return nil
}

// MayChange says why a request must not be done to what there is now.
func MayChange(ctx context.Context, what string, now precondition.Current) error {
	switch ConditionsOf(ctx).Decide(now) {
	case precondition.NotMatched:
		return notMatched(what, now)
	case precondition.Matched:
		return NewProblem(http.StatusPreconditionFailed, what+" exists, and If-None-Match names it: leave If-None-Match out to change it")
	case precondition.Unreadable:
		return unreadable()
	case precondition.Proceed:
	}
	return nil
}

func notMatched(what string, now precondition.Current) error {
	detail := what + " is not what If-Match names: "
	switch {
	case !now.Exists:
		detail = "there is no " + strings.TrimPrefix(what, "the ") + ": leave If-Match out to create it"
	case now.ETag == "":
		detail += "it has no ETag, leave If-Match out"
	default:
		detail += "its ETag is " + now.ETag + ", read it again and repeat the change"
	}
	return NewProblem(http.StatusPreconditionFailed, detail)
}

func unreadable() error {
	const message = `is neither * nor a list of ETags in double quotes, such as "7", "8"`
	return NewProblem(http.StatusBadRequest, precondition.IfNoneMatch+": "+message, v1.FieldProblem{Field: precondition.IfNoneMatch, Message: message})
}

// Overtaken answers a change for which another one was faster as HTTP does where it was
// bound to a revision.
func Overtaken(ctx context.Context, err, conflict error) error {
	if errors.Is(err, conflict) && ConditionsOf(ctx).Bound() {
		return NewProblem(http.StatusPreconditionFailed, err.Error()+", and is not what If-Match names: read it again and repeat the change")
	}
	return err
}

// mayShow says why an answer is not shown as it is.
func mayShow(ctx context.Context, tag string) error {
	now := precondition.Current{Exists: true, ETag: tag}
	switch ConditionsOf(ctx).Decide(now) {
	case precondition.NotMatched:
		return notMatched("what is asked for", now)
	case precondition.Matched:
		return &notModifiedError{tag}
	case precondition.Unreadable:
		return unreadable()
	case precondition.Proceed:
	}
	return nil
}

// notModifiedError is the answer to a client that has what it asks for.
type notModifiedError struct{ tag string }

// Error is for the log.
func (*notModifiedError) Error() string { return "the client has it" }

// GetStatus makes it an answer for huma.
func (*notModifiedError) GetStatus() int { return http.StatusNotModified }

// GetHeaders are those that 200 would have had (RFC 9110, section 15.4.5).
func (n *notModifiedError) GetHeaders() http.Header {
	if n.tag == "" {
		return nil
	}
	return http.Header{"Etag": {n.tag}}
}

// tagOf is the ETag of an answer; empty where it has none.
func tagOf(out any) string {
	if field := reflect.ValueOf(out).Elem().FieldByName("ETag"); field.IsValid() {
		return field.String()
	}
	return ""
}

// describeConditions adds the headers to the description of an operation: to those that
// change what has an ETag, and to those that show it.
func describeConditions(op *huma.Operation, answer reflect.Type) {
	text := "Do it only if it still has one of these ETags, or with * if there is one; otherwise 412."
	none := "Do it only if it has none of these ETags, or with * if there is none; otherwise 412."
	switch op.Method {
	case http.MethodGet:
		if _, shows := answer.FieldByName("ETag"); !shows {
			return
		}
		text = "Show it only if it still has one of these ETags, or with * if there is one; otherwise 412."
		none = "Show it only if it has none of these ETags; otherwise 304."
		if op.Responses == nil {
			op.Responses = map[string]*huma.Response{}
		}
		op.Responses["304"] = &huma.Response{Description: "It has one of the ETags of If-None-Match."}
	case http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return
	}
	for _, header := range [...]struct{ name, description string }{{precondition.IfMatch, text}, {precondition.IfNoneMatch, none}} {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: header.name, In: "header", Description: header.description, Example: `"7"`, Schema: &huma.Schema{Type: huma.TypeString},
		})
	}
}

// RevisionTag is a revision in the form of HTTP.
func RevisionTag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }
