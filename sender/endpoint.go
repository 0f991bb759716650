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

	"github.com/jetpost/jetpost/delivery"
	"github.com/jetpost/jetpost/profile"
	"github.com/jetpost/jetpost/profile/wire"
	"github.com/jetpost/jetpost/subscription"
	"github.com/jetpost/jetpost/subscription/redact"
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
	h := make(http.Header, 16)
	h.Set("User-Agent", userAgent)
	h.Set(wire.HeaderSubscription, sub.ID)
	for name, value := range sub.Endpoint.Headers {
		h.Set(name, value)
	}
	for name, value := range sub.Endpoint.SecretHeaders {
		h.Set(name, value.Reveal())
	}
	if shake := &sub.Handshake; shake.Consent == subscription.Allowed && shake.Origin != "" {
		h.Set(subscription.HeaderRequestOrigin, shake.Origin) // CloudEvents Web Hooks 1.0.2, section 4.1.2
	}
	return &endpoint{
		sub: sub, profile: p, wire: renderer, url: target, shown: sub.Endpoint.RedactedURL(), header: h,
		timeout: time.Duration(sub.Endpoint.Timeout), redact: newRedactor(sub),
	}, nil
}

// expired reports whether d has waited longer than the subscription allows, since
// its event was stored or it was redriven: by the clock of the NATS server, which has
// stored it. A sender whose clock is wrong must not give up what is not old; where the
// server's is not known, it waits.
func (s *Sender) expired(ctx context.Context, e *endpoint, d *delivery.Delivery) bool {
	maxAge, since := time.Duration(e.sub.Delivery.MaxAge), d.Waiting()
	if maxAge == 0 || since.IsZero() {
		return false
	}
	read, err := s.clock.at(ctx)
	return err == nil && read.now().Sub(since) > maxAge
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
	return &http.Request{
		Method: e.sub.Endpoint.Method, URL: e.url, Header: h, Host: e.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, body, nil
}
