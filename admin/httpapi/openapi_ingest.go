package httpapi

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
)

// describeIngest adds what the producer serves to the description, as a reader looks
// for it there: POST /v1/events.
func describeIngest(api huma.API) {
	document := api.OpenAPI()
	problems := map[string]*huma.MediaType{"application/problem+json": {
		Schema: document.Components.Schemas.Schema(reflect.TypeFor[v1.Problem](), true, ""),
	}}
	receipt := document.Components.Schemas.Schema(reflect.TypeFor[v1.Receipt](), true, "")
	receipts := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"receipts"}, Description: "Of a batch, in its order.",
		Properties: map[string]*huma.Schema{"receipts": {Type: huma.TypeArray, Items: receipt}},
	}
	text := &huma.Schema{Type: huma.TypeString}
	event := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"specversion", "id", "source", "type"}, AdditionalProperties: true,
		Description: "A CloudEvent 1.0 in its JSON format.",
		Properties: map[string]*huma.Schema{
			"specversion": {Type: huma.TypeString, Enum: []any{"1.0"}}, "id": text, "source": text, "subject": text,
			"type":            {Type: huma.TypeString, Description: "One of GET /v1/event-types."},
			"time":            {Type: huma.TypeString, Format: "date-time"},
			"datacontenttype": text,
			"data":            {Description: "As the type's schema has it. Its bytes are kept as they are."},
			"data_base64":     text,
		},
		Examples: []any{map[string]any{
			"specversion": "1.0", "id": "4711", "source": "/shop", "type": "build.uploaded",
			"data": map[string]any{"build_name": "shop", "build_number": "7", "build_started": "2026-01-31T12:00:00.000+0000"},
		}},
	}
	var attributes []*huma.Param
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "time"} {
		attributes = append(attributes, &huma.Param{
			Name: "ce-" + name, In: "header", Schema: text,
			Description: "In binary mode: the attribute " + name + ", percent-encoded.",
		})
	}
	document.AddOperation(&huma.Operation{
		OperationID: "publish-events", Method: http.MethodPost, Path: "/v1/events", Tags: []string{"Events"}, Security: security(access.NeedPublish),
		Summary: "Publish an event, or a batch",
		Description: strings.Join([]string{
			"A CloudEvent 1.0 in one of the three modes of its HTTP binding, told apart by the Content-Type: structured (application/cloudevents+json),",
			"batch (application/cloudevents-batch+json), or binary, with the attributes as ce- headers and the data as the body, of whatever type.",
			"When it is answered, the events are stored, and will be delivered to every subscription that wants them. Sending the same source and id again is safe.",
			"A batch is checked whole before anything of it is stored.",
		}, " "),
		Parameters: attributes,
		RequestBody: &huma.RequestBody{Content: map[string]*huma.MediaType{
			"application/cloudevents+json":       {Schema: event},
			"application/cloudevents-batch+json": {Schema: &huma.Schema{Type: huma.TypeArray, Items: event}},
			"*/*":                                {Schema: &huma.Schema{Description: "The data, in binary mode."}},
		}},
		Responses: map[string]*huma.Response{
			"201":     {Description: "Stored.", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{AnyOf: []*huma.Schema{receipt, receipts}}}}},
			"200":     {Description: "The batch was empty.", Content: map[string]*huma.MediaType{"application/json": {Schema: receipts}}},
			"default": {Description: "What went wrong. After 503, with Retry-After, sending it again is safe.", Content: problems},
		},
	})
}

// completeAnswers describes the answers that an operation gives beside its usual one,
// and which have the same form: 201 of something new, 200 of a dry run.
func completeAnswers(document *huma.OpenAPI) {
	for _, path := range document.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Put, path.Post, path.Patch, path.Delete} {
			if op == nil {
				continue
			}
			var usual *huma.Response
			for status, answer := range op.Responses {
				if strings.HasPrefix(status, "2") && len(answer.Content) > 0 {
					usual = answer
				}
			}
			for status, answer := range op.Responses {
				if usual != nil && strings.HasPrefix(status, "2") && status != "204" && len(answer.Content) == 0 {
					answer.Content, answer.Headers = usual.Content, usual.Headers
				}
			}
		}
	}
}
