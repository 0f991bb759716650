package subscriptions

import (
	"context"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/subscription"
)

// actorOf is who makes the request of ctx, for operational events.
func actorOf(ctx context.Context) operational.Actor {
	if id := access.PrincipalOf(ctx).ID; id != "" {
		return operational.Actor(id)
	}
	return operational.Admin
}

// changeRecorded stores what change makes of a subscription, with a record of it, and
// tells who listens. Where nothing is changed there is neither. reason is read after
// change. It returns what is stored.
func (k *Keeper) changeRecorded(ctx context.Context, action, id string, reason *string, change func(*subscription.Subscription) error) (*subscription.Subscription, error) {
	var was *subscription.Subscription
	updated, err := k.store.ChangeWithin(ctx, id, change, func(before, after *subscription.Subscription, write func() error) error {
		was = before
		r := audit.OfSubscription(action, before, after)
		if reason != nil {
			r.Reason = *reason
		}
		return k.trail.Around(ctx, r, write)
	})
	if err != nil {
		return nil, err
	}
	if was != nil {
		k.cfg.Events.Publish(operational.Changed(was, updated, actorOf(ctx))...)
	}
	return updated, nil
}
