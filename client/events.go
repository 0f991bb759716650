package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client/api"
)

// Events are what is published, and kept in the event logs.
type Events struct{ s *server }

// An EventFilter says which events to list. The zero value says all.
type EventFilter struct {
	Domain           string
	Type             string // or all of a domain: <domain>.*
	FromSeq          uint64 // needs Domain or Type
	FromTime, ToTime time.Time
	Source, ID       string // exactly; a page can be empty and not be the last
	Paging
}

func (f *EventFilter) parameters() parameters {
	return f.page().text("domain", f.Domain).text("type", f.Type).number("from_seq", f.FromSeq).
		time("from_time", f.FromTime).time("to_time", f.ToTime).text("source", f.Source).text("id", f.ID)
}

// List returns the newest events first or, with FromSeq or FromTime, the oldest.
func (c Events) List(ctx context.Context, f EventFilter, options ...Option) iter.Seq2[*api.StoredEvent, error] {
	return itemsOf(c.Pages(ctx, f, options...))
}

// Pages returns the pages of List.
func (c Events) Pages(ctx context.Context, f EventFilter, options ...Option) iter.Seq2[*api.Page[api.StoredEvent], error] {
	return pagesOf[api.StoredEvent](ctx, c.s, f.parameters(), options, "events")
}

// Follow returns events as they are stored, from now on or from FromSeq or FromTime on,
// until ctx ends: see Attempts.Follow. After a lost connection continue a little before
// the StoredAt of the last event, since every domain has sequences of its own.
func (c Events) Follow(ctx context.Context, f EventFilter, options ...Option) iter.Seq2[*api.StoredEvent, error] {
	return follow[api.StoredEvent](ctx, c.s, get("events").by(url.Values(f.parameters())), options)
}

// Get returns an event by its place in the log of its domain.
func (c Events) Get(ctx context.Context, domain string, sequence uint64, options ...Option) (*api.StoredEvent, error) {
	return call[api.StoredEvent](ctx, c.s, get("events", domain, strconv.FormatUint(sequence, 10)), options)
}

// Erase deletes an event, and its data wherever it is kept.
func (c Events) Erase(ctx context.Context, domain string, sequence uint64, body api.EraseReason, options ...Option) (*api.Erased, error) {
	return call[api.Erased](ctx, c.s, post("events", domain, strconv.FormatUint(sequence, 10), "erase").with(body), options)
}

// Story says what has become of an event; for one subscription, unless that is empty.
func (c Events) Story(ctx context.Context, domain string, sequence uint64, subscription string, options ...Option) (*api.Story, error) {
	r := get("events", domain, strconv.FormatUint(sequence, 10), "story").by(url.Values(parameters{}.text("subscription", subscription)))
	return call[api.Story](ctx, c.s, r, options)
}

// A StoryFilter names an event by its source and id. Domain or Type make the search
// faster.
type StoryFilter struct {
	Source, ID   string
	Domain, Type string
	Subscription string // only what concerns this one
}

// FindStory is Story for the newest event of a source and an id.
func (c Events) FindStory(ctx context.Context, f StoryFilter, options ...Option) (*api.Story, error) {
	p := parameters{}.text("source", f.Source).text("id", f.ID).text("domain", f.Domain).text("type", f.Type).text("subscription", f.Subscription)
	return call[api.Story](ctx, c.s, get("events", "story").by(url.Values(p)), options)
}

// Explain says which subscriptions want an event, and why, in pages.
func (c Events) Explain(ctx context.Context, body *api.ExplainOptions, p Paging, options ...Option) iter.Seq2[*api.Explanation, error] {
	each := func() *request {
		r := post("explain").with(body).by(url.Values(p.page()))
		r.repeatable = true // it changes nothing
		return r
	}
	return pages(ctx, c.s, each, options, func(e *api.Explanation) string { return e.NextCursor })
}
