// Package standard is the profile of Standard Webhooks 1.0.0: a JSON body of
// type, timestamp and data, signed by the schemes v1 and v1a. The signature is used
// by other profiles too.
package standard

import (
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Webhook renders the body that Standard Webhooks recommends.
type Webhook struct{}

// Render returns {"type", "timestamp", "data"}: the event's type, its time (or
// when it was accepted, if it has none) and its data byte for byte.
func (Webhook) Render(r *wire.Request) ([]byte, error) {
	d, e := r.Delivery, r.Delivery.Event
	data, err := wire.JSON(e)
	if err != nil {
		return nil, err
	}
	at := e.Time
	if at == "" {
		at = d.Accepted.UTC().Format(time.RFC3339Nano)
	}
	body := make([]byte, 0, len(data)+len(e.Type)+len(at)+64)
	body = event.AppendJSONString(append(body, `{"type":`...), e.Type)
	body = event.AppendJSONString(append(body, `,"timestamp":`...), at)
	body = append(append(append(body, `,"data":`...), data...), '}')
	r.Header["Content-Type"] = []string{"application/json"}
	if err := Sign(r.Header, d.ID, r.Now, body, r.Secrets); err != nil {
		return nil, err
	}
	return body, nil
}

// Traits are the standard ones.
func (Webhook) Traits() subscription.Traits {
	t := subscription.StandardTraits()
	t.Check = wire.CheckJSON
	return t
}

// Prepare has nothing to make ready.
func (w Webhook) Prepare(*subscription.Subscription) (wire.Renderer, error) { return w, nil }

// Judge judges an answer as Standard Webhooks does.
func (Webhook) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }
