package audit

import (
	"slices"

	"github.com/jetpost/jetpost/internal/subscription"
)

// SubscriptionTarget is the target of what is done to the subscription with an id.
func SubscriptionTarget(id string) string { return "subscriptions/" + id }

// OfSubscription is the record of what makes of the subscription before what it is
// after. Of one that is created before is nil, of one that is deleted after is.
func OfSubscription(action string, before, after *subscription.Subscription) Record {
	r := Record{Action: action}
	if before != nil {
		r.Target, r.Before = SubscriptionTarget(before.ID), subscriptionState(before)
	}
	if after != nil {
		r.Target, r.After = SubscriptionTarget(after.ID), subscriptionState(after)
	}
	if before == nil || after == nil {
		return r
	}
	r.Changed = subscription.Changes(before, after)
	if before.State != after.State {
		r.Changed = append(r.Changed, "state")
	}
	if before.Handshake.Consent != after.Handshake.Consent {
		r.Changed = append(r.Changed, "handshake.consent")
	}
	slices.Sort(r.Changed)
	return r
}

// subscriptionState is a subscription as the API shows it, in which secrets are
// placeholders. The hash of a callback's token stays out: it is a secret.
func subscriptionState(sub *subscription.Subscription) []byte {
	shown := *sub
	shown.Handshake.Callback = ""
	return State(&shown)
}
