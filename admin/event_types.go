package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/schemas"
)

type eventTypesRequest struct {
	Domain string `query:"domain" maxLength:"63" doc:"Only types of this domain." example:"git"`
	Schema bool   `query:"schema" doc:"Answer with the JSON Schemas as well."`
}

type eventTypes struct{ Body v1.EventTypeList }

// A NamedType is a request about one event type.
type NamedType struct {
	Type string `path:"type" maxLength:"512" doc:"The event type." example:"git.push"`
}

// eventTypeDetail is an event type with all that the catalogue knows about it.
type eventTypeDetail struct{ Body v1.EventTypeDetail }

type dataRequest struct {
	NamedType
	httpapi.RawJSON
}

// dataVerdict is the answer to whether data is valid.
type dataVerdict struct{ Body v1.DataVerdict }

// catalogued are the operations of the event types, which are read only.
type catalogued struct{ catalogue catalogue.Catalogue }

func (e *catalogued) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "list-event-types", Method: http.MethodGet, Path: "/v1/event-types", Tags: []string{"Events"}, Metadata: httpapi.Needs(access.NeedEvents),
		Summary: "List the event types that there are", Description: "With an example of the data of each.",
	}, e.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-event-type", Method: http.MethodGet, Path: "/v1/event-types/{type}", Tags: []string{"Events"}, Metadata: httpapi.Needs(access.NeedEvents),
		Summary: "Get an event type", Description: "With its JSON Schema and all examples.",
	}, e.get)
	httpapi.RegisterBody[json.RawMessage](api, huma.Operation{
		OperationID: "validate-data", Method: http.MethodPost, Path: "/v1/event-types/{type}/validate", Tags: []string{"Events"}, Metadata: httpapi.Unkeyed(httpapi.Needs(access.NeedEvents)),
		Summary:     "Check data against the schema of an event type",
		Description: "The body is the data of an event. Nothing is stored. It is checked even where the domain does not enforce its schemas.",
	}, true, e.validate)
}

func (e *catalogued) list(ctx context.Context, in *eventTypesRequest) (*eventTypes, error) {
	now, err := e.catalogue.Seen(ctx).Sync(ctx)
	if err != nil {
		return nil, err
	}
	if _, known := now.Domain(in.Domain); in.Domain != "" && !known {
		return nil, httpapi.Invalid("domain", e.catalogue.Seen(ctx).Problem(in.Domain+".*"))
	}
	out := &eventTypes{}
	out.Body.Items = []v1.EventType{}
	for _, d := range now.Domains() {
		if in.Domain != "" && in.Domain != d.Name {
			continue
		}
		for _, t := range d.Types {
			shown := v1.EventType{Type: t.Name, Domain: d.Name, Description: t.Description, Validation: string(d.Validation)}
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

// find returns a type and its domain, or a problem that says which there are.
func (e *catalogued) find(ctx context.Context, name string) (schemas.Type, schemas.Domain, error) {
	now, err := e.catalogue.Seen(ctx).Sync(ctx)
	if err != nil {
		return schemas.Type{}, schemas.Domain{}, err
	}
	t, err := now.Resolve(name)
	if err != nil {
		return schemas.Type{}, schemas.Domain{}, httpapi.NewProblem(http.StatusNotFound, err.Error(), v1.FieldProblem{Field: "type", Message: err.Error()})
	}
	d, _ := now.Domain(t.Domain)
	return t, d, nil
}

func (e *catalogued) get(ctx context.Context, in *NamedType) (*eventTypeDetail, error) {
	t, d, err := e.find(ctx, in.Type)
	if err != nil {
		return nil, err
	}
	out := &eventTypeDetail{}
	out.Body.Type, out.Body.Domain, out.Body.Event = t.Name, d.Name, t.Event
	out.Body.Description, out.Body.Validation, out.Body.Schema = t.Description, string(d.Validation), t.Schema
	if t.Schema != nil {
		out.Body.Definitions = d.Definitions
	}
	out.Body.Examples = []v1.TypeExample{}
	for _, e := range t.Examples {
		out.Body.Examples = append(out.Body.Examples, v1.TypeExample{Name: e.Name, Data: e.Data})
	}
	return out, nil
}

func (e *catalogued) validate(ctx context.Context, in *dataRequest) (*dataVerdict, error) {
	t, _, err := e.find(ctx, in.Type)
	if err != nil {
		return nil, err
	}
	out := &dataVerdict{}
	out.Body.Type, out.Body.Problems = t.Name, []v1.FieldProblem{}
	for _, p := range t.CheckData(bytes.TrimSpace(in.RawBody)) {
		out.Body.Problems = append(out.Body.Problems, v1.FieldProblem{Field: p.Field, Message: p.Message})
	}
	out.Body.Valid = len(out.Body.Problems) == 0
	return out, nil
}
