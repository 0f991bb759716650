package subscriptions

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Check reports what Create, or with old what
// Change, would refuse: a *subscription.ValidationError with all that is
// wrong. sub is not changed.
func (k *Keeper) Check(ctx context.Context, sub, old *subscription.Subscription) error {
	checked := sub.Clone()
	traits, _ := profile.Traits(checked.Profile)
	checked.SetDefaultsOf(traits, time.Now())
	return k.check(ctx, checked, old)
}

// check reports everything that is wrong with sub at once: with the fields, with
// the types as the catalogue knows them, with the endpoint as the egress rules
// allow it. old is what it replaces, or nil: an endpoint that was accepted once is
// not looked up again for another change.
func (k *Keeper) check(ctx context.Context, sub, old *subscription.Subscription) error {
	var found []subscription.Problem
	unknown := make(map[string]string)
	rules := subscription.Rules{Profiles: profile.Names(), Traits: profile.Traits, Types: func(eventType string) bool {
		if problem := k.catalogue.Problem(eventType); problem != "" {
			unknown[eventType] = problem
		}
		return true // reported below, with more to say
	}}
	if invalid, ok := errors.AsType[*subscription.ValidationError](sub.Validate(rules)); ok {
		found = invalid.Problems
	}
	if sub.Managed.By == "" { // the clients of compatible APIs know no such rule
		found = append(found, sub.ShortSecrets(old)...)
		for _, unfit := range sub.UnfitSecrets(old) {
			if !slices.ContainsFunc(found, func(p subscription.Problem) bool { return p.Field == unfit.Field }) {
				found = append(found, unfit)
			}
		}
	}
	for i, eventType := range sub.Types {
		if problem, ok := unknown[eventType]; ok {
			found = append(found, subscription.Problem{Field: "types[" + strconv.Itoa(i) + "]", Message: problem})
		}
	}
	badURL := false
	for _, p := range found {
		badURL = badURL || p.Field == "endpoint.url"
	}
	newProxy := old == nil || old.Endpoint.Proxy != sub.Endpoint.Proxy
	if !badURL && (newProxy || old.Endpoint.URL != sub.Endpoint.URL) {
		if problem := k.endpointProblem(ctx, &sub.Endpoint); problem != "" {
			found = append(found, subscription.Problem{Field: "endpoint.url", Message: problem})
		}
	}
	const proxyField = "endpoint.proxy"
	reported := slices.ContainsFunc(found, func(p subscription.Problem) bool { return p.Field == proxyField })
	if key := sub.Endpoint.Proxy; key != "" && newProxy && !reported && !k.cfg.Proxies.Has(key) {
		found = append(found, subscription.Problem{Field: proxyField, Message: subscription.ProxyProblem(key)})
	}
	if len(found) > 0 {
		return &subscription.ValidationError{Problems: found}
	}
	return nil
}

func (k *Keeper) endpointProblem(ctx context.Context, endpoint *subscription.Endpoint) string {
	u, err := url.Parse(endpoint.URL)
	if err != nil { // Validate has parsed it
		return "is not a URL"
	}
	check := k.egress.CheckURL
	if endpoint.Proxy != "" {
		check = k.egress.CheckProxied
	}
	if err := check(ctx, u); err != nil {
		return err.Error()
	}
	return ""
}
