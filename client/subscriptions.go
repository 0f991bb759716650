package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/jetpost/jetpost/client/api"
)

// Subscriptions are those that the API keeps.
type Subscriptions struct{ s *server }

// A SubscriptionFilter says which subscriptions to list. The zero value says all.
type SubscriptionFilter struct {
	State   api.State
	Labels  []string // name, or name=value; all must match
	Type    string   // in their types, by itself or as <domain>.*
	Profile string
	Host    string // of their endpoint; with a port only on that
	Managed string // the compatible API that keeps them; none: the native one
	Query   string // a text in their id or description
	Paging
}

func (f *SubscriptionFilter) parameters() parameters {
	return f.page().text("state", string(f.State)).text("label", f.Labels...).text("type", f.Type).text("profile", f.Profile).
		text("host", f.Host).text("managed", f.Managed).text("q", f.Query)
}

// Create makes a subscription. The answer has its signing secret, this once. Every event
// that is published after it is matched with the subscription.
func (c Subscriptions) Create(ctx context.Context, sub *api.Subscription, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, post("subscriptions").with(sub), options)
}

// CreateJSON is Create with the document as it was written.
func (c Subscriptions) CreateJSON(ctx context.Context, document []byte, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, post("subscriptions").with(document), options)
}

// Get returns a subscription. Secrets are placeholders.
func (c Subscriptions) Get(ctx context.Context, id string, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, get("subscriptions", id), options)
}

// List returns the subscriptions that match, in the order of their ids. Those that cannot
// be read are in Pages only.
func (c Subscriptions) List(ctx context.Context, f SubscriptionFilter, options ...Option) iter.Seq2[*api.Subscription, error] {
	return items(c.Pages(ctx, f, options...), func(p *api.SubscriptionPage) []api.Subscription { return p.Items })
}

// Pages returns the pages of List.
func (c Subscriptions) Pages(ctx context.Context, f SubscriptionFilter, options ...Option) iter.Seq2[*api.SubscriptionPage, error] {
	each := func() *request { return get("subscriptions").by(url.Values(f.parameters())) }
	return pages(ctx, c.s, each, options, func(p *api.SubscriptionPage) string { return p.NextCursor })
}

// Replace makes a subscription what sub says, and creates it if there is none. What is
// zero gets its default; secrets that are left out, or are placeholders, stay. Of the
// answer to Create take out the Secret first: to give a subscription another one, see
// RotateSecret.
func (c Subscriptions) Replace(ctx context.Context, id string, sub *api.Subscription, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, newRequest(http.MethodPut, "subscriptions", id).with(sub), options)
}

// ReplaceJSON is Replace with the document as it was written.
func (c Subscriptions) ReplaceJSON(ctx context.Context, id string, document []byte, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, newRequest(http.MethodPut, "subscriptions", id).with(document), options)
}

// Patch changes a subscription by a JSON merge patch (RFC 7396): a value that encodes as
// one, or its bytes. null removes.
func (c Subscriptions) Patch(ctx context.Context, id string, patch any, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, newRequest(http.MethodPatch, "subscriptions", id).with(patch), options)
}

// Delete deletes a subscription, and the deliveries that wait.
func (c Subscriptions) Delete(ctx context.Context, id string, options ...Option) (*api.Deleted, error) {
	return call[api.Deleted](ctx, c.s, newRequest(http.MethodDelete, "subscriptions", id), options)
}
