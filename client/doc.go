// Package client is a client of jetpost's native API. It can do whatever the command
// line can, which is built on it.
//
//	c, err := client.New(client.Config{URL: "https://jetpost.example.com", Token: token})
//	created, err := c.Subscriptions.Create(ctx, &api.Subscription{…})
//	for attempt, err := range c.Attempts.List(ctx, client.AttemptFilter{Subscription: created.ID}) { … }
//
// The answers are the types of package api. What a server refuses is an *api.Problem,
// found by errors.As; a server that cannot be reached is a *ConnectionError.
//
// Lists are iterators, which ask for the next page when it is needed; Pages has the pages
// themselves. What is followed is an iterator without end.
//
// A call that may be made twice without harm is repeated when the server answers 429 or
// 503, after the time that its Retry-After names, and when it cannot be reached: what
// reads, replaces or deletes, the publishing of events, and anything with an
// IdempotencyKey. A deletion, or a change with IfMatch, that was done and whose answer was
// lost is answered 404 or 412 when it is repeated.
package client
