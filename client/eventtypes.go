package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/jetpost/jetpost/client/api"
)

// EventTypes are the types of events that there are.
type EventTypes struct{ s *server }

// List returns the types of a domain, or of all of them. WithSchemas is an option.
func (c EventTypes) List(ctx context.Context, domain string, options ...Option) (*api.EventTypeList, error) {
	return call[api.EventTypeList](ctx, c.s, get("event-types").by(url.Values(parameters{}.text("domain", domain))), options)
}

// Get returns a type with its JSON Schema and all examples.
func (c EventTypes) Get(ctx context.Context, name string, options ...Option) (*api.EventTypeDetail, error) {
	return call[api.EventTypeDetail](ctx, c.s, get("event-types", name), options)
}

// Validate checks data, which is JSON, against the schema of a type.
func (c EventTypes) Validate(ctx context.Context, name string, data []byte, options ...Option) (*api.DataVerdict, error) {
	r := post("event-types", name, "validate").with(data)
	r.repeatable = true // it changes nothing
	return call[api.DataVerdict](ctx, c.s, r, options)
}

// Domains are what event types belong to.
type Domains struct{ s *server }

// List returns all domains, without their files.
func (c Domains) List(ctx context.Context, options ...Option) (*api.DomainList, error) {
	return call[api.DomainList](ctx, c.s, get("domains"), options)
}

// Get returns a domain with its files.
func (c Domains) Get(ctx context.Context, name string, options ...Option) (*api.Domain, error) {
	return call[api.Domain](ctx, c.s, get("domains", name), options)
}

// Put registers a domain, or a new version of it. DryRun, Force, StoredEvents and IfMatch
// are options.
func (c Domains) Put(ctx context.Context, name string, files *api.DomainFiles, options ...Option) (*api.DomainChange, error) {
	return call[api.DomainChange](ctx, c.s, newRequest(http.MethodPut, "domains", name).with(files), options)
}

// PutJSON is Put with the body as it was written.
func (c Domains) PutJSON(ctx context.Context, name string, body []byte, options ...Option) (*api.DomainChange, error) {
	return call[api.DomainChange](ctx, c.s, newRequest(http.MethodPut, "domains", name).with(body), options)
}

// Delete takes a registered domain away.
func (c Domains) Delete(ctx context.Context, name string, options ...Option) error {
	return c.s.call(ctx, newRequest(http.MethodDelete, "domains", name).apply(options), nil)
}
