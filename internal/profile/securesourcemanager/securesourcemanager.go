// Package securesourcemanager is the profile of Google Secure Source Manager's
// webhooks: the data of a git event as the body, and three headers.
//
// Receivers see what the original sends. A secret, which the original does not
// have, signs the body as its ancestor does. The package also compiles branch
// filters.
package securesourcemanager

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Headers in their documented letter case.
const (
	HeaderDelivery  = "X-SecureSourceManager-Delivery"
	HeaderEvent     = "X-SecureSourceManager-Event"
	HeaderSignature = "X-SecureSourceManager-Signature"
)

// eventTypes are those that there are.
func eventTypes() []string {
	return []string{"git.push", "git.pull_request", "git.pull_request_comment"}
}

// Webhook is the profile.
type Webhook struct{}

// Traits have jetpost's own policy of retries: the original documents none.
func (Webhook) Traits() subscription.Traits {
	t := subscription.StandardTraits()
	t.Settings = nil
	t.Methods = []string{http.MethodPost}
	t.Secrets = subscription.SharedSecret
	t.Check = check
	return t
}

// Prepare has nothing to make ready.
func (w Webhook) Prepare(*subscription.Subscription) (wire.Renderer, error) { return w, nil }

// Judge judges an answer as Standard Webhooks does: the original documents none.
func (Webhook) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }

// Render returns the data of the event, as it was published. The delivery header is
// a UUID, the same on every attempt. The signature header is there and empty when
// there is no secret.
func (Webhook) Render(r *wire.Request) ([]byte, error) {
	e := r.Delivery.Event
	if !slices.Contains(eventTypes(), e.Type) {
		return nil, fmt.Errorf("event type %s has no name in Secure Source Manager: use one of %s", e.Type, strings.Join(eventTypes(), ", "))
	}
	body, err := body(e)
	if err != nil {
		return nil, err
	}
	signature := ""
	if len(r.Secrets) > 0 {
		signature = wire.HexHMAC(r.Secrets[0], body)
	}
	wire.DropOwn(r.Header)
	r.Header["Content-Type"] = []string{"application/json"}
	wire.Set(r.Header, HeaderDelivery, wire.UUID(r.Delivery.ID))
	wire.Set(r.Header, HeaderEvent, strings.TrimPrefix(e.Type, "git."))
	wire.Set(r.Header, HeaderSignature, signature)
	return body, nil
}

func body(e *event.Event) ([]byte, error) {
	if len(e.Data) == 0 {
		return nil, fmt.Errorf("event %s has no data", e.Type)
	}
	return wire.JSON(e)
}

func check(sub *subscription.Subscription) []subscription.Problem {
	found := wire.CheckJSON(sub)
	for i, t := range sub.Types {
		if t != "git.*" && !slices.Contains(eventTypes(), t) {
			found = append(found, subscription.Problem{
				Field:   fmt.Sprintf("types[%d]", i),
				Message: fmt.Sprintf("%q has no name in Secure Source Manager: use %s or git.*", t, strings.Join(eventTypes(), ", ")),
			})
		}
	}
	return found
}
