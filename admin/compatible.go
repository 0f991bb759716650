package admin

import (
	"context"
	"errors"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// What follows is for compatible APIs, beside keep.go.

// OnSweep has mend called when Run begins and whenever the queues are looked at, for
// what an API that was killed has left half done. It is to be called before Run.
func (a *Admin) OnSweep(mend func(ctx context.Context)) { a.menders = append(a.menders, mend) }

// CheckSubscription reports what CreateSubscription, or with old what
// ChangeSubscription, would refuse: a *subscription.ValidationError with all that is
// wrong. sub is not changed.
func (a *Admin) CheckSubscription(ctx context.Context, sub, old *subscription.Subscription) error {
	checked := sub.Clone()
	traits, _ := profile.Traits(checked.Profile)
	checked.SetDefaultsOf(traits, time.Now())
	return a.check(ctx, checked, old)
}

// Domain returns a domain of the catalogue, also one that was registered a moment ago.
func (a *Admin) Domain(name string) (schemas.Domain, bool) { return a.catalogue.Domain(name) }

// EventType returns a type of the catalogue, as Domain does.
func (a *Admin) EventType(name string) (schemas.Type, error) { return a.catalogue.Resolve(name) }

// Attempts is the attempt log.
func (a *Admin) Attempts() *delivery.Log { return a.attempts }

// EventOf returns the event that an attempt was about, from its event log. An error
// means that it is not there any more.
func (a *Admin) EventOf(ctx context.Context, attempt *delivery.Attempt) (*event.Event, error) {
	d, err := a.fromEventLog(ctx, attempt)
	if err != nil {
		return nil, err
	}
	return d.Event, nil
}

// RemoveSubscriptionAt is RemoveSubscription for its manager, provided that nobody has
// changed sub since it was read: otherwise subscription.ErrConflict.
func (a *Admin) RemoveSubscriptionAt(ctx context.Context, sub *subscription.Subscription) error {
	_, err := a.RemoveSubscription(ctx, sub.Managed.By, sub.ID, etag(sub))
	if errors.Is(err, errPrecondition) {
		err = errors.Join(subscription.ErrConflict, err)
	}
	return err
}
