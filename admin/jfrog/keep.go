package jfrog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/internal/repository"
	"github.com/jetpost/jetpost/internal/subscription"
)

// takeBackTimeout is how long what a failed request has made may take to be removed.
const takeBackTimeout = 10 * time.Second

// webhooks keeps what clients configure: a document, and a subscription for each of its
// handlers.
type webhooks struct {
	subscriptions *subscriptions.Keeper
	registry      *repository.Registry // for the base URL
	proxies       []string             // that handlers may name
	log           *zap.Logger
}

// exists returns subscription.ErrNotFound when there is no document of a key, with
// every change that was answered before.
func (h *webhooks) exists(ctx context.Context, key string) error {
	sub, err := h.subscriptions.Find(ctx, idOf(key, 0))
	if err == nil && !isPart(sub, key, 0) {
		err = subscription.ErrNotFound
	}
	return err
}

// plan checks a document that a client has sent, to replace before, which may be nil:
// everything but what only storing the first part finds out.
func (h *webhooks) plan(ctx context.Context, d *document, before *state) (*state, wish, error) {
	var found problems
	for n := range d.handlers {
		if proxy := d.handlers[n].proxy; proxy != "" && !slices.Contains(h.proxies, proxy) {
			found.add("", textNoProxy(clip(proxy)))
		}
	}
	w := wishOf(h.subscriptions, d, &found)
	next := &state{generation: strings.ToLower(rand.Text()), document: d, secrets: d.resolve(before, &found)}
	if err := found.err(); err != nil {
		return nil, w, err
	}
	// At the same time: where DNS does not answer, each waits for it for seconds.
	faults := make([]error, len(d.handlers))
	var checking sync.WaitGroup
	for n := 1; n < len(d.handlers); n++ {
		checking.Go(func() {
			old, err := h.subscriptions.Find(ctx, idOf(d.key, n))
			if err != nil {
				old = nil // it is looked up as any new one
			}
			faults[n] = h.subscriptions.Check(ctx, d.subscriptionOf(n, w, next.secrets[n], h.origin()), old)
		})
	}
	checking.Wait()
	for n, err := range faults {
		if err != nil {
			if err := found.addAll(err, n, d); err != nil {
				return nil, w, err
			}
		}
	}
	return next, w, found.err()
}

// first is the subscription of the first handler, with the document.
func (s *state) first(w wish, origin string) *subscription.Subscription {
	sub := s.document.subscriptionOf(0, w, s.secrets[0], origin)
	sub.Managed.Document = s.encoded()
	return sub
}

// located are errors about the first handler in the words of its document.
func located(err error, d *document) error {
	var found problems
	if err := found.addAll(err, 0, d); err != nil {
		return err
	}
	return found.err()
}

// create stores a new document. What it has made when it fails is taken back.
func (h *webhooks) create(ctx context.Context, d *document) error {
	next, w, err := h.plan(ctx, d, nil)
	if err != nil {
		return err
	}
	left, err := h.parts(ctx, d.key)
	if err == nil && left.first == nil && len(left.others) > 0 { // of a deletion that broke off
		err = h.complete(ctx, d.key)
	}
	if err != nil {
		return err
	}
	switch _, err := h.subscriptions.Create(ctx, next.first(w, h.origin())); {
	case errors.Is(err, subscription.ErrExists):
		return &subscription.ValidationError{Problems: []subscription.Problem{{Message: "Subscription with key '" + clip(d.key) + "' already exists"}}}
	case err != nil:
		return located(err, d)
	}
	if err := h.complete(ctx, d.key); err != nil {
		return errors.Join(err, h.takeBack(ctx, d.key))
	}
	return nil
}

// takeBack removes what a request has made that could not be finished.
func (h *webhooks) takeBack(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	return h.remove(ctx, key)
}

// replace stores another document under the same key.
func (h *webhooks) replace(ctx context.Context, key string, body []byte) error {
	if err := h.exists(ctx, key); err != nil {
		return err
	}
	var found problems
	d := parse(body, key, &found)
	if err := found.err(); err != nil {
		return err
	}
	_, err := h.subscriptions.Change(ctx, subscription.ManagedByJFrog, idOf(key, 0), func(old *subscription.Subscription) (*subscription.Subscription, error) {
		if !isPart(old, key, 0) {
			return nil, subscription.ErrNotFound
		}
		before, err := stateOf(old)
		if err != nil {
			return nil, err
		}
		next, w, err := h.plan(ctx, d, before)
		if err != nil {
			return nil, err
		}
		if same, err := h.isSame(ctx, before, next); err != nil {
			return nil, err
		} else if same {
			next.generation = before.generation // so that nothing is stored
		}
		sub := next.first(w, h.origin())
		keep(sub, old)
		return sub, nil
	})
	if err != nil {
		return located(err, d)
	}
	return h.complete(ctx, key)
}

// isSame reports whether next asks for nothing new, and the handlers but the first are
// as enabled as it says.
func (h *webhooks) isSame(ctx context.Context, before, next *state) (bool, error) {
	if !bytes.Equal(before.document.show(next.document.enabled), next.document.show(next.document.enabled)) || before.document.enabled != next.document.enabled ||
		!reflect.DeepEqual(before.secrets, next.secrets) {
		return false, nil
	}
	p, err := h.parts(ctx, next.document.key)
	if err != nil {
		return false, err
	}
	for _, other := range p.others {
		if other.State.Matches() != next.document.enabled {
			return false, nil
		}
	}
	return true, nil
}

// remove deletes a document, or what is left of one: the truth first, so that a
// deletion that breaks off is completed and not undone. subscription.ErrNotFound when
// there is nothing.
func (h *webhooks) remove(ctx context.Context, key string) error {
	err := h.exists(ctx, key)
	switch {
	case err == nil:
		_, err = h.subscriptions.Remove(ctx, subscription.ManagedByJFrog, idOf(key, 0), "")
	case errors.Is(err, subscription.ErrNotFound):
		parts, partsErr := h.parts(ctx, key)
		if partsErr == nil && len(parts.others) > 0 {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return h.complete(ctx, key)
}
