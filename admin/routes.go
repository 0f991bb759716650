package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	v1 "github.com/jetpost/jetpost/client/api"
)

// routes makes the handler of the whole API, and its description.
func (a *Admin) routes() (http.Handler, error) {
	mux := http.NewServeMux()
	api := humago.New(mux, a.humaConfig())
	a.subscriptionRoutes(api)
	a.lifecycleRoutes(api)
	a.handshakeRoutes(api)
	a.breakerRoutes(api)
	a.backlogRoutes(api)
	a.senderRoutes(api)
	a.recordRoutes(api)
	a.letterRoutes(api)
	a.redriveRoutes(api)
	a.eventRoutes(api)
	a.oneEventRoutes(api)
	a.eraseRoutes(api)
	a.explainRoutes(api)
	a.typeRoutes(api)
	a.domainRoutes(api)
	a.repositoryRoutes(api)
	a.auditRoutes(api)
	a.tokenRoutes(api)
	a.storageRoutes(api)
	a.reconcileRoutes(api)
	document, err := describe(api)
	if err != nil {
		return nil, err
	}
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(document)
	})
	page, err := docsHandler(api.OpenAPI())
	if err != nil {
		return nil, err
	}
	mux.Handle("GET "+docsPath, page)
	return a.Envelope(Face{}, mux), nil
}

// humaConfig leaves out all that huma would serve by itself: its pages load
// scripts from elsewhere.
func (a *Admin) humaConfig() huma.Config {
	cfg := huma.DefaultConfig("jetpost", a.cfg.Version)
	cfg.Info.Description = "Turns CloudEvents into signed webhooks. Events are published with POST /v1/events, which takes CloudEvents in binary, structured and batch mode."
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.CreateHooks = nil // no $schema members in answers
	cfg.Components.Schemas = newRegistry()
	cfg.FieldsOptionalByDefault = true
	cfg.AllowAdditionalPropertiesByDefault = true
	cfg.RejectUnknownQueryParameters = true
	format := huma.Format{Marshal: encodeAnswer, Unmarshal: json.Unmarshal}
	cfg.Formats = map[string]huma.Format{"application/json": format, "json": format} // the latter is application/…+json
	cfg.Transformers = []huma.Transformer{conform}
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token made with POST /v1/tokens, or the server's own: the file admin.token in its data directory, or JETPOST_ADMIN_TOKEN. Each operation names the roles that may use it."},
	}
	return cfg
}

// register adds a route, for those who may do what it needs: see needs. Errors of
// handle become problems, and its context ends after Config.Timeout; the context of a
// huma.Context does not.
func register[I, O any](a *Admin, api huma.API, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	a.authorize(&op)
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{
		Description: "What went wrong.",
		Content: map[string]*huma.MediaType{"application/problem+json": {
			Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[v1.Problem](), true, ""),
		}},
	}
	a.takesKey(&op)
	handle = conditional(&op, handle)
	op.SkipValidateBody = true // the body is decoded by the handler, who knows better
	huma.Register(api, op, func(ctx context.Context, in *I) (*O, error) {
		limited, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
		out, err := handle(limited, in)
		if fresh, ok := errors.AsType[*notModifiedError](err); ok {
			return nil, fresh
		}
		if err != nil {
			return nil, a.problemOf(ctx, err)
		}
		return out, nil
	})
}

// A RawJSON is a JSON body that the handler decodes. huma would show the client
// what it could not decode, secrets included.
type RawJSON struct {
	RawBody []byte `contentType:"application/json"`
}

// registerBody is register for a route that takes a body, described by the type
// B. Only then may the body be missing where required is false.
func registerBody[B, I, O any](a *Admin, api huma.API, op huma.Operation, required bool, handle func(context.Context, *I) (*O, error)) {
	body := &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	op.RequestBody = body
	register(a, api, op, handle)
	body.Required = required
	media := &huma.MediaType{Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[B](), true, "")}
	body.Content["application/json"] = media
	if op.Method == http.MethodPatch {
		body.Content["application/merge-patch+json"] = media
	}
}

// newRegistry names the schemas by their Go types, but for some that had other names before.
func newRegistry() huma.Registry {
	names := map[reflect.Type]string{
		reflect.TypeFor[v1.Page[v1.AuditEntry]](): "PageEntry",
		reflect.TypeFor[v1.Page[v1.Backlog]]():    "PageShownBacklog",
		reflect.TypeFor[v1.Page[v1.Repository]](): "PageRepositorySummary",
		reflect.TypeFor[v1.Page[v1.Token]]():      "PageTokenSummary",
		reflect.TypeFor[v1.DataVerdict]():         "DataVerdictBody",
		reflect.TypeFor[v1.Deleted]():             "DeletedBody",
		reflect.TypeFor[v1.Discarded]():           "DiscardedBody",
		reflect.TypeFor[v1.Domain]():              "OneDomainBody",
		reflect.TypeFor[v1.DomainList]():          "DomainListBody",
		reflect.TypeFor[v1.Erased]():              "ErasedBody",
		reflect.TypeFor[v1.EventTypeDetail]():     "EventTypeDetailBody",
		reflect.TypeFor[v1.EventTypeList]():       "EventTypesBody",
		reflect.TypeFor[v1.MadeToken]():           "MadeTokenBody",
		reflect.TypeFor[v1.QueuedAgain]():         "QueuedAgainBody",
		reflect.TypeFor[v1.Rotated]():             "RotatedBody",
		reflect.TypeFor[v1.Secrets]():             "SecretsBody",
		reflect.TypeFor[v1.SenderList]():          "SenderListBody",
		reflect.TypeFor[v1.Tested]():              "TestedBody",
	}
	registry := huma.NewMapRegistry("#/components/schemas/", func(t reflect.Type, hint string) string {
		if name, ok := names[t]; ok {
			return name
		}
		return huma.DefaultSchemaNamer(t, hint)
	})
	registry.RegisterTypeAlias(reflect.TypeFor[v1.Filter](), reflect.TypeFor[filterSchema]())
	return registry
}
