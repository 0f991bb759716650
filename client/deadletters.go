package client

import (
	"context"
	"iter"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client/api"
)

// DeadLetters are the deliveries that were given up.
type DeadLetters struct{ s *server }

// A LetterFilter says which dead letters to list. The zero value says all.
type LetterFilter struct {
	// Subscription may be deleted by now; _invalid: those of none, which could not be read.
	Subscription string
	Reasons      []api.Reason // for one of them
	Types        []string     // of one of them; artifact.*
	From, To     time.Time    // given up at From or later, before To
	Paging
}

func (f *LetterFilter) parameters() parameters {
	p := f.page().text("type", f.Types...).time("from", f.From).time("to", f.To)
	for _, reason := range f.Reasons {
		p.text("reason", string(reason))
	}
	return p
}

// List returns dead letters, the newest first.
func (c DeadLetters) List(ctx context.Context, f LetterFilter, options ...Option) iter.Seq2[*api.DeadLetter, error] {
	return itemsOf(c.Pages(ctx, f, options...))
}

// Pages returns the pages of List.
func (c DeadLetters) Pages(ctx context.Context, f LetterFilter, options ...Option) iter.Seq2[*api.Page[api.DeadLetter], error] {
	return pagesOf[api.DeadLetter](ctx, c.s, f.parameters().text("subscription", f.Subscription), options, "dead-letters")
}

// ListOf is List for one subscription, which is a problem with the status 404 when there
// is none and never was one.
func (c DeadLetters) ListOf(ctx context.Context, f LetterFilter, options ...Option) iter.Seq2[*api.DeadLetter, error] {
	return itemsOf(c.PagesOf(ctx, f, options...))
}

// PagesOf returns the pages of ListOf.
func (c DeadLetters) PagesOf(ctx context.Context, f LetterFilter, options ...Option) iter.Seq2[*api.Page[api.DeadLetter], error] {
	return pagesOf[api.DeadLetter](ctx, c.s, f.parameters(), options, "subscriptions", f.Subscription, "dead-letters")
}

// Invalid returns the pages of what could not be read, and so belongs to no subscription.
func (c DeadLetters) Invalid(ctx context.Context, p Paging, options ...Option) iter.Seq2[*api.Page[api.DeadLetter], error] {
	return pagesOf[api.DeadLetter](ctx, c.s, p.page(), options, "dead-letters", "_invalid")
}

// Get returns a dead letter with its event.
func (c DeadLetters) Get(ctx context.Context, sequence uint64, options ...Option) (*api.ShownLetter, error) {
	return call[api.ShownLetter](ctx, c.s, get("dead-letters", strconv.FormatUint(sequence, 10)), options)
}

// Redrive puts a dead letter on its queue again. For many of them see Redrives.
func (c DeadLetters) Redrive(ctx context.Context, sequence uint64, options ...Option) (*api.QueuedAgain, error) {
	return call[api.QueuedAgain](ctx, c.s, post("dead-letters", strconv.FormatUint(sequence, 10), "redrive"), options)
}

// Discard deletes one dead letter.
func (c DeadLetters) Discard(ctx context.Context, sequence uint64, body api.DiscardReason, options ...Option) (*api.Discarded, error) {
	return call[api.Discarded](ctx, c.s, post("dead-letters", strconv.FormatUint(sequence, 10), "discard").with(body), options)
}

// DiscardAll deletes those of a selection, as many as one request can: see
// api.Discarded.More.
func (c DeadLetters) DiscardAll(ctx context.Context, body *api.DiscardOptions, options ...Option) (*api.Discarded, error) {
	return call[api.Discarded](ctx, c.s, post("dead-letters", "discard").with(body), options)
}

// Redrives are jobs that redrive many dead letters.
type Redrives struct{ s *server }

// Create begins a job; with RedriveOptions.DryRun it only counts.
func (c Redrives) Create(ctx context.Context, body *api.RedriveOptions, options ...Option) (*api.RedriveJob, error) {
	return call[api.RedriveJob](ctx, c.s, post("redrives").with(body), options)
}

// Get shows how far a job is.
func (c Redrives) Get(ctx context.Context, id string, options ...Option) (*api.RedriveJob, error) {
	return call[api.RedriveJob](ctx, c.s, get("redrives", id), options)
}

// List returns jobs, the newest first.
func (c Redrives) List(ctx context.Context, p Paging, options ...Option) iter.Seq2[*api.RedriveJob, error] {
	return itemsOf(c.Pages(ctx, p, options...))
}

// Pages returns the pages of List.
func (c Redrives) Pages(ctx context.Context, p Paging, options ...Option) iter.Seq2[*api.Page[api.RedriveJob], error] {
	return pagesOf[api.RedriveJob](ctx, c.s, p.page(), options, "redrives")
}

// Cancel ends a job. What it has redriven by then is delivered.
func (c Redrives) Cancel(ctx context.Context, id string, options ...Option) (*api.RedriveJob, error) {
	return call[api.RedriveJob](ctx, c.s, post("redrives", id, "cancel"), options)
}
