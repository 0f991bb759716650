package securesourcemanager

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/jetpost/jetpost/internal/subscription"
)

const manager = subscription.ManagedBySecureSourceManager

type hookList struct {
	Hooks         []*hook `json:"hooks,omitempty"`
	NextPageToken string  `json:"nextPageToken,omitempty"`
}

func (a *API) listHooks(ctx context.Context, r *request) (any, error) {
	parent, isChild, err := listParentOf(r.Request)
	if err != nil {
		return nil, err
	}
	p, err := pageOf("hooks of "+parent, r.query)
	if err != nil {
		return nil, err
	}
	subs, err := a.kept(ctx, isChild)
	if err != nil {
		return nil, err
	}
	part, next := cut(p, subs)
	list := &hookList{NextPageToken: next}
	for _, sub := range part {
		h, err := shown(ctx, sub)
		if err != nil {
			return nil, err
		}
		list.Hooks = append(list.Hooks, h)
	}
	return list, nil
}

// kept returns the subscriptions that are hooks with names that fit, by their names.
func (a *API) kept(ctx context.Context, fits func(name string) bool) ([]item[*subscription.Subscription], error) {
	snapshot, err := a.subscriptions.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	var found []item[*subscription.Subscription]
	for _, sub := range snapshot.All() {
		if sub.Managed.By == manager && fits(sub.Managed.Name) {
			found = append(found, item[*subscription.Subscription]{sub.Managed.Name, sub})
		}
	}
	return found, nil
}

func (a *API) getHook(ctx context.Context, r *request) (any, error) {
	name, err := hookOf(r.Request)
	if err != nil {
		return nil, err
	}
	sub, err := a.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return shown(ctx, sub)
}

// find returns the subscription that is a hook. One of the same id that is not, is not
// found.
func (a *API) find(ctx context.Context, name string) (*subscription.Subscription, error) {
	sub, err := a.subscriptions.Find(ctx, subscriptionID(name))
	if err == nil && !keeps(sub, name) {
		err = subscription.ErrNotFound
	}
	if errors.Is(err, subscription.ErrNotFound) {
		return nil, notFound(name)
	}
	return sub, err
}

func (a *API) createHook(ctx context.Context, r *request) (*subscription.Subscription, error) {
	parent, err := parentOf(r.Request)
	if err != nil {
		return nil, err
	}
	id, given := r.query["hookId"]
	switch {
	case !given:
		return nil, badField("MISSING_HOOK_ID", "hookId", "is required: "+hookIDRule+".")
	case !hookIDPattern.MatchString(id):
		return nil, badField("INVALID_HOOK_ID", "hookId", "\"{hookId}\" is not the id of a hook: "+hookIDRule+".", "hookId", id)
	}
	sent, err := decodeBody(r.Request)
	if err != nil {
		return nil, err
	}
	name := hookName(parent, id)
	d := &document{wish: sent.wish, UID: newUID()}
	sub := &subscription.Subscription{ID: subscriptionID(name)}
	if err := d.apply(sub, name); err != nil {
		return nil, err
	}
	created, err := a.subscriptions.Create(ctx, sub)
	if errors.Is(err, subscription.ErrExists) {
		return nil, newFault(http.StatusConflict, reasonExists, "{resource} exists already.", "resource", name)
	}
	return created, err
}

func (a *API) patchHook(ctx context.Context, r *request) (*subscription.Subscription, error) {
	name, err := hookOf(r.Request)
	if err != nil {
		return nil, err
	}
	sent, err := decodeBody(r.Request)
	if err != nil {
		return nil, err
	}
	patch, err := patchOf(r.query["updateMask"], sent)
	if err != nil {
		return nil, err
	}
	updated, err := a.subscriptions.Change(ctx, manager, subscriptionID(name), func(sub *subscription.Subscription) (*subscription.Subscription, error) {
		if !keeps(sub, name) {
			return nil, notFound(name)
		}
		d, err := documentOf(sub)
		if err != nil {
			return nil, err
		}
		patch(&d.wish)
		d.Changed = after(time.Now(), sub.CreatedAt, d.Changed)
		return sub, d.apply(sub, name)
	})
	if errors.Is(err, subscription.ErrNotFound) {
		return nil, notFound(name)
	}
	return updated, err
}

// after is now in milliseconds, and later than what was before: operations are told
// apart by it.
func after(now time.Time, before ...time.Time) time.Time {
	now = now.UTC().Truncate(time.Millisecond)
	for _, t := range before {
		if !now.After(t) {
			now = t.Add(time.Millisecond)
		}
	}
	return now
}
