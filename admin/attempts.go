package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
)

type attemptsRequest struct {
	subscriptions.Named
	httpapi.Following
}

// attempts are the operations of the attempt log.
type attempts struct {
	api  *httpapi.API
	log  *delivery.Log
	keep *subscriptions.Keeper
}

func (a *attempts) register(api *httpapi.API) {
	const newestFirst = "Newest first. They are kept for 30 days."
	httpapi.Register(api, httpapi.Followed[v1.Attempt](api, huma.Operation{
		OperationID: "list-attempts", Method: http.MethodGet, Path: "/v1/attempts", Tags: []string{"Records"},
		Summary: "List or follow the requests made for all subscriptions", Description: newestFirst,
	}), a.listAll)
	httpapi.Register(api, httpapi.Followed[v1.Attempt](api, huma.Operation{
		OperationID: "list-subscription-attempts", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/attempts", Tags: []string{"Records"},
		Summary: "List or follow the requests made for a subscription", Description: newestFirst,
	}), a.list)
}

func (a *attempts) listAll(ctx context.Context, in *httpapi.Following) (*httpapi.Streamed, error) {
	if in.Follow {
		return a.follow(ctx, "", in.FromSeq)
	}
	// A wildcard is a subject token like another.
	found, err := httpapi.SequencePage(in.Paged, func(before uint64, limit int) ([]delivery.Attempt, error) {
		return a.log.Latest(ctx, "*", before, limit)
	}, func(one delivery.Attempt) uint64 { return one.Sequence })
	if err != nil {
		return nil, err
	}
	return httpapi.JSON(show.Page(found, show.Attempt)), nil
}

func (a *attempts) list(ctx context.Context, in *attemptsRequest) (*httpapi.Streamed, error) {
	if in.Follow {
		if _, err := a.keep.Find(ctx, in.ID); err != nil {
			return nil, err
		}
		return a.follow(ctx, in.ID, in.FromSeq)
	}
	if !subscription.ValidID(in.ID) {
		return nil, fmt.Errorf("list attempts: %w", subscription.ErrNotFound)
	}
	found, err := httpapi.SequencePage(in.Paged, func(before uint64, limit int) ([]delivery.Attempt, error) {
		return a.log.Latest(ctx, in.ID, before, limit)
	}, func(one delivery.Attempt) uint64 { return one.Sequence })
	if err != nil {
		return nil, err
	}
	if err := a.keep.CheckKnown(ctx, in.ID, len(found.Items)); err != nil {
		return nil, err
	}
	return httpapi.JSON(show.Page(found, show.Attempt)), nil
}

// follow begins with what is recorded after the request came in.
func (a *attempts) follow(ctx context.Context, id string, from uint64) (*httpapi.Streamed, error) {
	if from == 0 {
		next, err := a.log.Next(ctx)
		if err != nil {
			return nil, err
		}
		from = next
	}
	return a.api.Follow(func(ctx context.Context, emit func(any) bool) error {
		for one, err := range a.log.Follow(ctx, id, from) {
			if err != nil {
				return err
			}
			if !emit(show.Attempt(&one)) {
				return nil
			}
		}
		return nil
	})
}
