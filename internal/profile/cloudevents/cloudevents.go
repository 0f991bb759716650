// Package cloudevents is the profile of CloudEvents over HTTP (HTTP protocol
// binding 1.0.2), in structured and in binary mode, signed by Standard Webhooks.
package cloudevents

import (
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/standard"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Structured puts the whole event into the body, so that the signature covers
// its attributes too.
type Structured struct{}

// Render returns the event in the JSON event format.
func (Structured) Render(r *wire.Request) ([]byte, error) {
	d := r.Delivery
	body := d.Event.AppendStructured(make([]byte, 0, len(d.Event.Data)+512))
	// In lower case: the JavaScript SDK (10.0.0) compares the header as a text.
	r.Header["Content-Type"] = []string{"application/cloudevents+json; charset=utf-8"}
	if err := standard.Sign(r.Header, d.ID, r.Now, body, r.Secrets); err != nil {
		return nil, err
	}
	return body, nil
}

// Traits are the standard ones.
func (Structured) Traits() subscription.Traits { return subscription.StandardTraits() }

// Prepare has nothing to make ready.
func (s Structured) Prepare(*subscription.Subscription) (wire.Renderer, error) { return s, nil }

// Judge judges an answer as Standard Webhooks does.
func (Structured) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }

// Binary puts the data into the body and the attributes into ce- headers. The
// signature covers the body only: where attributes need integrity, use
// Structured.
type Binary struct{}

// Render returns the data of the event, as it was published.
func (Binary) Render(r *wire.Request) ([]byte, error) {
	h, d, e := r.Header, r.Delivery, r.Delivery.Event
	set := func(name, value string) {
		if value != "" {
			h[http.CanonicalHeaderKey("ce-"+name)] = []string{event.EncodeHeaderValue(value)}
		}
	}
	set("specversion", event.SpecVersion)
	set("id", e.ID)
	set("source", e.Source)
	set("type", e.Type)
	set("subject", e.Subject)
	set("time", e.Time)
	set("dataschema", e.DataSchema)
	for _, a := range e.Extensions {
		set(a.Name, a.Value)
	}
	// In HTTP the content type is the attribute datacontenttype; a receiver of
	// webhooks may insist on one (CloudEvents Web Hooks, section 2.1).
	contentType := e.DataContentType
	switch {
	case contentType != "":
	case gjson.ValidBytes(e.Data):
		contentType = "application/json"
	default:
		contentType = "application/octet-stream"
	}
	h["Content-Type"] = []string{contentType}
	if err := standard.Sign(h, d.ID, r.Now, e.Data, r.Secrets); err != nil {
		return nil, err
	}
	return e.Data, nil
}

// Traits are the standard ones.
func (Binary) Traits() subscription.Traits { return subscription.StandardTraits() }

// Prepare has nothing to make ready.
func (b Binary) Prepare(*subscription.Subscription) (wire.Renderer, error) { return b, nil }

// Judge judges an answer as Standard Webhooks does.
func (Binary) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }
