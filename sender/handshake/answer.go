package handshake

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
	"github.com/jetpost/jetpost/sender/endpoint"
	"github.com/jetpost/jetpost/sender/transport"
)

// options makes the request: to the URL of the deliveries, with their headers, by the client
// that sends them. The secrets are removed from what it returns.
func (a *Asker) options(ctx context.Context, sub *subscription.Subscription, token string) (transport.Answer, error) {
	e, err := endpoint.New(sub, a.cfg.UserAgent)
	if err != nil {
		return transport.Answer{}, err
	}
	secrets := endpoint.NewRedactor(sub, token) // the holder of the token can consent
	request := e.Options(func(h http.Header) {
		h.Del(wire.HeaderSubscription)
		h.Set(subscription.HeaderRequestOrigin, sub.Handshake.Origin)
		if sub.Handshake.Rate > 0 {
			h.Set(subscription.HeaderRequestRate, strconv.Itoa(sub.Handshake.Rate))
		}
		if token != "" {
			h.Set(subscription.HeaderRequestCallback, a.cfg.PublicURL+"/v1/handshakes/"+sub.ID+"/"+token)
		}
	})
	got, err := a.client.Send(ctx, sub.Endpoint.Proxy, e.Timeout, request, nil)
	if err != nil {
		err = errors.New(secrets.Strike(err.Error(), endpoint.MaxError))
	}
	return strikeConsent(got, sub.Handshake.Origin, secrets), err
}

// strikeConsent removes secrets from the origins that a receiver allows, which may become
// part of the reason. The origin that was asked for stays as it is.
func strikeConsent(got transport.Answer, origin string, secrets *redact.Redactor) transport.Answer {
	got.Header = got.Header.Clone()
	for i, value := range got.Header.Values(subscription.HeaderAllowedOrigin) {
		if !allows(value, origin) {
			got.Header[subscription.HeaderAllowedOrigin][i] = secrets.Strike(value, endpoint.MaxError)
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

// judgeAnswer reads the headers. The status is no sign of consent, but with that of an
// overloaded or broken receiver asking again is worthwhile.
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

// write stores a finding in the handshake. A request without an answer stays open for a
// while: its receiver may have received it, and call back.
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
