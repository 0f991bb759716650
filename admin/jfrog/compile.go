package jfrog

import (
	"errors"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/admin"
	"github.com/jetpost/jetpost/internal/keyring"
	profile "github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// aliases are domains that are old names of others: a subscription to one of them gets
// the events of both. Assumed: which name the platform writes into the body then is not
// known, here it is that of the event.
func aliases(domain string) []string {
	if domain == "artifactory_release_bundle" {
		return []string{"destination"}
	}
	return nil
}

// A wish is which events a document asks for.
type wish struct {
	types   []string
	filters []filter.Filter
}

// wishOf looks the types of a document up in the catalogue and compiles its criteria.
func wishOf(a *admin.Admin, d *document, found *problems) wish {
	var w wish
	if d.domain == "" {
		return w
	}
	for i, name := range append([]string{d.domain}, aliases(d.domain)...) {
		domain, known := a.Domain(name)
		if !known {
			if i == 0 {
				found.add("", textNoDomain(clip(d.domain)))
			}
			continue
		}
		for _, event := range d.events {
			t, err := a.EventType(domain.TypePrefix + event)
			if err == nil && t.Domain == name {
				w.types = append(w.types, t.Name)
				continue
			}
			if i > 0 {
				continue
			}
			var names []string
			for _, t := range domain.Types {
				names = append(names, t.Event)
			}
			found.add("event_filter.event_types", "'"+clip(event)+"' is not an event type of domain '"+d.domain+"': use "+strings.Join(names, ", "))
		}
	}
	filters, err := profile.Criteria(d.domain, d.criteria)
	if invalid, ok := errors.AsType[*subscription.ValidationError](err); ok {
		for _, p := range invalid.Problems {
			found.add("event_filter."+p.Field, p.Message)
		}
	}
	w.filters = filters
	return w
}

// subscriptionOf makes the subscription of handler n. origin is the platform's base
// URL, empty where there is none. It has no Managed.Document.
func (d *document) subscriptionOf(n int, w wish, secrets handlerSecrets, origin string) *subscription.Subscription {
	h := &d.handlers[n]
	sub := &subscription.Subscription{
		ID: idOf(d.key, n), Description: d.plainDescription(), Types: slices.Clone(w.types), Filters: slices.Clone(w.filters),
		Endpoint: subscription.Endpoint{URL: h.url, Method: h.method, Proxy: h.proxy, SecretHeaders: map[string]keyring.Secret{}},
		Profile:  "jfrog", Settings: map[string]string{profile.SettingSubscriptionKey: d.key},
		State: subscription.Disabled, Secrets: []subscription.SigningKey{},
		Managed: subscription.Managed{By: subscription.ManagedByJFrog, Name: d.key, Part: n},
	}
	if d.enabled {
		sub.State = subscription.Active
	}
	if origin != "" {
		sub.Settings[profile.SettingOrigin] = origin
	}
	// Clients put tokens into headers, under names of their own, so all of them are
	// secrets; the platform shows them to who reads the document.
	for _, header := range h.headers {
		switch {
		case h.custom && strings.EqualFold(header.name, "Content-Type"): // the profile looks at it
			sub.Endpoint.Headers = map[string]string{header.name: header.value}
		case !h.custom && isJSONHeader(header): // it is sent anyway
		default:
			sub.Endpoint.SecretHeaders[header.name] = keyring.NewSecret(header.value)
		}
	}
	if h.custom {
		sub.Profile = "jfrog-custom"
		sub.Template.Payload = h.payload
		sub.Template.Secrets = make(map[string]keyring.Secret, len(secrets.Named))
		for name, value := range secrets.Named {
			sub.Template.Secrets[name] = keyring.NewSecret(value)
		}
		return sub
	}
	if h.sign {
		sub.Settings[profile.SettingSign] = "true"
	}
	if secrets.Secret != "" {
		sub.Secrets = append(sub.Secrets, subscription.SigningKey{Secret: keyring.NewSecret(secrets.Secret)})
	}
	return sub
}

// keep takes from old, which sub is to replace, what this API knows nothing of, and
// what is the same: people may have set it through the native API.
func keep(sub, old *subscription.Subscription) {
	sub.Delivery, sub.Labels, sub.Handshake = old.Delivery, old.Labels, old.Handshake
	if sub.State == subscription.Active && old.State == subscription.Paused {
		sub.State = subscription.Paused // which matches events, so it is enabled
	}
	if len(sub.Secrets) > 0 && len(old.Secrets) > 0 && sub.Secrets[0].Secret.Equal(old.Secrets[0].Secret) {
		sub.Secrets = old.Secrets
	}
}
