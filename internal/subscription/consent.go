package subscription

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Headers of the handshake, in canonical form (CloudEvents Web Hooks 1.0.2,
// section 4).
const (
	HeaderRequestOrigin   = "Webhook-Request-Origin"
	HeaderRequestRate     = "Webhook-Request-Rate"
	HeaderRequestCallback = "Webhook-Request-Callback"
	HeaderAllowedOrigin   = "Webhook-Allowed-Origin"
	HeaderAllowedRate     = "Webhook-Allowed-Rate"
)

// ErrAllowedRate says that a receiver's WebHook-Allowed-Rate cannot be read.
var ErrAllowedRate = errors.New("the allowed rate is neither a positive whole number of requests per minute nor *")

// ParseAllowedRate reads a WebHook-Allowed-Rate: requests per minute, up to the
// most that can be asked for; 0 stands for "*", as many as there are.
// ErrAllowedRate.
func ParseAllowedRate(text string) (perMinute int, err error) {
	if text = strings.TrimSpace(text); text == "*" {
		return 0, nil
	}
	if text == "" || strings.Trim(text, "0123456789") != "" || strings.Trim(text, "0") == "" {
		return 0, ErrAllowedRate
	}
	n, err := strconv.Atoi(text)
	if err != nil || n > maxHandshakeRate { // digits only, so too many of them
		n = maxHandshakeRate
	}
	return n, nil
}

// Allow writes down that the receiver has consented; how says in which way. rate
// is its WebHook-Allowed-Rate, empty if it gave none: then it allows what it was
// asked for. One that cannot be read counts as none if a rate was asked for, and
// otherwise as no consent.
func (h *Handshake) Allow(rate, how string, now time.Time) {
	allowed, err := h.Rate, error(nil)
	if rate != "" {
		allowed, err = ParseAllowedRate(rate)
	}
	switch {
	case err != nil && h.Rate == 0: // fail closed
		h.Deny(how+", but "+err.Error(), now)
		return
	case err != nil:
		allowed = h.Rate
		how += ", but " + err.Error() + ": the rate it was asked for counts"
	case rate == "" && h.Rate > 0:
		how += " without a rate: the one it was asked for counts"
	}
	h.Consent, h.Reason, h.AllowedRate, h.CheckedAt = Allowed, how, allowed, now
}

// Deny writes down that the receiver has not consented. A callback comes too late
// then.
func (h *Handshake) Deny(reason string, now time.Time) {
	h.Consent, h.Reason, h.AllowedRate, h.CheckedAt = Denied, reason, 0, now
	h.Callback, h.CallbackUntil = "", time.Time{}
}

// NewCallback makes the token of a callback URL: 256 random bits. Only its hash is
// kept; the token before it is worth nothing from now on.
func (h *Handshake) NewCallback(until time.Time) (token string) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	token = base64.RawURLEncoding.EncodeToString(random)
	h.Callback, h.CallbackUntil = hashCallback(token), until
	return token
}

// AnswersTo reports whether token is that of the callback URL, and still valid. How
// long it takes says nothing about the token. A nil handshake answers to none.
func (h *Handshake) AnswersTo(token string, now time.Time) bool {
	want := ""
	if h != nil {
		want = h.Callback
	}
	same := subtle.ConstantTimeCompare([]byte(hashCallback(token)), []byte(want)) == 1
	return same && now.Before(h.CallbackUntil)
}

func hashCallback(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
