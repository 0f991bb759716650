package story

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
)

type eventsRequest struct {
	httpapi.Paged
	Domain   string          `query:"domain" maxLength:"63" doc:"Only events of this domain." example:"git"`
	Type     string          `query:"type" maxLength:"255" doc:"Only events of this type, or of a domain as <domain>.*" example:"git.push"`
	FromSeq  uint64          `query:"from_seq" doc:"From this sequence on; needs domain or type, since every domain counts by itself."`
	FromTime httpapi.Instant `query:"from_time" doc:"From what was stored at this time on."`
	ToTime   httpapi.Instant `query:"to_time" doc:"Only what was stored before this time."`
	Source   string          `query:"source" maxLength:"2048" doc:"Only events with exactly this source. With source or id the logs are searched, a few thousand events for each page: a page can be empty and still have a next_cursor."`
	ID       string          `query:"id" maxLength:"2048" doc:"Only events with exactly this id."`
	Follow   bool            `query:"follow" doc:"Answer with events as they are stored, one JSON object per line (application/x-ndjson), without end: from now on, or from from_seq or from_time. Empty lines show that the connection lives."`
}

// Logs reads the event logs. Use NewLogs.
type Logs struct {
	js        jetstream.JetStream
	layout    stream.Layout
	catalogue catalogue.Catalogue
	api       *httpapi.API
	timeout   time.Duration // for one request
}

// NewLogs returns the event logs of an installation, whose operations are those of api.
func NewLogs(api *httpapi.API, js jetstream.JetStream, layout stream.Layout, types catalogue.Catalogue) *Logs {
	return &Logs{js: js, layout: layout, catalogue: types, api: api, timeout: api.Timeout()}
}

func (l *Logs) register(api *httpapi.API) {
	httpapi.Register(api, httpapi.Followed[v1.StoredEvent](api, huma.Operation{
		OperationID: "list-events", Method: http.MethodGet, Path: "/v1/events", Tags: []string{"Events"}, Metadata: httpapi.Needs(access.NeedEvents),
		Summary: "List or follow the events that were published",
		Description: "Newest first; with from_seq or from_time oldest first, from there on. Several domains are put in order by the time of storing. " +
			"Pages do not shift while events are stored: give the same parameters with each cursor.",
	}), l.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/v1/events/{domain}/{sequence}", Tags: []string{"Events"}, Metadata: httpapi.Needs(access.NeedEvents),
		Summary: "Show an event", Description: "Events are kept for 30 days, unless they are erased.",
	}, l.get)
}

// A source is one event log, or one type in it.
type source struct {
	domain  string
	log     string
	subject string
}

// sources are what a request is about.
func (l *Logs) sources(ctx context.Context, in *eventsRequest) ([]source, error) {
	seen := l.catalogue.Seen(ctx)
	domain, event := in.Domain, ">"
	if wildcard, ok := strings.CutSuffix(in.Type, ".*"); ok {
		if domain != "" && domain != wildcard {
			return nil, httpapi.Invalid("type", "is not of the domain "+domain)
		}
		domain = wildcard
	} else if in.Type != "" {
		t, err := seen.Resolve(in.Type)
		if err != nil {
			return nil, httpapi.Invalid("type", err.Error())
		}
		if domain != "" && domain != t.Domain {
			return nil, httpapi.Invalid("type", "is not of the domain "+domain)
		}
		domain, event = t.Domain, t.Event
	}
	var found []source
	for _, d := range seen.Domains() {
		if domain == "" || domain == d.Name {
			found = append(found, source{d.Name, l.layout.EventLog(d.Name), l.layout.EventSubject(d.Name, event)})
		}
	}
	if len(found) == 0 {
		return nil, httpapi.Invalid("domain", seen.Problem(domain+".*"))
	}
	if in.FromSeq > 0 && len(found) > 1 {
		return nil, httpapi.Invalid("from_seq", "needs domain or type: every domain counts by itself")
	}
	if !httpapi.UsableTime(in.FromTime.Time) {
		return nil, httpapi.Invalid("from_time", "is out of range: use a time from 1970 to 2261")
	}
	switch {
	case !httpapi.UsableTime(in.ToTime.Time):
		return nil, httpapi.Invalid("to_time", "is out of range: use a time from 1970 to 2261")
	case !in.ToTime.IsZero() && in.Follow:
		return nil, httpapi.Invalid("to_time", "and follow are given: what is followed has no end")
	case !in.ToTime.IsZero() && !in.FromTime.Before(in.ToTime.Time):
		return nil, httpapi.Invalid("to_time", "is not after from_time")
	}
	if in.FromSeq > 0 && !in.FromTime.IsZero() {
		return nil, httpapi.Invalid("from_seq", "and from_time are given: give one of them")
	}
	return found, nil
}

func (l *Logs) list(ctx context.Context, in *eventsRequest) (*httpapi.Streamed, error) {
	sources, err := l.sources(ctx, in)
	if err != nil {
		return nil, err
	}
	if in.Follow {
		return l.follow(ctx, sources, in)
	}
	read := l.history
	if in.searches() {
		read = l.searchHistory
	}
	found, err := read(ctx, sources, in)
	if err != nil {
		return nil, err
	}
	return httpapi.JSON(found), nil
}

// follow begins, by default, with what is stored after the
// request came in.
func (l *Logs) follow(ctx context.Context, sources []source, in *eventsRequest) (*httpapi.Streamed, error) {
	feeds := make([]httpapi.Feed, len(sources))
	for i, s := range sources {
		r := stream.Range{Subject: s.subject, FromSequence: in.FromSeq, FromTime: in.FromTime.Time, Follow: true}
		if in.FromSeq == 0 && in.FromTime.IsZero() {
			next, err := l.nextSequence(ctx, s.log)
			if err != nil {
				return nil, err
			}
			r.FromSequence = next
		}
		feeds[i] = func(ctx context.Context, emit func(any) bool) error {
			for record, err := range stream.Read(ctx, l.js, s.log, r) {
				if err != nil {
					return err
				}
				if in.searches() && !in.isOf(&record) {
					continue
				}
				if !emit(s.show(&record)) {
					return nil
				}
			}
			return nil
		}
	}
	return l.api.Follow(feeds...)
}

// show never fails: what cannot be read is shown as that.
func (s source) show(r *stream.Record) v1.StoredEvent {
	out := v1.StoredEvent{Domain: s.domain, Stream: r.Stream, Sequence: r.Sequence, StoredAt: r.Time}
	e, err := event.FromCheckedMessage(r.Header, r.Data)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Event = e.AppendStructured(nil)
	return out
}
