package sender

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/redact"
	"github.com/jetpost/jetpost/sender/clock"
)

// endpoint is one revision of a subscription, made ready for requests. It is
// never changed: the next revision gets its own, so that no request can mix two.
type endpoint struct {
	sub     *subscription.Subscription
	profile wire.Profile
	wire    wire.Renderer
	url     *url.URL // with the secret query
	shown   string   // without it
	header  http.Header
	spelled map[string]string // names that the user writes in other letters, by canonical name
	timeout time.Duration
	redact  *redact.Redactor // for what the receiver answers
}

func newEndpoint(sub *subscription.Subscription, userAgent string) (*endpoint, error) {
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
	return &endpoint{
		sub: sub, profile: p, wire: renderer, url: target, shown: sub.Endpoint.RedactedURL(), header: h, spelled: spelled,
		timeout: time.Duration(sub.Endpoint.Timeout), redact: newRedactor(sub),
	}, nil
}

// spell gives custom headers the letters in which the user writes their names, which
// HTTP/1.1 sends as they stand. It comes last: profiles know headers by their canonical
// names, and one that a profile has replaced is not there any more under that name.
func (e *endpoint) spell(h http.Header) {
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

// expired reports whether d has waited longer than the subscription allows, since
// its event was stored or it was redriven: by the clock of the NATS server, which has
// stored it. A sender whose clock is wrong must not give up what is not old; where the
// server's is not known, it waits.
func expired(ctx context.Context, clock *clock.Clock, sub *subscription.Subscription, d *delivery.Delivery) bool {
	maxAge, since := time.Duration(sub.Delivery.MaxAge), d.Waiting()
	if maxAge == 0 || since.IsZero() {
		return false
	}
	read, err := clock.At(ctx)
	return err == nil && read.Age(since) > maxAge
}

// render makes the request for an attempt of d. body is what was signed, and what must be sent.
func (e *endpoint) render(d *delivery.Delivery, attempt int, now time.Time) (request *http.Request, body []byte, err error) {
	h := make(http.Header, len(e.header)+8)
	maps.Copy(h, e.header)
	h[wire.HeaderAttempt] = []string{strconv.Itoa(attempt)}
	keys := e.sub.ActiveSecrets(now)
	secrets := make([]string, len(keys))
	for i := range keys {
		secrets[i] = keys[i].Secret.Reveal()
	}
	body, err = e.wire.Render(&wire.Request{
		Header: h, Method: e.sub.Endpoint.Method, Host: e.url.Host, Path: e.url.EscapedPath(), Delivery: d, Secrets: secrets, Now: now,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("render: %w", err)
	}
	e.spell(h)
	return &http.Request{
		Method: e.sub.Endpoint.Method, URL: e.url, Header: h, Host: e.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, body, nil
}
