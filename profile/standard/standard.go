// Package standard is the profile of Standard Webhooks 1.0.0: a JSON body of
// type, timestamp and data, signed by the v1 scheme. The signature is used by the
// CloudEvents profiles too.
package standard

import (
	"errors"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/profile/wire"
	"github.com/jetpost/jetpost/stream"
	"github.com/jetpost/jetpost/subscription"
)

// ErrNotJSON is returned for an event whose data a JSON body cannot carry.
var ErrNotJSON = errors.New("profile standard carries JSON data only: use profile cloudevents or cloudevents-binary")

// Webhook renders the body that Standard Webhooks recommends.
type Webhook struct{}

// Render returns {"type", "timestamp", "data"}: the event's type, its time (or
// when it was accepted, if it has none) and its data byte for byte.
func (Webhook) Render(r *wire.Request) ([]byte, error) {
	d, e := r.Delivery, r.Delivery.Event
	data := e.Data
	if len(data) == 0 {
		data = []byte("null")
	}
	if !stream.IsJSON(e.DataContentType) || !gjson.ValidBytes(data) || !utf8.Valid(data) {
		return nil, ErrNotJSON
	}
	at := e.Time
	if at == "" {
		at = d.Accepted.UTC().Format(time.RFC3339Nano)
	}
	body := make([]byte, 0, len(data)+len(e.Type)+len(at)+64)
	body = stream.AppendJSONString(append(body, `{"type":`...), e.Type)
	body = stream.AppendJSONString(append(body, `,"timestamp":`...), at)
	body = append(append(append(body, `,"data":`...), data...), '}')
	r.Header["Content-Type"] = []string{"application/json"}
	if err := Sign(r.Header, d.ID, r.Now, body, r.Secrets); err != nil {
		return nil, err
	}
	return body, nil
}

// Traits are the standard ones.
func (Webhook) Traits() subscription.Traits { return subscription.StandardTraits() }

// Prepare has nothing to make ready.
func (w Webhook) Prepare(*subscription.Subscription) (wire.Renderer, error) { return w, nil }

// Judge is the verdict of Standard Webhooks.
func (Webhook) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }
