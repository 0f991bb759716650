package subscriptions

import (
	"context"
	"errors"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// Domain returns a domain of the catalogue, also one that was registered a moment ago.
func (k *Keeper) Domain(name string) (schemas.Domain, bool) { return k.catalogue.Domain(name) }

// EventType returns a type of the catalogue, as Domain does.
func (k *Keeper) EventType(name string) (schemas.Type, error) { return k.catalogue.Resolve(name) }

// RemoveAt is Remove for its manager, provided that sub was not
// changed since it was read: otherwise subscription.ErrConflict.
func (k *Keeper) RemoveAt(ctx context.Context, sub *subscription.Subscription) error {
	_, err := k.Remove(ctx, sub.Managed.By, sub.ID, etag(sub))
	if errors.Is(err, ErrPrecondition) {
		err = errors.Join(subscription.ErrConflict, err)
	}
	return err
}

// CheckKnown tells a subscription without records from one that never was: where nothing was
// found, subscription.ErrNotFound. The records of a deleted subscription stay readable.
func (k *Keeper) CheckKnown(ctx context.Context, id string, found int) error {
	if found > 0 {
		return nil
	}
	if _, err := k.Find(ctx, id); errors.Is(err, subscription.ErrNotFound) {
		return err
	}
	return nil // also when it is unreadable: that is not what was asked
}
