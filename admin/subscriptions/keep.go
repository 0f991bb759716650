package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/egress"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionCreate    = "subscription.create"
	actionChange    = "subscription.change"
	actionDelete    = "subscription.delete"
	actionPause     = "subscription.pause"
	actionResume    = "subscription.resume"
	actionRotate    = "subscription.rotate_secret"
	actionSecret    = "subscription.show_secret"
	actionTest      = "subscription.test"
	actionHandshake = "subscription.handshake"
	actionConsent   = "subscription.consent"
	actionBreaker   = "breaker.reset"
)

// KeeperConfig is what a Keeper is made with. The zero value is usable.
type KeeperConfig struct {
	// Proxies are those that endpoints may name. Default: none.
	Proxies *subscription.Proxies
	// Events is where operational events go. Default: they are not published.
	Events *operational.Publisher
	// Inventory is notified of queues that are made and deleted. Default: none.
	Inventory *inventory.Inventory
	// Reserve is storage kept for what frees storage. Default: none.
	Reserve *stream.Reserve
}

// A Keeper keeps subscriptions, for the native API and the compatible ones alike: checked
// against the catalogue and the egress rules, with a queue before the first delivery, and so
// that every event published after the answer is matched with the change. Every change is
// on the audit trail first. Errors are for httpapi.API.RefusalOf.
type Keeper struct {
	cfg       KeeperConfig
	js        jetstream.JetStream
	layout    stream.Layout
	store     *subscription.Store
	view      *subscription.View
	egress    *egress.Guard
	catalogue catalogue.Catalogue
	trail     *audit.Trail
	log       *zap.Logger

	changing locks // one change of a subscription at a time
}

// NewKeeper returns a Keeper. store reads from the leader (Store.ReadingLeader). view is kept running by the caller, and must open its
// secrets: they are what GET …/secret answers.
func NewKeeper(cfg KeeperConfig, js jetstream.JetStream, layout stream.Layout, store *subscription.Store, view *subscription.View,
	egress *egress.Guard, types catalogue.Catalogue, trail *audit.Trail, log *zap.Logger,
) *Keeper {
	return &Keeper{
		cfg: cfg, js: js, layout: layout, store: store, view: view, egress: egress, catalogue: types, trail: trail, log: log,
		changing: newLocks(),
	}
}

// Snapshot returns all subscriptions with every change that was answered before,
// by whatever process. They are shared and must not be changed.
func (k *Keeper) Snapshot(ctx context.Context) (*subscription.Snapshot, error) {
	return k.view.Sync(ctx)
}

// Find returns one with every change that was answered before. It is
// shared and must not be changed. subscription.ErrNotFound; an error that says why
// when its record cannot be read.
func (k *Keeper) Find(ctx context.Context, id string) (*subscription.Subscription, error) {
	snapshot, err := k.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	if sub, ok := snapshot.Get(id); ok {
		return sub, nil
	}
	// Not there, or there and unreadable: the store says which.
	return k.store.Get(ctx, id)
}

