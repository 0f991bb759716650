package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/audit"
	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream/inventory"
	"github.com/jetpost/jetpost/subscription"
)

const (
	// reconcileTime bounds the work for one request; what is left is for the next one.
	reconcileTime = 2 * time.Minute
	// reconcileAlone bounds that which jetpost does by itself for one subscription.
	reconcileAlone = 30 * time.Minute
	// maxMissing is how many deliveries are made again at a time, and shownMissing how
	// many of them an answer names.
	maxMissing   = 10_000
	shownMissing = 100
)

// reconcileOptions is the body of reconcile.
type reconcileOptions struct {
	DryRun bool    `json:"dry_run" doc:"Say which deliveries are missing, and make none."`
	Since  Instant `json:"since" doc:"Look at events that were stored at this time or later. Default: as far back as it is known what the subscription wanted, and what was made for it."`
}

// A missingDelivery is one that the event log says was owed, and that is nowhere.
type missingDelivery struct {
	Domain     string    `json:"domain" doc:"Of the event."`
	Sequence   uint64    `json:"sequence" doc:"Its place in the event log."`
	Stored     time.Time `json:"stored" doc:"When the event log stored it."`
	EventID    string    `json:"event_id" doc:"The event's id."`
	EventType  string    `json:"event_type" doc:"Its type."`
	DeliveryID string    `json:"delivery_id" doc:"The webhook-id of the delivery."`
	Attempt    int       `json:"attempt" doc:"The number of its next attempt: 1, or more where earlier ones are on record."`

	delivery *delivery.Delivery
}

// reconciledBody says what was found.
type reconciledBody struct {
	SubscriptionID string            `json:"subscription_id" doc:"Which subscription."`
	Since          time.Time         `json:"since" doc:"Events that were stored since then were looked at."`
	Owed           uint64            `json:"owed" doc:"How many of them the subscription wants."`
	Missing        uint64            `json:"missing" doc:"How many of their deliveries are in no queue, timer, attempt or dead letter."`
	Made           uint64            `json:"made" doc:"How many of these were put on the queue again."`
	Items          []missingDelivery `json:"items" doc:"The first 100 of those that are missing."`
	Complete       bool              `json:"complete" doc:"Whether all events were looked at. If not, ask again with since as in next."`
	Next           time.Time         `json:"next,omitzero" doc:"Where to go on."`
}

type reconciled struct{ Body reconciledBody }

// reconcileRoutes are those of deliveries that were lost.
func (a *Admin) reconcileRoutes(api huma.API) {
	registerBody[reconcileOptions](a, api, huma.Operation{
		OperationID: "reconcile-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/reconcile", Tags: []string{"Subscriptions"},
		Summary: "Find deliveries that were lost, and make them again",
		Description: "Compares the events that the subscription wants, by the event logs, with its queue, retry timers, attempts and dead letters. What is in none of them " +
			"was lost with a file of NATS, and is put on the queue, with the same delivery id and the number of attempts that it had. jetpost does so by itself when a queue, or the stream of retry timers, is found damaged. " +
			"Events from before the subscription wanted what it wants now are not looked at, unless since says so; nor, ever, those whose attempts are kept no more.",
	}, false, a.reconcileRoute)
}

