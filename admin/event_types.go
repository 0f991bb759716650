package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/access"
	"github.com/jetpost/jetpost/schemas"
)

const validatePath = "/v1/event-types/{type}/validate"

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
	Domain string `query:"domain" maxLength:"63" doc:"Only types of this domain." example:"git"`
	Schema bool   `query:"schema" doc:"Answer with the JSON Schemas as well."`
}

type eventTypes struct {
	Body struct {
		Items []eventType `json:"items"`
	}
}

// A NamedType is a request about one event type.
type NamedType struct {
	Type string `path:"type" maxLength:"512" doc:"The event type." example:"git.push"`
}

// eventTypeDetail is an event type with all that the catalogue knows about it.
type eventTypeDetail struct {
	Body struct {
		Type        string                     `json:"type" doc:"The type attribute of the events."`
		Domain      string                     `json:"domain"`
		Event       string                     `json:"event" doc:"The type without the domain's prefix."`
		Description string                     `json:"description,omitempty"`
		Validation  string                     `json:"validation" doc:"What becomes of an event whose data breaks the schema: enforce, warn or off."`
		Schema      json.RawMessage            `json:"schema,omitempty" doc:"The JSON Schema of the data. Missing: the domain is open, and any data will do."`
		Definitions map[string]json.RawMessage `json:"definitions,omitempty" doc:"What the schema may refer to by file name."`
		Examples    []typeExample              `json:"examples" doc:"Data that the schema accepts, the main one first."`
	}
}

type typeExample struct {
	Name string          `json:"name,omitempty" doc:"Missing for the main one."`
	Data json.RawMessage `json:"data"`
}

type dataRequest struct {
	NamedType
	RawJSON
}

// dataVerdict is the answer to whether data is valid.
type dataVerdict struct {
	Body struct {
		Valid    bool           `json:"valid"`
		Type     string         `json:"type"`
		Problems []fieldProblem `json:"problems" doc:"What is wrong; field is a JSON pointer into the data, empty for all of it."`
	}
}

// typeRoutes are those of the catalogue, read only.
func (a *Admin) typeRoutes(api huma.API) {
	register(a, api, huma.Operation{
		OperationID: "list-event-types", Method: http.MethodGet, Path: "/v1/event-types", Tags: []string{"Events"}, Metadata: needs(access.NeedEvents),
		Summary: "List the event types that there are", Description: "With an example of the data of each.",
	}, a.listEventTypes)
	register(a, api, huma.Operation{
		OperationID: "get-event-type", Method: http.MethodGet, Path: "/v1/event-types/{type}", Tags: []string{"Events"}, Metadata: needs(access.NeedEvents),
		Summary: "Get an event type", Description: "With its JSON Schema and all examples.",
	}, a.getEventType)
	registerBody[json.RawMessage](a, api, huma.Operation{
		OperationID: "validate-data", Method: http.MethodPost, Path: validatePath, Tags: []string{"Events"}, Metadata: needs(access.NeedEvents),
		Summary:     "Check data against the schema of an event type",
		Description: "The body is the data of an event. Nothing is stored. It is checked even where the domain does not enforce its schemas.",
	}, true, a.validateData)
}

func (a *Admin) listEventTypes(ctx context.Context, in *eventTypesRequest) (*eventTypes, error) {
	now, err := a.seen(ctx).sync(ctx)
	if err != nil {
		return nil, err
	}
	if _, known := now.Domain(in.Domain); in.Domain != "" && !known {
		return nil, invalid("domain", a.seen(ctx).problem(in.Domain+".*"))
	}
	out := &eventTypes{}
	out.Body.Items = []eventType{}
	for _, d := range now.Domains() {
		if in.Domain != "" && in.Domain != d.Name {
			continue
		}
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

// findType returns a type and its domain, or a problem that says which there are.
func (a *Admin) findType(ctx context.Context, name string) (schemas.Type, schemas.Domain, error) {
	now, err := a.seen(ctx).sync(ctx)
	if err != nil {
		return schemas.Type{}, schemas.Domain{}, err
	}
	t, err := now.Resolve(name)
	if err != nil {
		return schemas.Type{}, schemas.Domain{}, newProblem(http.StatusNotFound, err.Error(), fieldProblem{"type", err.Error()})
	}
	d, _ := now.Domain(t.Domain)
	return t, d, nil
}

func (a *Admin) getEventType(ctx context.Context, in *NamedType) (*eventTypeDetail, error) {
	t, d, err := a.findType(ctx, in.Type)
	if err != nil {
		return nil, err
	}
	out := &eventTypeDetail{}
	out.Body.Type, out.Body.Domain, out.Body.Event = t.Name, d.Name, t.Event
	out.Body.Description, out.Body.Validation, out.Body.Schema = t.Description, string(d.Validation), t.Schema
	if t.Schema != nil {
		out.Body.Definitions = d.Definitions
	}
	out.Body.Examples = []typeExample{}
	for _, e := range t.Examples {
		out.Body.Examples = append(out.Body.Examples, typeExample{e.Name, e.Data})
	}
	return out, nil
}

func (a *Admin) validateData(ctx context.Context, in *dataRequest) (*dataVerdict, error) {
	t, _, err := a.findType(ctx, in.Type)
	if err != nil {
		return nil, err
	}
	out := &dataVerdict{}
	out.Body.Type, out.Body.Problems = t.Name, []fieldProblem{}
	for _, p := range t.CheckData(bytes.TrimSpace(in.RawBody)) {
		out.Body.Problems = append(out.Body.Problems, fieldProblem{p.Field, p.Message})
	}
	out.Body.Valid = len(out.Body.Problems) == 0
	return out, nil
}
