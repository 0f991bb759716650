package admin

import (
	"context"
	"encoding/json"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/schemas"
)

// The actions that the audit trail has from this package. docs/audit.md lists them.
const (
	actionCreate    = "subscription.create"
	actionChange    = "subscription.change"
	actionDelete    = "subscription.delete"
	actionPause     = "subscription.pause"
	actionResume    = "subscription.resume"
	actionRotate    = "subscription.rotate_secret"
	actionSecret    = "subscription.show_secret"
	actionTest      = "subscription.test"
	actionHandshake = "subscription.handshake"
	actionConsent   = "subscription.consent"
	actionBreaker   = "breaker.reset"
	actionPutDomain = "domain.put"
	actionDelDomain = "domain.delete"
	actionDiscard   = "dead_letter.discard"
	actionRedrive   = "dead_letter.redrive"
	actionJob       = "redrive.create"
	actionCancelJob = "redrive.cancel"
	actionRedeliver = "delivery.redeliver"
	actionErase     = "event.erase"

	actionMakeToken   = "token.create"
	actionChangeToken = "token.change"
	actionRevokeToken = "token.revoke"

	actionPutRepository = "repository.put"
	actionDelRepository = "repository.delete"

	actionAcceptLoss = "storage.accept_loss"
	actionReconcile  = "subscription.reconcile"
)

// Record puts r on the audit trail, with the one who makes the request of ctx as its
// actor, and then does what it is about. When it cannot be recorded nothing is done:
// the error wraps audit.ErrNotRecorded. Errors of do are recorded too. It is for
// everything that changes something, and for looks at secrets, also of compatible
// APIs.
func (a *Admin) Record(ctx context.Context, r audit.Record, do func() error) error {
	return a.trail.Around(named(ctx), r, do)
}

// named is ctx with the name of the request in its principal.
func named(ctx context.Context) context.Context {
	p := access.PrincipalOf(ctx)
	if p.RequestID != "" || httpapi.RequestID(ctx) == "" {
		return ctx
	}
	p.RequestID = httpapi.RequestID(ctx)
	return access.With(ctx, p)
}

// actorOf is who makes the request of ctx, for operational events.
func actorOf(ctx context.Context) operational.Actor {
	if id := access.PrincipalOf(ctx).ID; id != "" {
		return operational.Actor(id)
	}
	return operational.Admin
}

// changeRecorded stores what change makes of a subscription, with a record of it, and
// tells who listens. Where nothing is changed there is neither. reason is read after
// change. It returns what is stored.
func (a *Admin) changeRecorded(ctx context.Context, action, id string, reason *string, change func(*subscription.Subscription) error) (*subscription.Subscription, error) {
	var was *subscription.Subscription
	updated, err := a.store.ChangeWithin(ctx, id, change, func(before, after *subscription.Subscription, write func() error) error {
		was = before
		r := audit.OfSubscription(action, before, after)
		if reason != nil {
			r.Reason = *reason
		}
		return a.Record(ctx, r, write)
	})
	if err != nil {
		return nil, err
	}
	if was != nil {
		a.cfg.Events.Publish(operational.Changed(was, updated, actorOf(ctx))...)
	}
	return updated, nil
}

// domainState is a domain as a record shows it: of its files there are the hashes.
func domainState(d *schemas.Domain) json.RawMessage {
	if d == nil {
		return nil
	}
	if len(d.Files()) == 0 {
		return audit.State(map[string]string{"name": d.Name, "problem": "it could not be read"})
	}
	state := struct {
		v1.DomainSummary

		Files map[string]string `json:"files"`
	}{summaryOf(d), make(map[string]string)}
	for name, data := range d.Files() {
		state.Files[name] = audit.Hash(data)
	}
	return audit.State(state)
}

// recordDomain is around every write of a domain.
func (a *Admin) recordDomain(ctx context.Context, before, after *schemas.Domain, write func() error) error {
	r := audit.Record{Action: actionPutDomain, Before: domainState(before), After: domainState(after)}
	if after == nil {
		r.Action, r.Target = actionDelDomain, domainTarget(before.Name)
	} else {
		r.Target = domainTarget(after.Name)
	}
	return a.Record(ctx, r, write)
}

func domainTarget(name string) string { return "domains/" + name }

// A letterState is a dead letter as a record shows it.
type letterState struct {
	Sequence       uint64          `json:"sequence"`
	SubscriptionID string          `json:"subscription_id,omitempty"`
	DeliveryID     string          `json:"delivery_id,omitempty"`
	EventID        string          `json:"event_id,omitempty"`
	EventType      string          `json:"event_type,omitempty"`
	Reason         delivery.Reason `json:"reason"`
}

// stateOf clips what comes from outside: many of them are in one record.
func stateOf(l *delivery.DeadLetter) letterState {
	return letterState{l.Sequence, l.SubscriptionID, l.DeliveryID, httpapi.Clip(l.Event.ID), httpapi.Clip(l.Event.Type), l.Reason}
}
