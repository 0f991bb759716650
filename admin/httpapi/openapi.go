package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// filterSchema stands for v1.Filter in the description of the API.
type filterSchema struct{}

// Schema is one key, the dialect, and what stands behind it.
func (filterSchema) Schema(r huma.Registry) *huma.Schema {
	const name = "Filter"
	ref := &huma.Schema{Ref: "#/components/schemas/" + name}
	if _, known := r.Map()[name]; known {
		return ref
	}
	one := 1
	entries := func(doc string) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, Description: doc, AdditionalProperties: &huma.Schema{Type: huma.TypeString}}
	}
	r.Map()[name] = &huma.Schema{
		Type: huma.TypeObject, MinProperties: &one, MaxProperties: &one, AdditionalProperties: false,
		Description: "A condition, by one dialect of the CloudEvents Subscriptions API, or by glob or ant. Names are attributes, or data.<path> for a value in JSON data.",
		Properties: map[string]*huma.Schema{
			"exact":  entries("Each attribute is exactly this."),
			"prefix": entries("Each attribute begins with this."),
			"suffix": entries("Each attribute ends with this."),
			"glob":   entries("Each attribute fits this pattern: * ? [a-z] {a,b}, where * is any characters."),
			"ant":    entries("Each attribute, a path, fits this Ant pattern: * and ? inside a segment, ** any segments."),
			"all":    {Type: huma.TypeArray, Items: ref, MinItems: &one, Description: "Every filter matches."},
			"any":    {Type: huma.TypeArray, Items: ref, MinItems: &one, Description: "One filter matches."},
			"not":    {Ref: ref.Ref},
			"sql":    {Type: huma.TypeString, Description: "A CloudEvents SQL expression on the attributes, which must be true."},
		},
		Examples: []any{map[string]any{"exact": map[string]any{"subject": "main"}}},
	}
	return ref
}

// describe completes what huma has made of the Go types and returns the document.
func describe(api huma.API) ([]byte, error) {
	describeIngest(api)
	document := api.OpenAPI()
	completeAnswers(document)
	schemas := document.Components.Schemas.Map()
	delete(schemas, "ErrorModel") // errors have another form, see conform
	delete(schemas, "ErrorDetail")
	property := func(schema, field string, change func(*huma.Schema)) {
		if s := schemas[schema]; s != nil && s.Properties[field] != nil {
			change(s.Properties[field])
		}
	}
	property("Subscription", "profile", func(s *huma.Schema) {
		s.Description = "How a delivery looks to the receiver: " + strings.Join(profile.Names(), ", ") + ". Default: cloudevents."
	})
	// Of AuditPlace, whose fields it has.
	property("AuditHead", "sequence", func(s *huma.Schema) { s.Description = "Of the last record there ever was; 0 when there was none." })
	property("AuditHead", "hash", func(s *huma.Schema) { s.Description = "Of that record. Empty when it is there no more." })
	property("AuditHead", "at", func(s *huma.Schema) { s.Description = "When it was written." })
	for _, field := range []string{"managed", "queue", "created_at", "updated_at", "revision", "state_reason"} {
		property("Subscription", field, func(s *huma.Schema) { s.ReadOnly = true })
	}
	property("Subscription", "state", func(s *huma.Schema) {
		s.Enum = []any{subscription.Active, subscription.Paused, subscription.Disabled}
	})
	schemas["Subscription"].Required = []string{"types", "endpoint"}
	schemas["Endpoint"].Required = []string{"url"}
	describeInstants(document)
	text, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	return text, nil
}
