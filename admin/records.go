package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Following is a request for a list that may be followed instead.
type Following struct {
	Paged
	Follow  bool   `query:"follow" doc:"Answer with what is recorded from now on, as it happens, one JSON object per line (application/x-ndjson), without end. Empty lines show that the connection lives."`
	FromSeq uint64 `query:"from_seq" doc:"With follow: begin with this sequence, to go on after a lost connection."`
}

type attemptsRequest struct {
	Named
	Following
}

// streamed is an answer that writes itself: a list, or a log that is followed.
type streamed struct{ Body func(huma.Context) }

// recordRoutes are those of the attempt log.
func (a *Admin) recordRoutes(api *API) {
	const newestFirst = "Newest first. They are kept for 30 days."
	register(api, followed[v1.Attempt](api, huma.Operation{
		OperationID: "list-attempts", Method: http.MethodGet, Path: "/v1/attempts", Tags: []string{"Records"},
		Summary: "List or follow the requests made for all subscriptions", Description: newestFirst,
	}), a.listAllAttempts)
	register(api, followed[v1.Attempt](api, huma.Operation{
		OperationID: "list-subscription-attempts", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/attempts", Tags: []string{"Records"},
		Summary: "List or follow the requests made for a subscription", Description: newestFirst,
	}), a.listAttempts)
}

func (a *Admin) listAllAttempts(ctx context.Context, in *Following) (*streamed, error) {
	if in.Follow {
		return a.followAttempts(ctx, "", in.FromSeq)
	}
	// A wildcard is a subject token like another.
	found, err := sequencePage(in.Paged, func(before uint64, limit int) ([]delivery.Attempt, error) {
		return a.attempts.Latest(ctx, "*", before, limit)
	}, func(one delivery.Attempt) uint64 { return one.Sequence })
	if err != nil {
		return nil, err
	}
	return jsonAnswer(showPage(found, showAttempt)), nil
}

func (a *Admin) listAttempts(ctx context.Context, in *attemptsRequest) (*streamed, error) {
	if in.Follow {
		if _, err := a.FindSubscription(ctx, in.ID); err != nil {
			return nil, err
		}
		return a.followAttempts(ctx, in.ID, in.FromSeq)
	}
	if !subscription.ValidID(in.ID) {
		return nil, fmt.Errorf("list attempts: %w", subscription.ErrNotFound)
	}
	found, err := sequencePage(in.Paged, func(before uint64, limit int) ([]delivery.Attempt, error) {
		return a.attempts.Latest(ctx, in.ID, before, limit)
	}, func(one delivery.Attempt) uint64 { return one.Sequence })
	if err != nil {
		return nil, err
	}
	if err := a.explainEmpty(ctx, in.ID, len(found.Items)); err != nil {
		return nil, err
	}
	return jsonAnswer(showPage(found, showAttempt)), nil
}

// explainEmpty tells a subscription without records from one that never was. The
// records of one that was deleted stay readable.
func (a *Admin) explainEmpty(ctx context.Context, id string, found int) error {
	if found > 0 {
		return nil
	}
	if _, err := a.FindSubscription(ctx, id); errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	return nil // also when it is unreadable: that is not what was asked
}

// followAttempts begins with what is recorded after the request came in.
func (a *Admin) followAttempts(ctx context.Context, id string, from uint64) (*streamed, error) {
	if from == 0 {
		next, err := a.attempts.Next(ctx)
		if err != nil {
			return nil, err
		}
		from = next
	}
	return a.api.follow(func(ctx context.Context, emit func(any) bool) error {
		for one, err := range a.attempts.Follow(ctx, id, from) {
			if err != nil {
				return err
			}
			if !emit(showAttempt(&one)) {
				return nil
			}
		}
		return nil
	})
}

// nextSequence is the number that the next record of a stream will have.
func (a *Admin) nextSequence(ctx context.Context, name string) (uint64, error) {
	s, err := a.js.Stream(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return s.CachedInfo().State.LastSeq + 1, nil
}

// sequencePage reads one page of a log, newest first. The cursor is the sequence
// of the last record of the page before, so pages do not shift while records are
// added.
func sequencePage[T any](in Paged, latest func(before uint64, limit int) ([]T, error), sequence func(T) uint64) (v1.Page[T], error) {
	var before uint64
	if in.Cursor != "" {
		var err error
		if before, err = strconv.ParseUint(in.Cursor, 10, 64); err != nil || before == 0 {
			return v1.Page[T]{}, badCursor()
		}
	}
	items, err := latest(before, in.Limit+1) // one more tells whether there is a next page
	if err != nil {
		return v1.Page[T]{}, err
	}
	found := v1.Page[T]{Items: items}
	if len(items) > in.Limit {
		found.Items = items[:in.Limit]
		found.NextCursor = strconv.FormatUint(sequence(found.Items[in.Limit-1]), 10)
	}
	if found.Items == nil {
		found.Items = []T{}
	}
	return found, nil
}