// Create fills the defaults into sub, which the caller must not use afterwards,
// and stores it. subscription.ErrExists; a *subscription.ValidationError with all
// that is wrong. It makes the queue before the subscription is known, so that its
// first delivery has a home (jetstream.md, section 2).
func (k *Keeper) Create(ctx context.Context, sub *subscription.Subscription) (*subscription.Subscription, error) {
	if err := k.prepare(ctx, sub); err != nil {
		return nil, err
	}
	unlock, err := k.changing.lock(ctx, sub.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Of a subscription that exists not even the queue may be touched.
	if _, err := k.store.Get(ctx, sub.ID); err == nil {
		return nil, fmt.Errorf("create subscription %s: %w", sub.ID, subscription.ErrExists)
	} else if !errors.Is(err, subscription.ErrNotFound) {
		return nil, err
	}
	if err := k.EnsureQueue(ctx, sub); err != nil {
		return nil, err
	}
	var created *subscription.Subscription
	err = k.trail.Around(ctx, audit.OfSubscription(actionCreate, nil, sub), func() error {
		var err error
		created, err = k.store.Create(ctx, sub)
		return err
	})
	if errors.Is(err, subscription.ErrExists) { // another process was faster, and the queue is its own
		if winner, getErr := k.store.Get(ctx, sub.ID); getErr == nil {
			err = errors.Join(err, k.EnsureQueue(ctx, winner))
		}
	}
	if err != nil {
		return nil, err
	}
	k.cfg.Events.Publish(operational.Created(created, actorOf(ctx)))
	// Another process may have been deleting a subscription of this id, and its
	// queue, in between.
	return created, k.EnsureQueue(ctx, created)
}

// prepare makes of what a user has sent a subscription that can be stored.
func (k *Keeper) prepare(ctx context.Context, sub *subscription.Subscription) error {
	traits, _ := profile.Traits(sub.Profile)
	sub.SetDefaultsOf(traits, time.Now())
	sub.Queue, sub.StateReason = k.layout.QueueFor(sub.ID), ""
	sub.Handshake.Ask() // the answer is not the user's to give
	return k.check(ctx, sub, nil)
}

// A Change makes of a subscription what it shall be. It gets one that is the
// caller's to change and may return another one; it is called again when another
// change was faster. Its errors are returned as they are.
type Change func(*subscription.Subscription) (*subscription.Subscription, error)

// Change stores what change makes of a subscription that the API named
// manager keeps; empty: the native one, which may change those of others in a few
// things only. What change returns inherits what cannot be changed, and the secrets
// that it leaves out or has as placeholders (subscription.Inherit); a manager removes
// all signing secrets by an empty list that is not nil. Where it is the same as before,
// nothing is stored, and it keeps its revision.
// The native API's stored secrets do not go where they did not go before; a manager's
// may, as its clients know it, and the audit trail says so.
// subscription.ErrNotFound, also for one of another manager;
// a *subscription.ValidationError with all that is wrong.
func (k *Keeper) Change(ctx context.Context, manager, id string, change Change) (*subscription.Subscription, error) {
	return k.changeSubscription(ctx, manager, id, manager != "", change)
}

// changeSubscription is Change. keepSecrets lets stored secrets go where they
// did not go before.
func (k *Keeper) changeSubscription(ctx context.Context, manager, id string, keepSecrets bool, change Change) (*subscription.Subscription, error) {
	unlock, err := k.changing.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var reason string
	updated, err := k.changeRecorded(ctx, actionChange, id, &reason, func(sub *subscription.Subscription) error {
		_, exposed, err := k.apply(ctx, manager, id, sub, keepSecrets, change)
		reason = exposed.Reason()
		return err
	})
	if err != nil {
		return nil, err
	}
	// Always, and not only for another max_in_flight: when this step fails, the
	// client's next try has to do it.
	if err := k.EnsureQueue(ctx, updated); err != nil {
		return nil, fmt.Errorf("subscription %s is changed, but not its queue: %w", id, err)
	}
	return updated, nil
}

// apply makes of sub, as it is stored, what change says, and returns what it was and
// which secrets go where they did not go before.
func (k *Keeper) apply(ctx context.Context, manager, id string, sub *subscription.Subscription, keepSecrets bool, change Change) (*subscription.Subscription, subscription.Exposure, error) {
	none := subscription.Exposure{}
	if manager != "" && sub.Managed.By != manager {
		return nil, none, fmt.Errorf("change subscription %s: %w", id, subscription.ErrNotFound)
	}
	old := sub.Clone()
	changed, err := change(sub)
	if err != nil {
		return nil, none, err
	}
	if changed.ID != "" && changed.ID != id {
		return nil, none, httpapi.Invalid("id", "is "+strconv.Quote(changed.ID)+", but the path names "+id+": an id cannot be changed")
	}
	var given map[string]bool // of a manager: it fills in what is stored by itself
	if manager == "" {
		given = changed.Given()
	}
	bare := manager != "" && changed.Secrets != nil && len(changed.Secrets) == 0
	changed.Inherit(old)
	if bare {
		changed.Secrets = nil
	}
	if manager == "" {
		changed.Managed = old.Managed
	}
	traits, _ := profile.Traits(changed.Profile)
	oldTraits, _ := profile.Traits(old.Profile)
	changed.SetDefaultsOf(traits, time.Now())
	if manager == "" {
		if err := subscription.ManagedProblem(old, changed); err != nil {
			return nil, none, err
		}
	}
	exposed := changed.ExposureOf(old, given, oldTraits, traits)
	refused := exposed.Problems()
	if keepSecrets {
		refused = nil
	}
	if err := join(k.check(ctx, changed, old), refused); err != nil {
		return nil, none, err
	}
	*sub = *changed
	return old, exposed, nil
}

// join adds problems to those of an error.
func join(err error, more []subscription.Problem) error {
	if len(more) == 0 {
		return err
	}
	invalid, ok := errors.AsType[*subscription.ValidationError](err)
	if err != nil && !ok {
		return err
	}
	if ok {
		more = append(more, invalid.Problems...)
	}
	return &subscription.ValidationError{Problems: more}
}
