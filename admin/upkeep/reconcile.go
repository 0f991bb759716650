package upkeep

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionReconcile = "subscription.reconcile"
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

// A missingDelivery is one that the event log says was owed, and that is nowhere.
type missingDelivery struct {
	v1.MissingDelivery

	delivery *delivery.Delivery
}

type reconcileRequest struct {
	subscriptions.Named
	httpapi.RawJSON
}

type reconciled struct{ Body v1.Reconciled }

// A Reconciler makes deliveries again that were lost. Use NewReconciler.
type Reconciler struct {
	js          jetstream.JetStream
	layout      stream.Layout
	store       *subscription.Store
	keep        *subscriptions.Keeper
	catalogue   catalogue.Catalogue
	attempts    *delivery.Log
	deadLetters *delivery.DeadLetters
	dead        *deadletters.DeadLetters
	trail       *audit.Trail
	inventory   *inventory.Inventory
	log         *zap.Logger
}

// NewReconciler returns a Reconciler. streams, which may be nil, is the list of what the
// streams have lost.
func NewReconciler(js jetstream.JetStream, layout stream.Layout, store *subscription.Store, keep *subscriptions.Keeper, types catalogue.Catalogue,
	attempts *delivery.Log, deadLetters *delivery.DeadLetters, dead *deadletters.DeadLetters, trail *audit.Trail, streams *inventory.Inventory, log *zap.Logger,
) *Reconciler {
	return &Reconciler{
		js: js, layout: layout, store: store, keep: keep, catalogue: types, attempts: attempts, deadLetters: deadLetters, dead: dead, trail: trail,
		inventory: streams, log: log,
	}
}

// Register adds the operation to an API.
func (c *Reconciler) Register(api *httpapi.API) {
	httpapi.RegisterBody[v1.ReconcileOptions](api, huma.Operation{
		OperationID: "reconcile-subscription", Method: http.MethodPost, Path: "/v1/subscriptions/{id}/reconcile", Tags: []string{"Subscriptions"},
		Summary: "Find deliveries that were lost, and make them again",
		Description: "Compares the events that the subscription wants, by the event logs, with its queue, retry timers, attempts and dead letters. What is in none of them " +
			"was lost with a file of NATS, and is put on the queue, with the same delivery id and the number of attempts that it had. jetpost does so by itself when a queue, or the stream of retry timers, is found damaged. " +
			"Events from before the subscription wanted what it wants now are not looked at, unless since says so; nor, ever, those whose attempts are kept no more.",
	}, false, c.reconcile)
}

func (c *Reconciler) reconcile(ctx context.Context, in *reconcileRequest) (*reconciled, error) {
	var options v1.ReconcileOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	sub, err := c.keep.Find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !sub.State.Matches() {
		return nil, httpapi.NewProblem(http.StatusConflict, "subscription "+sub.ID+" is disabled: it is owed nothing; resume it first")
	}
	// It may take longer than other requests.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), reconcileTime)
	defer cancel()
	// Two requests in a minute make nothing twice.
	occasion := strconv.FormatInt(time.Now().Unix()/60, 10)
	r := &reconciling{with: c, sub: sub, occasion: occasion}
	if err := r.find(work, options.Since); err != nil {
		return nil, err
	}
	if options.DryRun || len(r.missing) == 0 {
		return &reconciled{r.body()}, nil
	}
	err = c.trail.Around(work, audit.Record{
		Action: actionReconcile, Target: audit.SubscriptionTarget(sub.ID), After: audit.State(map[string]any{"since": r.since, "missing": len(r.missing)}),
	}, func() error { return r.make(work) })
	if err != nil {
		return nil, err
	}
	return &reconciled{r.body()}, nil
}

// Losses makes the deliveries again that were lost with queues and retry
// timers.
func (c *Reconciler) Losses(ctx context.Context) {
	for _, one := range c.inventory.Reconcilable() {
		if ctx.Err() != nil {
			return
		}
		remade, err := c.loss(ctx, one)
		if err == nil {
			err = c.inventory.Reconciled(ctx, one, remade)
		}
		if err != nil && ctx.Err() == nil {
			c.log.Warn("cannot make deliveries again that were lost, will try again", zap.String("stream", one.Stream), zap.Uint64("made", remade), zap.Error(err))
		}
	}
}

func (c *Reconciler) loss(ctx context.Context, loss inventory.Loss) (remade uint64, err error) {
	if err := c.rebuildRetries(ctx, loss); err != nil {
		return 0, err
	}
	snapshot, err := c.keep.Snapshot(ctx)
	if err != nil {
		return 0, err
	}
	for _, sub := range snapshot.All() {
		if !sub.State.Matches() || sub.Queue.Stream != loss.Stream && c.layout.RetryStream(sub.Queue.RetryShard) != loss.Stream {
			continue
		}
		work, cancel := context.WithTimeout(ctx, reconcileAlone)
		made, err := c.whole(work, sub, strconv.FormatInt(loss.Found.UnixNano(), 10))
		cancel()
		if remade += made; err != nil {
			return remade, err
		}
	}
	return remade, nil
}

// rebuildRetries makes a stream of retry timers anew in which messages are damaged, so that
// the others fire, and only what is there is counted.
func (c *Reconciler) rebuildRetries(ctx context.Context, loss inventory.Loss) error {
	for _, shard := range c.layout.RetryShards() {
		if c.layout.RetryStream(shard) != loss.Stream || loss.Kind != inventory.Damaged {
			continue
		}
		kept, rebuilt, err := c.layout.RebuildRetries(ctx, c.js, shard, func(made bool) error {
			if made {
				return c.inventory.Made(ctx, loss.Stream)
			}
			return c.inventory.Forget(ctx, loss.Stream)
		})
		if err != nil {
			return err
		}
		if rebuilt {
			c.log.Warn("a stream of retry timers with damaged messages was made anew", zap.String("stream", loss.Stream), zap.Int("timers", kept))
		}
	}
	return nil
}

// whole looks at all events of a subscription.
func (c *Reconciler) whole(ctx context.Context, sub *subscription.Subscription, occasion string) (made uint64, err error) {
	var since time.Time
	for {
		r := &reconciling{with: c, sub: sub, occasion: occasion}
		if err := r.find(ctx, since); err != nil {
			return made, err
		}
		if len(r.missing) > 0 {
			err := c.trail.Around(ctx, audit.Record{
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
		if err := subscriptions.Enqueue(ctx, r.with.js, d.Remade(r.sub.Queue.Subject, r.sub.Queue.Stream, r.occasion)); err != nil {
			r.with.log.Warn("stopped to make lost deliveries again", zap.String("subscription_id", r.sub.ID), zap.Uint64("made", r.made), zap.Error(err))
			if r.made > 0 && errors.Is(err, subscriptions.ErrQueueFull) { // what is made is made; the rest is found again
				r.next = r.since
				return nil
			}
			return err
		}
		r.made++
	}
	r.with.log.Warn("made deliveries again that were lost", zap.String("subscription_id", r.sub.ID), zap.Uint64("made", r.made), zap.Time("since", r.since))
	return nil
}

func (r *reconciling) body() v1.Reconciled {
	body := v1.Reconciled{
		SubscriptionID: r.sub.ID, Since: r.since.UTC(), Owed: r.owed, Missing: uint64(len(r.missing)), Made: r.made,
		Items: []v1.MissingDelivery{}, Complete: r.next.IsZero(), Next: r.next,
	}
	for _, missing := range r.missing[:min(len(r.missing), shownMissing)] {
		body.Items = append(body.Items, missing.MissingDelivery)
	}
	return body
}
