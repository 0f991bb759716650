package admin

import (
	"context"
	"encoding/json"
)

// An eventType is one entry of the catalogue.
type eventType struct {
	Type        string          `json:"type" doc:"The type attribute of the events."`
	Domain      string          `json:"domain"`
	Description string          `json:"description,omitempty"`
	Validation  string          `json:"validation" doc:"What becomes of an event whose data breaks the schema: enforce refuses it, warn stores it with a warning, off does not look."`
	Schema      json.RawMessage `json:"schema,omitempty" doc:"The JSON Schema of the data; with schema=true only."`
	Example     json.RawMessage `json:"example,omitempty" doc:"Data that the schema accepts."`
}

type eventTypesRequest struct {
	Schema bool `query:"schema" doc:"Answer with the JSON Schemas as well."`
}

type eventTypes struct {
	Body struct {
		Items []eventType `json:"items"`
	}
}

func (a *Admin) listEventTypes(_ context.Context, in *eventTypesRequest) (*eventTypes, error) {
	out := &eventTypes{}
	out.Body.Items = []eventType{}
	for _, d := range a.catalogue.Domains() {
		for _, t := range d.Types {
			shown := eventType{Type: t.Name, Domain: d.Name, Description: t.Description, Validation: string(d.Validation)}
			if in.Schema {
				shown.Schema = t.Schema
			}
			if len(t.Examples) > 0 {
				shown.Example = t.Examples[0].Data
			}
			out.Body.Items = append(out.Body.Items, shown)
		}
	}
	return out, nil
}
