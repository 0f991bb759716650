package subscriptions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

const (
	// backlogParallel is how many queues are looked at a time.
	backlogParallel = 16
	// maxNextRetry is among how many timers the next one is looked for: each is a request.
	maxNextRetry = 50
)

type oneBacklog struct{ Body v1.Backlog }

type backlogsRequest struct {
	httpapi.Paged
	Sort  string `query:"sort" enum:"id,waiting,oldest" default:"id" doc:"id: pages in the order of the ids; waiting, oldest: one page with the limit subscriptions that have most deliveries waiting, or the oldest one, without a next page, since figures change from moment to moment."`
	State string `query:"state" enum:"active,paused,disabled" doc:"Only subscriptions in this state."`
}

type backlogPage struct{ Body v1.Page[v1.Backlog] }

// backlogs are the operations that show what waits.
type backlogs struct {
	keep        *Keeper
	deadLetters *delivery.DeadLetters
}

func (b *backlogs) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "get-backlog", Method: http.MethodGet, Path: "/v1/subscriptions/{id}/backlog", Tags: []string{"Subscriptions"},
		Summary: "Show what waits to be delivered for a subscription",
	}, b.one)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-backlogs", Method: http.MethodGet, Path: "/v1/backlogs", Tags: []string{"Subscriptions"},
		Summary: "List what waits to be delivered, by subscription", Description: "A sorted list looks at the queue of every subscription.",
	}, b.all)
}

func (b *backlogs) one(ctx context.Context, in *Named) (*oneBacklog, error) {
	sub, err := b.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	shown, err := b.measureQueue(ctx, sub)
	if err == nil {
		err = b.measureRest(ctx, sub, &shown)
	}
	if err == nil && shown.Retries > 0 && shown.Retries <= maxNextRetry {
		shown.NextRetryAt, err = b.keep.layout.NextRetry(ctx, b.keep.js, sub.Queue, sub.ID)
	}
	if err == nil {
		shown.OverBudgetAt, err = b.overBudgetAt(ctx, sub.ID)
	}
	return &oneBacklog{shown}, err
}

// overBudgetAt is when the newest of a few dead letters was kept because filters took too
// many steps; zero when none was.
func (b *backlogs) overBudgetAt(ctx context.Context, id string) (time.Time, error) {
	const newest = 20
	deadLetters, err := b.deadLetters.Latest(ctx, id, 0, newest)
	if err != nil {
		return time.Time{}, fmt.Errorf("look at the dead letters of subscription %s: %w", id, err)
	}
	for i := range deadLetters {
		if deadLetters[i].Reason == delivery.ReasonMatchBudget {
			return deadLetters[i].At, nil
		}
	}
	return time.Time{}, nil
}

func (b *backlogs) all(ctx context.Context, in *backlogsRequest) (*backlogPage, error) {
	switch {
	case in.Cursor != "" && in.Sort != "id":
		return nil, httpapi.Invalid("cursor", "and sort are given: a sorted list has one page; raise the limit")
	case in.Cursor != "" && !subscription.ValidID(in.Cursor):
		return nil, httpapi.BadCursor()
	}
	snapshot, err := b.keep.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	all := snapshot.All()
	subs := all[sort.Search(len(all), func(i int) bool { return all[i].ID > in.Cursor }):]
	if in.State != "" {
		subs = slices.DeleteFunc(slices.Clone(subs), func(s *subscription.Subscription) bool { return string(s.State) != in.State })
	}
	out := &backlogPage{v1.Page[v1.Backlog]{Items: []v1.Backlog{}}}
	if in.Sort == "id" && len(subs) > in.Limit {
		subs = subs[:in.Limit]
		out.Body.NextCursor = subs[in.Limit-1].ID
	}
	measured, err := each(ctx, subs, b.measureQueue)
	if err != nil {
		return nil, err
	}
	switch in.Sort {
	case "waiting":
		slices.SortStableFunc(measured, func(x, y v1.Backlog) int { return cmp.Compare(y.Waiting, x.Waiting) })
	case "oldest":
		slices.SortStableFunc(measured, func(x, y v1.Backlog) int {
			if x.OldestAt.IsZero() || y.OldestAt.IsZero() { // nothing waits there
				return y.OldestAt.Compare(x.OldestAt)
			}
			return x.OldestAt.Compare(y.OldestAt)
		})
	}
	measured = measured[:min(in.Limit, len(measured))]
	out.Body.Items, err = each(ctx, measured, func(ctx context.Context, one v1.Backlog) (v1.Backlog, error) {
		sub, _ := snapshot.Get(one.SubscriptionID)
		err := b.measureRest(ctx, sub, &one)
		return one, err
	})
	return out, err
}

// each calls f with several items at a time, and returns what it made of them, in
// their order.
func each[I, O any](ctx context.Context, items []I, f func(context.Context, I) (O, error)) ([]O, error) {
	made := make([]O, len(items))
	working, ctx := errgroup.WithContext(ctx)
	working.SetLimit(backlogParallel)
	for i, item := range items {
		working.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // the others need not be asked
			}
			var err error
			made[i], err = f(ctx, item)
			return err
		})
	}
	return made, working.Wait()
}

// measureQueue looks at the queue and its consumer.
func (b *backlogs) measureQueue(ctx context.Context, sub *subscription.Subscription) (v1.Backlog, error) {
	shown := v1.Backlog{SubscriptionID: sub.ID, State: v1.State(sub.State), Ordered: sub.Delivery.Ordered}
	level, err := stream.ReadLevel(ctx, b.keep.js, sub.Queue)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		shown.NoQueue = true
		return shown, nil
	}
	if err != nil {
		return shown, fmt.Errorf("look at the queue of subscription %s: %w", sub.ID, err)
	}
	shown.Queued, shown.InFlight = level.Messages, level.InFlight
	shown.Waiting = level.Messages - min(level.InFlight, level.Messages) // two answers, of two moments
	if level.Messages > 0 {
		shown.OldestAt = level.Oldest.UTC()
		shown.OldestAge = v1.Duration(max(level.Now.Sub(level.Oldest), 0).Round(time.Millisecond))
	}
	return shown, nil
}

// measureRest looks at the retry timers and the breaker.
func (b *backlogs) measureRest(ctx context.Context, sub *subscription.Subscription, shown *v1.Backlog) error {
	timers, err := stream.SubjectCounts(ctx, b.keep.js, b.keep.layout.RetryStream(sub.Queue.RetryShard), b.keep.layout.RetryAt(sub.Queue.RetryShard, sub.ID, "*"))
	if err != nil {
		return fmt.Errorf("count retry timers of subscription %s: %w", sub.ID, err)
	}
	shown.Retries = uint64(len(timers)) // one message of each subject
	kv, err := b.keep.stateBucket(ctx)
	if err != nil {
		return err
	}
	r, _, err := breaker.Read(ctx, kv, sub.ID)
	shown.Breaker = showBreaker(sub, r).State
	return err
}
