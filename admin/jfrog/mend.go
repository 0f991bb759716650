package jfrog

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/keyring"
	profile "github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/subscription"
)

// mendTries is how often mend begins anew because somebody else was at work on the
// same key.
const mendTries = 20

// mend makes the subscriptions of a key what the document of the first one says: it
// makes those that are missing, changes those that are of another generation, and
// removes those that have no document any more. Any number of processes may do so at
// the same time: each looks again until nothing had to be done.
func (j *API) mend(ctx context.Context, key string) error {
	if _, err := j.services.Repositories.Sync(ctx); err != nil { // for the base URL
		return err
	}
	for range mendTries {
		p, err := j.parts(ctx, key)
		if err != nil {
			return err
		}
		steps, err := j.steps(p)
		if err != nil || len(steps) == 0 {
			return err
		}
		for _, step := range steps {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("bring the handlers of %s in line: %w", clip(key), subscription.ErrConflict)
}

// A step is one thing to do. That somebody else has done it already, or has changed
// what it is about, is not an error.
type step func(context.Context) error

// steps are what has to be done for p to be in line.
func (j *API) steps(p parts) ([]step, error) {
	var steps []step
	wanted := 0
	if p.first != nil {
		now, err := stateOf(p.first)
		if err != nil {
			return nil, err
		}
		wanted = len(now.document.handlers)
		if outdated(p.first, j.origin()) {
			steps = append(steps, j.originStep(p.first.ID))
		}
		others, err := j.followers(now, p)
		if err != nil {
			return nil, err
		}
		steps = append(steps, others...)
	}
	for n, other := range p.others {
		if n >= max(wanted, 1) {
			steps = append(steps, j.removeStep(other))
		}
	}
	return steps, nil
}

// followers are what has to be done about the handlers but the first.
func (j *API) followers(now *state, p parts) ([]step, error) {
	var steps []step
	generation := keyring.NewSecret(now.generation)
	for n := 1; n < len(now.document.handlers); n++ {
		have, ok := p.others[n]
		if ok && have.Managed.Document.Equal(generation) {
			if outdated(have, j.origin()) {
				steps = append(steps, j.originStep(have.ID))
			}
			continue
		}
		var found problems
		w := wishOf(j.services.Subscriptions, now.document, &found)
		if err := found.err(); err != nil { // its domain is gone: what is there stays
			return nil, err
		}
		want := now.document.subscriptionOf(n, w, now.secrets[n], j.origin())
		want.Managed.Document = generation
		if !ok {
			steps = append(steps, j.createStep(want))
			continue
		}
		steps = append(steps, j.changeStep(want.ID, func(old *subscription.Subscription) *subscription.Subscription {
			sub := want.Clone()
			keep(sub, old)
			return sub
		}))
	}
	return steps, nil
}

func (j *API) createStep(sub *subscription.Subscription) step {
	return func(ctx context.Context) error {
		_, err := j.services.Subscriptions.Create(ctx, sub.Clone())
		if errors.Is(err, subscription.ErrExists) {
			return nil
		}
		return err
	}
}

func (j *API) changeStep(id string, change func(old *subscription.Subscription) *subscription.Subscription) step {
	return func(ctx context.Context) error {
		_, err := j.services.Subscriptions.Change(ctx, subscription.ManagedByJFrog, id, func(old *subscription.Subscription) (*subscription.Subscription, error) {
			return change(old), nil
		})
		if errors.Is(err, subscription.ErrNotFound) {
			return nil
		}
		return err
	}
}

// removeStep removes a subscription as it was seen: somebody may have created a
// document of this key meanwhile.
func (j *API) removeStep(sub *subscription.Subscription) step {
	return func(ctx context.Context) error {
		err := j.services.Subscriptions.RemoveAt(ctx, sub)
		if errors.Is(err, subscription.ErrNotFound) || errors.Is(err, subscription.ErrConflict) {
			return nil
		}
		return err
	}
}

func (j *API) originStep(id string) step {
	return j.changeStep(id, func(old *subscription.Subscription) *subscription.Subscription {
		delete(old.Settings, profile.SettingOrigin)
		if origin := j.origin(); origin != "" {
			old.Settings[profile.SettingOrigin] = origin
		}
		return old
	})
}

// outdated reports whether deliveries of sub name another base URL than origin.
func outdated(sub *subscription.Subscription, origin string) bool {
	return sub.Settings[profile.SettingOrigin] != origin
}

// origin is the platform's base URL as far as it is known here, empty where nobody has
// set one. Who sets it has all subscriptions brought in line.
func (j *API) origin() string { return j.services.Repositories.Current().Origin }

// repair mends all keys that are not in line, after a process was killed between two
// writes. What fails is tried again the next time.
func (j *API) repair(ctx context.Context) {
	if _, err := j.services.Repositories.Sync(ctx); err != nil {
		return
	}
	all, err := j.all(ctx)
	if err != nil {
		return // the view says so
	}
	for _, p := range all {
		steps, err := j.steps(p)
		if err == nil && len(steps) > 0 {
			if err = j.mend(ctx, p.key()); err == nil {
				j.log.Warn("completed what had been left half done", zap.String("subscription_id", idOf(p.key(), 0)))
			}
		}
		if err != nil && ctx.Err() == nil {
			j.log.Warn("cannot bring the handlers of a subscription in line, will try again", zap.String("subscription_id", idOf(p.key(), 0)), zap.Error(err))
		}
	}
}
