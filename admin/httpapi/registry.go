package httpapi

import (
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/jetpost/jetpost/client/api"
)

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
