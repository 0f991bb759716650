package admin

import (
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// showSubscription shares lists and maps with sub. Secrets are placeholders.
func showSubscription(sub *subscription.Subscription) v1.Subscription {
	return v1.Subscription{
		ID: sub.ID, Description: sub.Description, Types: sub.Types, Filters: showAll(sub.Filters, showFilter),
		Endpoint: showEndpoint(&sub.Endpoint), Profile: sub.Profile, Settings: sub.Settings,
		Template:  v1.Template{Payload: sub.Template.Payload, Secrets: showSecrets(sub.Template.Secrets)},
		Handshake: showHandshake(&sub.Handshake), Secrets: showAll(sub.Secrets, showKey), Delivery: showDelivery(&sub.Delivery),
		State: v1.State(sub.State), StateReason: sub.StateReason, Labels: sub.Labels, Managed: showManaged(&sub.Managed),
		Queue: v1.Queue(sub.Queue), CreatedAt: sub.CreatedAt, UpdatedAt: sub.UpdatedAt, Revision: sub.Revision,
	}
}

func showEndpoint(e *subscription.Endpoint) v1.Endpoint {
	return v1.Endpoint{
		URL: e.URL, Query: e.Query.String(), Method: e.Method, Headers: e.Headers, SecretHeaders: showSecrets(e.SecretHeaders),
		Proxy: e.Proxy, Timeout: v1.Duration(e.Timeout),
	}
}

// showSecrets has the names of secrets, and no values.
func showSecrets(secrets map[string]keyring.Secret) map[string]string {
	if secrets == nil {
		return nil
	}
	shown := make(map[string]string, len(secrets))
	for name, secret := range secrets {
		shown[name] = secret.String()
	}
	return shown
}

func showKey(k *subscription.SigningKey) v1.SigningKey {
	return v1.SigningKey{ID: k.ID, Secret: k.Secret.String(), PublicKey: k.PublicKey, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
}

func showDelivery(d *subscription.Delivery) v1.Delivery {
	return v1.Delivery{
		MaxInFlight: d.MaxInFlight, Ordered: d.Ordered, Rate: d.Rate, Senders: d.Senders,
		Retry: v1.Retrying{
			Schedule: showAll(d.Retry, func(delay *subscription.Duration) v1.Duration { return v1.Duration(*delay) }),
			Jitter:   d.Jitter,
		},
		MaxAge:  v1.Duration(d.MaxAge),
		Breaker: v1.Breaker{Mode: d.Breaker.Mode, Failures: d.Breaker.Failures, DisableAfter: v1.Duration(d.Breaker.DisableAfter)},
	}
}

func showHandshake(h *subscription.Handshake) v1.Handshake {
	return v1.Handshake{
		Mode: h.Mode, Rate: h.Rate, Consent: v1.Consent(h.Consent), Reason: h.Reason, Origin: h.Origin, AllowedRate: h.AllowedRate,
		CheckedAt: h.CheckedAt, Callback: h.Callback, CallbackUntil: h.CallbackUntil,
	}
}

func showManaged(m *subscription.Managed) v1.Managed {
	return v1.Managed{By: m.By, Name: m.Name, Part: m.Part, Document: m.Document.String()}
}

func showFilter(f *filter.Filter) v1.Filter {
	shown := v1.Filter{}
	switch f.Dialect {
	case "exact":
		shown.Exact = f.Values
	case "prefix":
		shown.Prefix = f.Values
	case "suffix":
		shown.Suffix = f.Values
	case "glob":
		shown.Glob = f.Values
	case "ant":
		shown.Ant = f.Values
	case "all":
		shown.All = showAll(f.Filters, showFilter)
	case "any":
		shown.Any = showAll(f.Filters, showFilter)
	case "not":
		inner := showFilter(&f.Filters[0])
		shown.Not = &inner
	case "sql":
		shown.SQL = f.Expression
	}
	return shown
}
