package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
)

// PlacedEvent is a request for one event.
type PlacedEvent struct {
	Domain   string `path:"domain" maxLength:"63" doc:"The event's domain." example:"git"`
	Sequence uint64 `path:"sequence" doc:"Its place in the domain's event log, which lists and the answer to publishing show." example:"42"`
}

type oneEvent struct{ Body v1.StoredEvent }

// oneEventRoutes are those of a single event.
func (a *Admin) oneEventRoutes(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "get-event", Method: http.MethodGet, Path: "/v1/events/{domain}/{sequence}", Tags: []string{"Events"}, Metadata: httpapi.Needs(access.NeedEvents),
		Summary: "Show an event", Description: "Events are kept for 30 days, unless they are erased.",
	}, a.getEvent)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-story", Method: http.MethodGet, Path: "/v1/events/{domain}/{sequence}/story", Tags: []string{"Events"},
		Summary: "Tell the whole story of an event", Description: storyDescription,
	}, a.story)
	httpapi.Register(api, huma.Operation{
		OperationID: "find-story", Method: http.MethodGet, Path: "/v1/events/story", Tags: []string{"Events"},
		Summary: "Tell the story of the event with this source and id",
		Description: "Of the newest one, where a producer has used an id again. Logs have no index of ids: the newest events are searched, as many as the time for a request " +
			"allows, so domain or type help. " + storyDescription,
	}, a.findStory)
}

func (a *Admin) getEvent(ctx context.Context, in *PlacedEvent) (*oneEvent, error) {
	record, err := a.storedRecord(ctx, in.Domain, in.Sequence)
	if err != nil {
		return nil, err
	}
	return &oneEvent{source{domain: in.Domain}.show(&record)}, nil
}

// storedRecord reads an event as its log has it.
func (a *Admin) storedRecord(ctx context.Context, domain string, sequence uint64) (stream.Record, error) {
	if !stream.ValidDomain(domain) {
		return stream.Record{}, fmt.Errorf("event %d of %q: %w", sequence, domain, errNoEvent)
	}
	if !access.PrincipalOf(ctx).Sees(domain) {
		return stream.Record{}, noDomain(domain)
	}
	record, err := stream.Get(ctx, a.js, a.layout.EventLog(domain), sequence)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		err = noDomain(domain)
	case errors.Is(err, jetstream.ErrMsgNotFound), sequence == 0:
		err = fmt.Errorf("event %d of %s: %w", sequence, domain, errNoEvent)
	}
	return record, err
}

func noDomain(domain string) error {
	return fmt.Errorf("%s: there is no such domain: GET /v1/domains lists them: %w", domain, errNoEvent)
}
