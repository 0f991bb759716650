package jfrog

import (
	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/profile/wire"
	"github.com/jetpost/jetpost/subscription"
)

// Custom is the profile of custom webhooks.
type Custom struct{}

// Traits are those.
func (Custom) Traits() subscription.Traits {
	t := traits()
	t.Secrets = subscription.NoSecret
	return t
}

// Judge is the platform's verdict, as for Webhook.
func (Custom) Judge(status int) delivery.Outcome { return judge(status) }

// Prepare is a placeholder.
func (Custom) Prepare(sub *subscription.Subscription) (wire.Renderer, error) {
	return &webhook{envelope: newEnvelope(sub)}, nil
}