func (a *Admin) reconcileRoute(ctx context.Context, in *action) (*reconciled, error) {
	var options reconcileOptions
	if err := decodeOptions(in.RawBody, &options); err != nil {
		return nil, err
	}
	sub, err := a.FindSubscription(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !sub.State.Matches() {
		return nil, newProblem(http.StatusConflict, "subscription "+sub.ID+" is disabled: it is owed nothing; resume it first")
	}
	// It may take longer than other requests.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), reconcileTime)
	defer cancel()
	// Two requests in a minute make nothing twice.
	occasion := strconv.FormatInt(time.Now().Unix()/60, 10)
	r := &reconciling{Admin: a, sub: sub, occasion: occasion}
	if err := r.find(work, options.Since.Time); err != nil {
		return nil, err
	}
	if options.DryRun || len(r.missing) == 0 {
		return &reconciled{r.body()}, nil
	}
	err = a.Record(work, audit.Record{
		Action: actionReconcile, Target: audit.SubscriptionTarget(sub.ID), After: audit.State(map[string]any{"since": r.since, "missing": len(r.missing)}),
	}, func() error { return r.make(work) })
	if err != nil {
		return nil, err
	}
	return &reconciled{r.body()}, nil
}

// reconcileLosses makes the deliveries again that were lost with queues and retry
// timers.
func (a *Admin) reconcileLosses(ctx context.Context) {
	for _, loss := range a.cfg.Inventory.Reconcilable() {
		if ctx.Err() != nil {
			return
		}
		remade, err := a.reconcileLoss(ctx, loss)
		if err == nil {
			err = a.cfg.Inventory.Reconciled(ctx, loss, remade)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("cannot make deliveries again that were lost, will try again", zap.String("stream", loss.Stream), zap.Uint64("made", remade), zap.Error(err))
		}
	}
}

func (a *Admin) reconcileLoss(ctx context.Context, loss inventory.Loss) (remade uint64, err error) {
	snapshot, err := a.view.Sync(ctx)
	if err != nil {
		return 0, err
	}
	for _, sub := range snapshot.All() {
		if !sub.State.Matches() || sub.Queue.Stream != loss.Stream && a.layout.RetryStream(sub.Queue.RetryShard) != loss.Stream {
			continue
		}
		work, cancel := context.WithTimeout(ctx, reconcileAlone)
		made, err := a.reconcileWhole(work, sub, strconv.FormatInt(loss.Found.UnixNano(), 10))
		cancel()
		if remade += made; err != nil {
			return remade, err
		}
	}
	return remade, nil
}

// reconcileWhole looks at all events of a subscription.
func (a *Admin) reconcileWhole(ctx context.Context, sub *subscription.Subscription, occasion string) (made uint64, err error) {
	var since time.Time
	for {
		r := &reconciling{Admin: a, sub: sub, occasion: occasion}
		if err := r.find(ctx, since); err != nil {
			return made, err
		}
		if len(r.missing) > 0 {
			err := a.Record(ctx, audit.Record{
				Action: actionReconcile, Target: audit.SubscriptionTarget(sub.ID), After: audit.State(map[string]any{"since": r.since, "missing": len(r.missing)}),
			}, func() error { return r.make(ctx) })
			if made += r.made; err != nil {
				return made, err
			}
		}
		if r.next.IsZero() {
			return made, nil
		}
		since = r.next
	}
}

// make puts what is missing on the queue. An ordered subscription gets it behind what
// waits already.
func (r *reconciling) make(ctx context.Context) error {
	for n := range r.missing {
		d := r.missing[n].delivery
		if err := r.enqueue(ctx, d.Remade(r.sub.Queue.Subject, r.sub.Queue.Stream, r.occasion)); err != nil {
			r.log.Warn("stopped to make lost deliveries again", zap.String("subscription_id", r.sub.ID), zap.Uint64("made", r.made), zap.Error(err))
			if r.made > 0 && errors.Is(err, errQueueFull) { // what is made is made; the rest is found again
				r.next = r.since
				return nil
			}
			return err
		}
		r.made++
	}
	r.log.Warn("made deliveries again that were lost", zap.String("subscription_id", r.sub.ID), zap.Uint64("made", r.made), zap.Time("since", r.since))
	return nil
}

func (r *reconciling) body() reconciledBody {
	body := reconciledBody{
		SubscriptionID: r.sub.ID, Since: r.since.UTC(), Owed: r.owed, Missing: uint64(len(r.missing)), Made: r.made,
		Items: r.missing[:min(len(r.missing), shownMissing)], Complete: r.next.IsZero(), Next: r.next,
	}
	if body.Items == nil {
		body.Items = []missingDelivery{}
	}
	return body
}
