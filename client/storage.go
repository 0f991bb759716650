package client

import (
	"context"
	"net/url"

	"github.com/jetpost/jetpost/client/api"
)

// Storage is what the streams of an installation have lost.
type Storage struct{ s *server }

// Get shows what is lost.
func (c Storage) Get(ctx context.Context, options ...Option) (*api.Storage, error) {
	return call[api.Storage](ctx, c.s, get("storage"), options)
}

// AcceptLoss accepts the loss of streams.
func (c Storage) AcceptLoss(ctx context.Context, body *api.AcceptOptions, options ...Option) (*api.Storage, error) {
	return call[api.Storage](ctx, c.s, post("storage", "accept-loss").with(body), options)
}

// Senders are the processes that make deliveries.
type Senders struct{ s *server }

// List returns the senders that are alive; with a subscription only those that make its
// deliveries, the one with the best claim first.
func (c Senders) List(ctx context.Context, subscription string, options ...Option) (*api.SenderList, error) {
	return call[api.SenderList](ctx, c.s, get("senders").by(url.Values(parameters{}.text("subscription", subscription))), options)
}
