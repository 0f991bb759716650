package sender

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/redact"
	"github.com/jetpost/jetpost/sender/transport"
)

// options makes the request: to the very URL of the deliveries, with their headers,
// by the client that makes them. What it returns has nothing of the secrets.
func (l *lane) options(ctx context.Context, sub *subscription.Subscription, token string) (transport.Answer, error) {
	e, err := newEndpoint(sub, l.cfg.UserAgent)
	if err != nil {
		return transport.Answer{}, err
	}
	secrets := newRedactor(sub, token) // who has the token can consent
	e.header.Del(wire.HeaderSubscription)
	e.header.Set(subscription.HeaderRequestOrigin, sub.Handshake.Origin)
	if sub.Handshake.Rate > 0 {
		e.header.Set(subscription.HeaderRequestRate, strconv.Itoa(sub.Handshake.Rate))
	}
	if token != "" {
		e.header.Set(subscription.HeaderRequestCallback, l.cfg.PublicURL+"/v1/handshakes/"+sub.ID+"/"+token)
	}
	e.spell(e.header)
	got, err := l.clients.Send(ctx, e.sub.Endpoint.Proxy, e.timeout, &http.Request{
		Method: http.MethodOptions, URL: e.url, Header: e.header, Host: e.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}, nil)
	if err != nil {
		err = errors.New(secrets.Strike(err.Error(), keptError))
	}
	return strikeConsent(got, sub.Handshake.Origin, secrets), err
}

// strikeConsent strikes secrets out of the origins that a receiver allows, which may
// become a part of the reason. The answer that it was asked for stays what it is.
func strikeConsent(got transport.Answer, origin string, secrets *redact.Redactor) transport.Answer {
	got.Header = got.Header.Clone()
	for i, value := range got.Header.Values(subscription.HeaderAllowedOrigin) {
		if !allows(value, origin) {
			got.Header[subscription.HeaderAllowedOrigin][i] = secrets.Strike(value, keptError)
		}
	}
	return got
}

// allows reports whether a WebHook-Allowed-Origin allows an origin.
func allows(allowed, origin string) bool {
	allowed = strings.TrimSpace(allowed)
	return allowed == "*" || strings.EqualFold(allowed, origin)
}

func hostOf(sub *subscription.Subscription) string {
	_, rest, _ := strings.Cut(sub.Endpoint.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// A finding is what an answer to OPTIONS means.
type finding struct {
	kind       findingKind
	reason     string
	rate       string // WebHook-Allowed-Rate
	retryAfter time.Duration
}

type findingKind string

const (
	findAllowed findingKind = "allowed"
	findDenied  findingKind = "denied"
	findWaits   findingKind = "waits" // for the callback
	findFailed  findingKind = "failed"
)

// judgeAnswer reads the headers. The status says nothing about consent, but one of
// an overloaded or broken receiver says that it is worth asking again.
func judgeAnswer(h *subscription.Handshake, got transport.Answer, err error) finding {
	origins := got.Header.Values(subscription.HeaderAllowedOrigin)
	for _, origin := range origins {
		if allows(origin, h.Origin) {
			rate := strings.Join(got.Header.Values(subscription.HeaderAllowedRate), ", ")
			return finding{kind: findAllowed, rate: rate, reason: "the receiver allows the origin " + strings.TrimSpace(origin)}
		}
	}
	answered := "the receiver answered " + strconv.Itoa(got.Status)
	switch {
	case strings.Join(origins, "") != "":
		return finding{kind: findDenied, reason: fmt.Sprintf("the receiver allows the origin %.200q, and this is %s", origins[0], h.Origin)}
	case got.Status == 0 && err != nil:
		return finding{kind: findFailed, reason: fmt.Sprintf("the receiver could not be asked: %.300s", err)}
	case got.Status >= 500 || got.Status == http.StatusTooManyRequests || got.Status == http.StatusRequestTimeout:
		return finding{kind: findFailed, reason: answered + " and will be asked again", retryAfter: got.RetryAfter}
	case h.Callback != "":
		return finding{kind: findWaits, reason: answered + " without WebHook-Allowed-Origin, and may still call back"}
	case got.Status >= 300 && got.Status <= 399:
		return finding{kind: findDenied, reason: answered + ": redirects are not followed, give the final URL"}
	default:
		return finding{kind: findDenied, reason: answered + " without WebHook-Allowed-Origin"}
	}
}

// write puts a finding down in the handshake that was asked for. A question without
// an answer stays open for a while: its receiver may have got it, and call back.
func (f finding) write(h *subscription.Handshake) {
	now := h.CheckedAt // stays when the receiver was asked
	switch f.kind {
	case findAllowed:
		h.Allow(f.rate, f.reason, now)
	case findDenied:
		h.Deny(f.reason, now)
	case findWaits:
		h.Reason, h.CallbackUntil = f.reason, now.Add(callbackFor)
	case findFailed:
		h.Reason = f.reason
	}
}
