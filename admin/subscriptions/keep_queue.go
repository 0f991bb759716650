package subscriptions

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/subscription"
)

// EnsureQueue makes the queue of a subscription. Where it had one that is missing, that
// is a loss and is reported as such.
func (k *Keeper) EnsureQueue(ctx context.Context, sub *subscription.Subscription) error {
	if err := k.layout.EnsureQueue(ctx, k.js, sub.ID, sub.Queue, sub.Delivery.MaxInFlight); err != nil {
		return err
	}
	return k.cfg.Inventory.Made(ctx, sub.Queue.Stream)
}

// restoreQueue makes a queue that is missing, unless its subscription is being
// deleted, for which it is disabled first. What was in it is lost.
func (k *Keeper) restoreQueue(ctx context.Context, id string) error {
	unlock, err := k.changing.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	sub, err := k.Find(ctx, id) // as it is after the queue was seen to be missing
	if errors.Is(err, subscription.ErrNotFound) {
		return nil
	}
	if err != nil || sub.State == subscription.Disabled {
		return err
	}
	if err := k.EnsureQueue(ctx, sub); err != nil {
		return err
	}
	k.log.Error("the queue of a subscription was missing and has been made again, what was in it is lost",
		zap.String("subscription_id", id), zap.String("stream", sub.Queue.Stream))
	return nil
}

func (k *Keeper) stateBucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := k.js.KeyValue(ctx, k.layout.StateBucket())
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", k.layout.StateBucket(), err)
	}
	return kv, nil
}
