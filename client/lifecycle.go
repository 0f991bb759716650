package client

import (
	"context"
	"iter"

	"github.com/jetpost/jetpost/client/api"
)

// Pause pauses deliveries. Events are still matched.
func (c Subscriptions) Pause(ctx context.Context, id string, body api.PauseOptions, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, post("subscriptions", id, "pause").with(body), options)
}

// Resume has deliveries made again, of a subscription that was paused or disabled.
func (c Subscriptions) Resume(ctx context.Context, id string, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, post("subscriptions", id, "resume"), options)
}

// RotateSecret gives a subscription a new signing secret.
func (c Subscriptions) RotateSecret(ctx context.Context, id string, body api.RotateOptions, options ...Option) (*api.Rotated, error) {
	return call[api.Rotated](ctx, c.s, post("subscriptions", id, "rotate-secret").with(body), options)
}

// Secret shows the signing secrets that are in use.
func (c Subscriptions) Secret(ctx context.Context, id string, options ...Option) (*api.Secrets, error) {
	return call[api.Secrets](ctx, c.s, get("subscriptions", id, "secret"), options)
}

// Test sends an example event to a subscription.
func (c Subscriptions) Test(ctx context.Context, id string, body api.TestOptions, options ...Option) (*api.Tested, error) {
	return call[api.Tested](ctx, c.s, post("subscriptions", id, "test").with(body), options)
}

// AskForConsent has the receiver asked again whether it wants the deliveries.
func (c Subscriptions) AskForConsent(ctx context.Context, id string, options ...Option) (*api.Subscription, error) {
	return call[api.Subscription](ctx, c.s, post("subscriptions", id, "handshake"), options)
}

// Breaker shows whether deliveries are held back because the endpoint is down.
func (c Subscriptions) Breaker(ctx context.Context, id string, options ...Option) (*api.BreakerState, error) {
	return call[api.BreakerState](ctx, c.s, get("subscriptions", id, "breaker"), options)
}

// ResetBreaker has deliveries made at once although the endpoint was down.
func (c Subscriptions) ResetBreaker(ctx context.Context, id string, options ...Option) (*api.BreakerState, error) {
	return call[api.BreakerState](ctx, c.s, post("subscriptions", id, "breaker", "reset"), options)
}

// Backlog shows what waits to be delivered.
func (c Subscriptions) Backlog(ctx context.Context, id string, options ...Option) (*api.Backlog, error) {
	return call[api.Backlog](ctx, c.s, get("subscriptions", id, "backlog"), options)
}

// A BacklogFilter says which backlogs to list, and how.
type BacklogFilter struct {
	Sort  string // id; or waiting, oldest: one page with those that have most
	State api.State
	Paging
}

// Backlogs shows what waits to be delivered, by subscription.
func (c Subscriptions) Backlogs(ctx context.Context, f BacklogFilter, options ...Option) iter.Seq2[*api.Backlog, error] {
	return itemsOf(c.BacklogPages(ctx, f, options...))
}

// BacklogPages returns the pages of Backlogs.
func (c Subscriptions) BacklogPages(ctx context.Context, f BacklogFilter, options ...Option) iter.Seq2[*api.Page[api.Backlog], error] {
	return pagesOf[api.Backlog](ctx, c.s, f.page().text("sort", f.Sort).text("state", string(f.State)), options, "backlogs")
}

// Reconcile finds deliveries that were lost, and makes them again.
func (c Subscriptions) Reconcile(ctx context.Context, id string, body api.ReconcileOptions, options ...Option) (*api.Reconciled, error) {
	return call[api.Reconciled](ctx, c.s, post("subscriptions", id, "reconcile").with(body), options)
}

// Redeliver makes one more attempt of a delivery.
func (c Subscriptions) Redeliver(ctx context.Context, id, deliveryID string, options ...Option) (*api.QueuedAgain, error) {
	return call[api.QueuedAgain](ctx, c.s, post("subscriptions", id, "deliveries", deliveryID, "redeliver"), options)
}
