package client

import (
	"context"
	"io"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client/api"
)

// Audit is the trail of changes, and of reads of secrets.
type Audit struct{ s *server }

// An AuditFilter says which records to list. The zero value says all.
type AuditFilter struct {
	Action   string    // or all of a kind of thing: subscription.*
	Target   string    // or what begins alike: subscriptions/*
	Actor    string    // the id of a token, or jetpost
	From, To time.Time // written at From or later, before To
	Paging
}

func (f *AuditFilter) parameters() parameters {
	return f.page().text("action", f.Action).text("target", f.Target).text("actor", f.Actor).time("from", f.From).time("to", f.To)
}

// List returns records, the newest first.
func (c Audit) List(ctx context.Context, f AuditFilter, options ...Option) iter.Seq2[*api.AuditEntry, error] {
	return itemsOf(c.Pages(ctx, f, options...))
}

// Pages returns the pages of List.
func (c Audit) Pages(ctx context.Context, f AuditFilter, options ...Option) iter.Seq2[*api.Page[api.AuditEntry], error] {
	return pagesOf[api.AuditEntry](ctx, c.s, f.parameters(), options, "audit")
}

// Follow returns records as they are written, from now on or from a sequence on, until
// ctx ends: see Attempts.Follow.
func (c Audit) Follow(ctx context.Context, f AuditFilter, from uint64, options ...Option) iter.Seq2[*api.AuditEntry, error] {
	return follow[api.AuditEntry](ctx, c.s, get("audit").by(url.Values(f.parameters().number("from_seq", from))), options)
}

// Get returns one record.
func (c Audit) Get(ctx context.Context, sequence uint64, options ...Option) (*api.AuditEntry, error) {
	return call[api.AuditEntry](ctx, c.s, get("audit", strconv.FormatUint(sequence, 10)), options)
}

// Head says where the trail ends.
func (c Audit) Head(ctx context.Context, options ...Option) (*api.AuditHead, error) {
	return call[api.AuditHead](ctx, c.s, get("audit", "head"), options)
}

// Export streams records, one a line and byte for byte as they are stored, the oldest
// first. Zero is the first that there is, and the last. The caller closes it.
func (c Audit) Export(ctx context.Context, from, to uint64, options ...Option) (io.ReadCloser, error) {
	p := parameters{}.number("from_sequence", from).number("to_sequence", to)
	return c.s.stream(ctx, get("audit", "export").by(url.Values(p)), options)
}
