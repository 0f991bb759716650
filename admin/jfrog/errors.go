package jfrog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The texts of errors that are known of the platform; clients look for some of them.
const (
	textNoSubscription = "Subscription does not exist"
	textRefusedURL     = "Validation Error - unable to validate subscription"
)

func textNoDomain(domain string) string {
	return "invalid input: domain with id '" + domain + "' was not found"
}

func textNoProxy(key string) string { return "proxy with key '" + key + "' not found" }

// failures is the body of an error. The platform leaves the code empty; clients need
// it to be a string.
type failures struct {
	Errors []failure `json:"errors"`
}

type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Refuse answers in the form of the platform, also for those who stand before Handler:
// {"errors":[{"code":"","message":"…"}]}.
func Refuse(w http.ResponseWriter, _ *http.Request, why httpapi.Refusal) {
	var body failures
	for _, f := range why.Fields {
		body.Errors = append(body.Errors, failure{Message: messageOf(f)})
	}
	if len(body.Errors) == 0 {
		body.Errors = []failure{{Message: why.Detail}}
	}
	if why.RequestID != "" {
		body.Errors[0].Message += " (request " + why.RequestID + ")"
	}
	status := why.Status
	switch status {
	case http.StatusConflict, http.StatusUnprocessableEntity:
		status = http.StatusBadRequest // the platform has one status for what cannot be done as asked
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "2")
	}
	writeJSON(w, status, body)
}

// Deny is Refuse for who lets requests in. The code, which is not the platform's, is not
// shown.
func Deny(w http.ResponseWriter, status int, _, text string) {
	writeJSON(w, status, failures{Errors: []failure{{Message: text}}})
}

func messageOf(p subscription.Problem) string {
	if p.Field == "" {
		return p.Message
	}
	return p.Field + ": " + p.Message
}

// fail answers an error.
func (j *API) fail(ctx context.Context, w http.ResponseWriter, r *http.Request, err error) {
	if why, ok := refusalOf(err); ok {
		Refuse(w, r, why)
		return
	}
	if errors.Is(err, subscription.ErrNotFound) {
		Refuse(w, r, httpapi.Refusal{Status: http.StatusNotFound, Detail: textNoSubscription})
		return
	}
	Refuse(w, r, j.services.API.RefusalOf(ctx, err))
}

// writeJSON answers. A client that has disconnected is not our problem.
func writeJSON(w http.ResponseWriter, status int, body any) {
	write(w, status, encode(body))
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// encode is json.Marshal without the escapes for HTML: what clients have sent stays as
// it is.
func encode(v any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // texts, numbers and JSON that was read before always can
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// problems collects what is wrong with a document.
type problems struct{ list []subscription.Problem }

func (p *problems) add(field, message string) {
	const most = 100
	if len(p.list) < most {
		p.list = append(p.list, subscription.Problem{Field: field, Message: message})
	}
}

// addAll takes over what another check has found, as problems of handler n where they
// are about one.
func (p *problems) addAll(err error, n int, d *document) error {
	invalid, ok := errors.AsType[*subscription.ValidationError](err)
	if !ok {
		return err
	}
	for _, found := range invalid.Problems {
		if found.Field == "endpoint.url" || found.Field == "endpoint.query" {
			p.add("", textRefusedURL)
		}
		p.add(d.fieldOf(found.Field, n), found.Message)
	}
	return nil
}

func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	return &subscription.ValidationError{Problems: p.list}
}

// fieldOf is the place in the document of what is wrong with a field of the
// subscription of handler n.
func (d *document) fieldOf(field string, n int) string {
	custom := d.handlers[n].custom
	at := handlerField(n)
	headers := at + "custom_http_headers"
	if custom {
		headers = at + "http_headers"
	}
	switch {
	case field == "endpoint.url", field == "endpoint.query":
		return at + "url"
	case field == "endpoint.method":
		return at + "method"
	case strings.HasPrefix(field, "endpoint.proxy"):
		return at + "proxy"
	case field == "endpoint.headers", field == "endpoint.secret_headers":
		return headers
	case strings.HasPrefix(field, "endpoint.headers."), strings.HasPrefix(field, "endpoint.secret_headers."):
		return headers + field[strings.LastIndex(field, "headers.")+len("headers"):]
	case strings.HasPrefix(field, "template.secrets"):
		return at + "secrets" + strings.TrimPrefix(field, "template.secrets")
	case strings.HasPrefix(field, "template"):
		return at + "payload"
	case strings.HasPrefix(field, "secrets"):
		return at + "secret"
	case strings.HasPrefix(field, "types"):
		return "event_filter.event_types"
	case strings.HasPrefix(field, "filters"):
		return "event_filter.criteria"
	default:
		return field
	}
}
