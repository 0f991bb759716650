package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/jetpost/jetpost/client/api"
)

// Repositories are those that events are about.
type Repositories struct{ s *server }

// A RepositoryFilter says which repositories to list. The zero value says all.
type RepositoryFilter struct {
	Class       api.Class
	PackageType string
	Query       string // a text in their key
	Paging
}

// List returns repositories, in the order of their keys.
func (c Repositories) List(ctx context.Context, f RepositoryFilter, options ...Option) iter.Seq2[*api.Repository, error] {
	return itemsOf(c.Pages(ctx, f, options...))
}

// Pages returns the pages of List.
func (c Repositories) Pages(ctx context.Context, f RepositoryFilter, options ...Option) iter.Seq2[*api.Page[api.Repository], error] {
	p := f.page().text("class", string(f.Class)).text("package_type", f.PackageType).text("q", f.Query)
	return pagesOf[api.Repository](ctx, c.s, p, options, "repositories")
}

// Get returns a repository.
func (c Repositories) Get(ctx context.Context, key string, options ...Option) (*api.Repository, error) {
	return call[api.Repository](ctx, c.s, get("repositories", key), options)
}

// Put registers a repository, or changes what it holds.
func (c Repositories) Put(ctx context.Context, key string, body *api.RepositoryOptions, options ...Option) (*api.Repository, error) {
	return call[api.Repository](ctx, c.s, newRequest(http.MethodPut, "repositories", key).with(body), options)
}

// Delete takes a repository out of the registry.
func (c Repositories) Delete(ctx context.Context, key string, options ...Option) error {
	return c.s.call(ctx, newRequest(http.MethodDelete, "repositories", key).apply(options), nil)
}
