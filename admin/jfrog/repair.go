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

// repairTries is how often complete begins anew because another process works on the same
// key.
const repairTries = 20

// complete makes the subscriptions of a key what the document of the first one says: it
// makes those that are missing, changes those that are of another generation, and
// removes those that have no document any more. Any number of processes may do so at
// the same time: each looks again until nothing had to be done.
func (h *webhooks) complete(ctx context.Context, key string) error {
	if _, err := h.registry.Sync(ctx); err != nil { // for the base URL
		return err
	}
	for range repairTries {
		p, err := h.parts(ctx, key)
		if err != nil {
			return err
		}
		steps, err := h.steps(p)
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

// A step is one thing to do. It is no error that another process has done it already, or
// has changed what it is about.
type step func(context.Context) error

// steps are what has to be done for p to be in line.
func (h *webhooks) steps(p parts) ([]step, error) {
	var steps []step
	wanted := 0
	if p.first != nil {
		now, err := stateOf(p.first)
		if err != nil {
			return nil, err
		}
		wanted = len(now.document.handlers)
		if outdated(p.first, h.origin()) {
			steps = append(steps, h.originStep(p.first.ID))
		}
		others, err := h.followers(now, p)
		if err != nil {
			return nil, err
		}
		steps = append(steps, others...)
	}
	for n, other := range p.others {
		if n >= max(wanted, 1) {
			steps = append(steps, h.removeStep(other))
		}
	}
	return steps, nil
}

// followers are what has to be done about the handlers but the first.
func (h *webhooks) followers(now *state, p parts) ([]step, error) {
	var steps []step
	generation := keyring.NewSecret(now.generation)
	for n := 1; n < len(now.document.handlers); n++ {
		have, ok := p.others[n]
		if ok && have.Managed.Document.Equal(generation) {
			if outdated(have, h.origin()) {
				steps = append(steps, h.originStep(have.ID))
			}
			continue
		}
		var found problems
		w := wishOf(h.subscriptions, now.document, &found)
		if err := found.err(); err != nil { // its domain was deleted: what is there stays
			return nil, err
		}
		want := now.document.subscriptionOf(n, w, now.secrets[n], h.origin())
		want.Managed.Document = generation
		if !ok {
			steps = append(steps, h.createStep(want))
			continue
		}
		steps = append(steps, h.changeStep(want.ID, func(old *subscription.Subscription) *subscription.Subscription {
			sub := want.Clone()
			keep(sub, old)
			return sub
		}))
	}
	return steps, nil
}

func (h *webhooks) createStep(sub *subscription.Subscription) step {
	return func(ctx context.Context) error {
		_, err := h.subscriptions.Create(ctx, sub.Clone())
		if errors.Is(err, subscription.ErrExists) {
			return nil
		}
		return err
	}
}

func (h *webhooks) changeStep(id string, change func(old *subscription.Subscription) *subscription.Subscription) step {
	return func(ctx context.Context) error {
		_, err := h.subscriptions.Change(ctx, subscription.ManagedByJFrog, id, func(old *subscription.Subscription) (*subscription.Subscription, error) {
			return change(old), nil
		})
		if errors.Is(err, subscription.ErrNotFound) {
			return nil
		}
		return err
	}
}

// removeStep removes a subscription as it was seen: another process may have created a
// document of this key meanwhile.
func (h *webhooks) removeStep(sub *subscription.Subscription) step {
	return func(ctx context.Context) error {
		err := h.subscriptions.RemoveAt(ctx, sub)
		if errors.Is(err, subscription.ErrNotFound) || errors.Is(err, subscription.ErrConflict) {
			return nil
		}
		return err
	}
}

func (h *webhooks) originStep(id string) step {
	return h.changeStep(id, func(old *subscription.Subscription) *subscription.Subscription {
		delete(old.Settings, profile.SettingOrigin)
		if origin := h.origin(); origin != "" {
			old.Settings[profile.SettingOrigin] = origin
		}
		return old
	})
}

// outdated reports whether deliveries of sub name another base URL than origin.
func outdated(sub *subscription.Subscription, origin string) bool {
	return sub.Settings[profile.SettingOrigin] != origin
}

// origin is the platform's base URL as far as it is known here, empty where none is
// set. Setting it brings all subscriptions in line.
func (h *webhooks) origin() string { return h.registry.Current().Origin }

// repair completes all keys that are not in line, after a process was killed between two
// writes. What fails is tried again the next time.
func (h *webhooks) repair(ctx context.Context) {
	if _, err := h.registry.Sync(ctx); err != nil {
		return
	}
	all, err := h.all(ctx)
	if err != nil {
		return // the view says so
	}
	for _, p := range all {
		steps, err := h.steps(p)
		if err == nil && len(steps) > 0 {
			if err = h.complete(ctx, p.key()); err == nil {
				h.log.Warn("completed what had been left half done", zap.String("subscription_id", idOf(p.key(), 0)))
			}
		}
		if err != nil && ctx.Err() == nil {
			h.log.Warn("cannot bring the handlers of a subscription in line, will try again", zap.String("subscription_id", idOf(p.key(), 0)), zap.Error(err))
		}
	}
}
