package client

import (
	"context"
	"iter"
	"net/http"

	"github.com/jetpost/jetpost/client/api"
)

// Tokens are those of the API.
type Tokens struct{ s *server }

// Create makes a token. Its text is shown this once.
func (c Tokens) Create(ctx context.Context, body *api.TokenOptions, options ...Option) (*api.MadeToken, error) {
	return c.create(ctx, body, options)
}

// CreateJSON is Create with the document as it was written.
func (c Tokens) CreateJSON(ctx context.Context, document []byte, options ...Option) (*api.MadeToken, error) {
	return c.create(ctx, document, options)
}

func (c Tokens) create(ctx context.Context, body any, options []Option) (*api.MadeToken, error) {
	r := post("tokens").with(body)
	r.keyed = false // made twice there would be two
	return call[api.MadeToken](ctx, c.s, r, options)
}

// Get returns a token, without its text.
func (c Tokens) Get(ctx context.Context, id string, options ...Option) (*api.Token, error) {
	return call[api.Token](ctx, c.s, get("tokens", id), options)
}

// Self returns the token of the client, without its text.
func (c Tokens) Self(ctx context.Context, options ...Option) (*api.Token, error) {
	return call[api.Token](ctx, c.s, get("tokens", "self"), options)
}

// List returns tokens, without their texts.
func (c Tokens) List(ctx context.Context, p Paging, options ...Option) iter.Seq2[*api.Token, error] {
	return itemsOf(c.Pages(ctx, p, options...))
}

// Pages returns the pages of List.
func (c Tokens) Pages(ctx context.Context, p Paging, options ...Option) iter.Seq2[*api.Page[api.Token], error] {
	return pagesOf[api.Token](ctx, c.s, p.page(), options, "tokens")
}

// Change changes a token: an *api.TokenChange, or any value that encodes as one. With
// expires_at null it does not expire any more, which api.TokenChange cannot say.
func (c Tokens) Change(ctx context.Context, id string, change any, options ...Option) (*api.Token, error) {
	return call[api.Token](ctx, c.s, newRequest(http.MethodPatch, "tokens", id).with(change), options)
}

// Revoke makes a token invalid.
func (c Tokens) Revoke(ctx context.Context, id string, options ...Option) error {
	return c.s.call(ctx, newRequest(http.MethodDelete, "tokens", id).apply(options), nil)
}
