package jfrog

import (
	"cmp"
	"context"
	"slices"

	"github.com/jetpost/jetpost/internal/subscription"
)

// parts are the subscriptions that belong to a key.
type parts struct {
	first  *subscription.Subscription         // nil: there is no document
	others map[int]*subscription.Subscription // by part
}

func (h *webhooks) parts(ctx context.Context, key string) (parts, error) {
	p := parts{others: map[int]*subscription.Subscription{}}
	snapshot, err := h.subscriptions.Snapshot(ctx)
	if err != nil {
		return p, err
	}
	for n := range maxHandlers {
		if sub, ok := snapshot.Get(idOf(key, n)); ok && isPart(sub, key, n) {
			if n == 0 {
				p.first = sub
			} else {
				p.others[n] = sub
			}
		}
	}
	return p, nil
}

// part is the subscription of a handler, nil while it is missing.
func (p parts) part(n int) *subscription.Subscription {
	if n == 0 {
		return p.first
	}
	return p.others[n]
}

// isEnabled reports whether all parts of a key match events.
func (p parts) isEnabled() bool {
	enabled := p.first.State.Matches()
	for _, other := range p.others {
		enabled = enabled && other.State.Matches()
	}
	return enabled
}

// all are the parts of all keys, in the order of the keys.
func (h *webhooks) all(ctx context.Context) ([]parts, error) {
	snapshot, err := h.subscriptions.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	byKey := make(map[string]*parts)
	for _, sub := range snapshot.All() {
		m := &sub.Managed
		if m.By != subscription.ManagedByJFrog || !isPart(sub, m.Name, m.Part) || sub.ID != idOf(m.Name, m.Part) {
			continue
		}
		p := byKey[m.Name]
		if p == nil {
			p = &parts{others: map[int]*subscription.Subscription{}}
			byKey[m.Name] = p
		}
		if m.Part == 0 {
			p.first = sub
		} else {
			p.others[m.Part] = sub
		}
	}
	all := make([]parts, 0, len(byKey))
	for _, p := range byKey {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b parts) int { return cmp.Compare(a.key(), b.key()) })
	return all, nil
}

func (p parts) key() string {
	if p.first != nil {
		return p.first.Managed.Name
	}
	for _, other := range p.others {
		return other.Managed.Name
	}
	return ""
}

// noneOr is err, or that there is no subscription.
func noneOr(err error) error {
	if err != nil {
		return err
	}
	return subscription.ErrNotFound
}
