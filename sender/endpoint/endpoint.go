// Package endpoint prepares a subscription for requests: URL, headers, profile, secrets, and
// the redactor for what its receiver responds.
package endpoint

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/redact"
)

// MaxError bounds the text of an error, before a record clips it.
const MaxError = 2 << 10

// An Endpoint is one revision of a subscription, prepared for requests. It never changes:
// the next revision gets its own, so that no request can mix two.
type Endpoint struct {
	Subscription *subscription.Subscription
	// Host is that of the URL, with its port.
	Host string
	// Shown is the URL without its secret query.
	Shown string
	// Timeout of one request.
	Timeout time.Duration

	profile  wire.Profile
	renderer wire.Renderer
	url      *url.URL // with the secret query
	header   http.Header
	spelled  map[string]string // names that the user spells differently, by canonical name
	redact   *redact.Redactor  // for the receiver's responses
}

// New prepares a subscription.
func New(sub *subscription.Subscription, userAgent string) (*Endpoint, error) {
	p, ok := profile.Lookup(sub.Profile)
	if !ok {
		return nil, fmt.Errorf("profile %q is not known to this sender", sub.Profile)
	}
	renderer, err := p.Prepare(sub)
	if err != nil {
		return nil, fmt.Errorf("prepare profile %s: %w", sub.Profile, err)
	}
	target, err := url.Parse(sub.Endpoint.RequestURL())
	if err != nil {
		return nil, errors.New("its endpoint is not a URL") // the error would quote it
	}
	h, spelled := make(http.Header, 16), map[string]string{}
	h.Set("User-Agent", userAgent)
	h.Set(wire.HeaderSubscription, sub.ID)
	custom := func(name, value string) {
		canonical := http.CanonicalHeaderKey(name)
		h[canonical] = []string{value}
		if canonical != name {
			spelled[canonical] = name
		}
	}
	for name, value := range sub.Endpoint.Headers {
		custom(name, value)
	}
	for name, value := range sub.Endpoint.SecretHeaders {
		custom(name, value.Reveal())
	}
	if shake := &sub.Handshake; shake.Consent == subscription.Allowed && shake.Origin != "" {
		h.Set(subscription.HeaderRequestOrigin, shake.Origin) // CloudEvents Web Hooks 1.0.2, section 4.1.2
	}
	return &Endpoint{
		Subscription: sub, Host: target.Host, Shown: sub.Endpoint.RedactedURL(), Timeout: time.Duration(sub.Endpoint.Timeout),
		profile: p, renderer: renderer, url: target, header: h, spelled: spelled, redact: NewRedactor(sub),
	}, nil
}

// spell gives custom headers the spelling of the user, which HTTP/1.1 sends as it is. It is
// the last step: profiles use canonical names, and a header that a profile has replaced no
// longer exists under its canonical name.
func (e *Endpoint) spell(h http.Header) {
	for canonical, name := range e.spelled {
		values, set := h[canonical]
		if !set {
			continue
		}
		delete(h, canonical)
		if canonical == "User-Agent" {
			h[canonical] = []string{""} // or net/http adds its own
		}
		h[name] = values
	}
}

// Render builds the request for an attempt of d. body is what was signed, and what must be
// sent.
func (e *Endpoint) Render(d *delivery.Delivery, attempt int, now time.Time) (request *http.Request, body []byte, err error) {
	h := make(http.Header, len(e.header)+8)
	maps.Copy(h, e.header)
	h[wire.HeaderAttempt] = []string{strconv.Itoa(attempt)}
	keys := e.Subscription.ActiveSecrets(now)
	secrets := make([]string, len(keys))
	for i := range keys {
		secrets[i] = keys[i].Secret.Reveal()
	}
	body, err = e.renderer.Render(&wire.Request{
		Header: h, Method: e.Subscription.Endpoint.Method, Host: e.url.Host, Path: e.url.EscapedPath(), Delivery: d, Secrets: secrets, Now: now,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("render: %w", err)
	}
	e.spell(h)
	return e.request(e.Subscription.Endpoint.Method, h), body, nil
}

// Options builds an OPTIONS request to the URL of the deliveries, with their headers. change
// sets further ones.
func (e *Endpoint) Options(change func(http.Header)) *http.Request {
	h := e.header.Clone()
	change(h)
	e.spell(h)
	return e.request(http.MethodOptions, h)
}

func (e *Endpoint) request(method string, h http.Header) *http.Request {
	return &http.Request{Method: method, URL: e.url, Header: h, Host: e.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

// Judge is the outcome of an attempt that was answered with a status.
func (e *Endpoint) Judge(status int) delivery.Outcome { return e.profile.Judge(status) }

// Strike removes the subscription's secrets from a text of the receiver, and cuts it to a
// length.
func (e *Endpoint) Strike(text string, most int) string { return e.redact.Strike(text, most) }

// StrikeError is the text of an error without the secrets of the subscription.
func (e *Endpoint) StrikeError(err error) string { return e.redact.Strike(err.Error(), MaxError) }

// NewRedactor removes a subscription's secrets from responses of its receiver: some echo the
// request, and the response is kept in the attempt log. Signing secrets are among them,
// because a profile may send them as they are. more are secrets of one request.
func NewRedactor(sub *subscription.Subscription, more ...string) *redact.Redactor {
	return redact.New(func(set *redact.Set) {
		e := &sub.Endpoint
		set.AddQuery(e.Query.Reveal())
		for _, header := range e.SecretHeaders {
			set.AddHeader(header.Reveal())
		}
		for name, value := range e.Headers {
			if isCredential(name) { // a profile may read them from here
				set.AddHeader(value)
			}
		}
		for _, key := range sub.Secrets {
			set.AddKey(key.Secret.Reveal())
		}
		for _, secret := range sub.Template.Secrets {
			set.AddHeader(secret.Reveal())
		}
		for _, text := range more {
			set.Add(text)
		}
	})
}

func isCredential(header string) bool {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		if strings.EqualFold(header, name) {
			return true
		}
	}
	return false
}
