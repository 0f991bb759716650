// Package github is the profile of receivers that were written for GitHub's
// webhooks: the data of an event as the body, and GitHub's headers.
//
// X-GitHub-Event is what stands behind the last dot of the event type, and
// X-GitHub-Delivery the same GUID on every attempt.
package github

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Headers in GitHub's letter case.
const (
	headerEvent     = "X-GitHub-Event"
	headerDelivery  = "X-GitHub-Delivery"
	headerSignature = "X-Hub-Signature-256"
	headerLegacy    = "X-Hub-Signature" // HMAC-SHA1, which GitHub still sends
)

// Webhook is the profile.
type Webhook struct{}

// Traits have GitHub's ten seconds for an answer. GitHub does not retry; jetpost does.
func (Webhook) Traits() subscription.Traits {
	t := subscription.StandardTraits()
	t.Timeout = 10 * time.Second
	t.Settings = nil
	t.Methods = []string{http.MethodPost}
	t.Secrets = subscription.SharedSecret
	t.Check = wire.CheckJSON
	return t
}

// Prepare has nothing to make ready.
func (w Webhook) Prepare(*subscription.Subscription) (wire.Renderer, error) { return w, nil }

// Judge judges an answer as Standard Webhooks does.
func (Webhook) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }

// Render returns the data of the event, as it was published. Without a secret there
// is no signature.
func (Webhook) Render(r *wire.Request) ([]byte, error) {
	e := r.Delivery.Event
	body, err := wire.JSON(e)
	if err != nil {
		return nil, err
	}
	_, event, ok := wire.SplitType(e.Type)
	if !ok {
		return nil, fmt.Errorf("event type %q has no dot before the name of an event", e.Type)
	}
	wire.Set(r.Header, "Content-Type", "application/json")
	wire.Set(r.Header, headerEvent, event)
	wire.Set(r.Header, headerDelivery, wire.UUID(r.Delivery.ID))
	if len(r.Secrets) > 0 {
		mac := hmac.New(sha1.New, []byte(r.Secrets[0]))
		mac.Write(body)
		wire.Set(r.Header, headerLegacy, "sha1="+hex.EncodeToString(mac.Sum(nil)))
		wire.Set(r.Header, headerSignature, "sha256="+wire.HexHMAC(r.Secrets[0], body))
	}
	return body, nil
}
