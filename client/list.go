package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/client/api"
)

// Paging is how a list is read.
type Paging struct {
	// PageSize is how many items one request asks for, 1 to 500. Default: the server's, 50.
	PageSize int
	// Cursor is the NextCursor of the page before the first one to read. Default: the list
	// is read from its beginning.
	Cursor string
}

// parameters are those of a query. What is zero is left out.
type parameters url.Values

func (p Paging) page() parameters {
	limit := ""
	if p.PageSize != 0 { // what is out of range is for the server to say
		limit = strconv.Itoa(p.PageSize)
	}
	return parameters{}.text("limit", limit).text("cursor", p.Cursor)
}

func (p parameters) text(name string, values ...string) parameters {
	for _, value := range values {
		if value != "" {
			p[name] = append(p[name], value)
		}
	}
	return p
}

func (p parameters) number(name string, value uint64) parameters {
	if value == 0 {
		return p
	}
	return p.text(name, strconv.FormatUint(value, 10))
}

func (p parameters) time(name string, at time.Time) parameters {
	if at.IsZero() {
		return p
	}
	return p.text(name, at.UTC().Format(time.RFC3339Nano))
}

// pages are those of a list. each makes the request again.
func pages[P any](ctx context.Context, s *server, each func() *request, options []Option, next func(*P) string) iter.Seq2[*P, error] {
	return func(yield func(*P, error) bool) {
		cursor := ""
		for {
			r := each()
			if cursor != "" {
				r.query.Set("cursor", cursor)
			}
			page, err := call[P](ctx, s, r, options)
			if !yield(page, err) || err != nil {
				return
			}
			if cursor = next(page); cursor == "" {
				return
			}
		}
	}
}

func pagesOf[T any](ctx context.Context, s *server, p parameters, options []Option, parts ...string) iter.Seq2[*api.Page[T], error] {
	each := func() *request { return get(parts...).by(url.Values(p)) }
	return pages(ctx, s, each, options, func(p *api.Page[T]) string { return p.NextCursor })
}

// itemsOf are the items of pages.
func itemsOf[T any](pages iter.Seq2[*api.Page[T], error]) iter.Seq2[*T, error] {
	return items(pages, func(p *api.Page[T]) []T { return p.Items })
}

func items[P, T any](pages iter.Seq2[*P, error], of func(*P) []T) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for page, err := range pages {
			if err != nil {
				yield(nil, err)
				return
			}
			found := of(page)
			for i := range found {
				if !yield(&found[i], nil) {
					return
				}
			}
		}
	}
}
