package jfrog

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Custom is the profile of custom webhooks. The payload and the values of the
// endpoint's headers are templates (see template); its URL is not. Without a payload
// the body is the envelope of the predefined webhooks, except for GET and DELETE,
// which then have no body: HTTP gives one no meaning there.
//
// A value inside a string of a payload that is JSON is escaped. There is no signing,
// and no secret but those of the template.
type Custom struct{}

// Traits have the platform's defaults, as those of Webhook.
func (Custom) Traits() subscription.Traits {
	t := traits()
	t.Methods = []string{http.MethodPost, http.MethodPut, http.MethodGet, http.MethodPatch, http.MethodDelete}
	t.Headers = []string{"Content-Type", "Authorization", "Cookie"}
	t.Secrets = subscription.NoSecret
	t.Template = true
	t.Check = checkCustom
	return t
}

// Judge judges an answer as that of Webhook does.
func (Custom) Judge(status int) delivery.Outcome { return judge(status) }

// Prepare parses the templates.
func (Custom) Prepare(sub *subscription.Subscription) (wire.Renderer, error) {
	c, faults := newCustom(sub)
	if len(faults) > 0 {
		return nil, errors.New(faults[0].Field + ": " + faults[0].Message)
	}
	return c, nil
}

type custom struct {
	envelope *envelope
	payload  *template            // nil: the envelope
	headers  map[string]*template // by canonical name; those without values are missing
	secrets  map[string]string
	actions  int  // in all templates
	bare     bool // no body
}

// newCustom parses the templates of sub, and reports each that cannot be used.
func newCustom(sub *subscription.Subscription) (*custom, []subscription.Problem) {
	c := &custom{
		envelope: newEnvelope(sub),
		headers:  make(map[string]*template),
		secrets:  make(map[string]string, len(sub.Template.Secrets)),
		bare:     sub.Template.Payload == "" && (sub.Endpoint.Method == http.MethodGet || sub.Endpoint.Method == http.MethodDelete),
	}
	for name, secret := range sub.Template.Secrets {
		c.secrets[name] = secret.Reveal()
	}
	names := slices.Collect(maps.Keys(c.secrets))
	var found []subscription.Problem
	fault := func(field string, err error, secret bool) {
		message := err.Error()
		if at, ok := errors.AsType[*templateError](err); ok && !secret {
			message = at.quoted()
		}
		found = append(found, subscription.Problem{Field: field, Message: message})
	}
	var err error
	if sub.Template.Payload != "" {
		if c.payload, err = parseTemplate(sub.Template.Payload, names, sendsJSON(&sub.Endpoint)); err != nil {
			fault("template.payload", err, false)
		} else {
			c.actions = c.payload.actions
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sub.Endpoint.Headers)) {
		if err := c.addHeader(name, sub.Endpoint.Headers[name], names); err != nil {
			fault("endpoint.headers."+name, err, false)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sub.Endpoint.SecretHeaders)) {
		if err := c.addHeader(name, sub.Endpoint.SecretHeaders[name].Reveal(), names); err != nil {
			fault("endpoint.secret_headers."+name, err, true)
		}
	}
	if c.actions > maxActions {
		fault("template", fmt.Errorf("has %d values to fill in, with those of the headers; at most %d are allowed", c.actions, maxActions), false)
	}
	return c, found
}

func (c *custom) addHeader(name, value string, secrets []string) error {
	t, err := parseTemplate(value, secrets, false)
	if err == nil && t.actions > 0 {
		c.actions += t.actions
		c.headers[http.CanonicalHeaderKey(name)] = t
	}
	return err
}

// sendsJSON reports whether the user has asked for another content type.
func sendsJSON(e *subscription.Endpoint) bool {
	for name, value := range e.Headers {
		if strings.EqualFold(name, "Content-Type") {
			return event.IsJSON(value)
		}
	}
	return true
}

// Render fills the templates in.
func (c *custom) Render(r *wire.Request) ([]byte, error) {
	v, err := c.envelope.values(r.Delivery.Event, c.secrets)
	if err != nil {
		return nil, err
	}
	rendered := make(map[string]string, len(c.headers))
	for name, t := range c.headers {
		value, err := t.render(v, maxHeader)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
		if problem := headerProblem(value); problem != "" {
			return nil, fmt.Errorf("header %s: its value %s", name, problem)
		}
		rendered[name] = string(value)
	}
	body, err := c.body(r, v)
	if err != nil {
		return nil, err
	}
	wire.DropOwn(r.Header)
	for name, value := range rendered {
		r.Header[name] = []string{value}
	}
	if !c.bare && len(r.Header["Content-Type"]) == 0 {
		r.Header["Content-Type"] = []string{"application/json"}
	}
	return body, nil
}

func (c *custom) body(r *wire.Request, v *values) ([]byte, error) {
	switch {
	case c.bare:
		return nil, nil
	case c.payload == nil:
		return c.envelope.body(r.Delivery.Event)
	}
	body, err := c.payload.render(v, maxBody)
	if err != nil {
		return nil, fmt.Errorf("template.payload: %w", err)
	}
	return body, nil
}

func checkCustom(sub *subscription.Subscription) []subscription.Problem {
	_, found := newCustom(sub)
	return append(check(sub), found...)
}
