package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/jetpost/jetpost/client/api"
)

// Attempts are the requests that were made.
type Attempts struct{ s *server }

// An AttemptFilter says which attempts to list. The zero value says all.
type AttemptFilter struct {
	Subscription string
	Paging
}

func (f *AttemptFilter) parts() []string {
	if f.Subscription == "" {
		return []string{"attempts"}
	}
	return []string{"subscriptions", f.Subscription, "attempts"}
}

// List returns attempts, the newest first.
func (c Attempts) List(ctx context.Context, f AttemptFilter, options ...Option) iter.Seq2[*api.Attempt, error] {
	return itemsOf(c.Pages(ctx, f, options...))
}

// Pages returns the pages of List.
func (c Attempts) Pages(ctx context.Context, f AttemptFilter, options ...Option) iter.Seq2[*api.Page[api.Attempt], error] {
	return pagesOf[api.Attempt](ctx, c.s, f.page(), options, f.parts()...)
}

// Follow returns attempts as they are made, from now on or from a sequence on, until ctx
// ends. It ends with io.EOF when the server has ended it, and with another error when the
// connection is lost: follow again, from the sequence after the last.
func (c Attempts) Follow(ctx context.Context, subscription string, from uint64, options ...Option) iter.Seq2[*api.Attempt, error] {
	f := AttemptFilter{Subscription: subscription}
	return follow[api.Attempt](ctx, c.s, get(f.parts()...).by(url.Values(parameters{}.number("from_seq", from))), options)
}
