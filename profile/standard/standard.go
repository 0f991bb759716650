// Package standard is the profile of Standard Webhooks 1.0.0: a JSON body of
// type, timestamp and data, signed by the v1 scheme. The signature is used by the
// CloudEvents profiles too.
package standard

import (
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/stream"
)

// ErrNotJSON is returned for an event whose data a JSON body cannot carry.
var ErrNotJSON = errors.New("profile standard carries JSON data only: use profile cloudevents or cloudevents-binary")

// Webhook renders the body that Standard Webhooks recommends.
type Webhook struct{}

// Render returns {"type", "timestamp", "data"}: the event's type, its time (or
// when it was accepted, if it has none) and its data byte for byte.
func (Webhook) Render(h http.Header, d *delivery.Delivery, secrets []string, now time.Time) ([]byte, error) {
	e := d.Event
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
	h["Content-Type"] = []string{"application/json"}
	if err := Sign(h, d.ID, now, body, secrets); err != nil {
		return nil, err
	}
	return body, nil
}

// Judge takes 2xx for success and 410 for the wish to get no more; everything
// else is tried again (Standard Webhooks 1.0.0, "Delivery").
func (Webhook) Judge(status int) delivery.Outcome { return Judge(status) }

// Judge is the verdict that Standard Webhooks and jetpost's CloudEvents profiles
// share.
func Judge(status int) delivery.Outcome {
	switch {
	case status >= 200 && status <= 299:
		return delivery.Delivered
	case status == http.StatusGone:
		return delivery.Gone
	}
	return delivery.Retry
}
