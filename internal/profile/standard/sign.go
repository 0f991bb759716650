package standard

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Header names of Standard Webhooks 1.0.0, in the form net/http gives them.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// Tolerance is how far a timestamp may be from the receiver's clock, in both
// directions (Standard Webhooks 1.0.0, "Verifying webhook authenticity").
const Tolerance = 5 * time.Minute

// ErrNoSecret is returned where nothing could sign.
var ErrNoSecret = errors.New("sign: the subscription has no valid secret")

// Sign sets webhook-id, webhook-timestamp and webhook-signature on h. The signed
// text is "<id>.<timestamp>.<body>" with the exact bytes of the body. Every secret
// contributes one signature, in their order and separated by spaces: a whsec_ one
// "v1,<base64 of HMAC-SHA256>", a whsk_ one "v1a,<base64 of Ed25519>" (Standard
// Webhooks 1.0.0, "Signature scheme"). id must not contain a dot.
func Sign(h http.Header, id string, now time.Time, body []byte, secrets []string) error {
	if len(secrets) == 0 {
		return ErrNoSecret
	}
	text := signed{id: id, timestamp: strconv.FormatInt(now.Unix(), 10), body: body}
	signatures := make([]byte, 0, len(secrets)*(len(version1)+44+1))
	var err error
	for i, secret := range secrets {
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		if signatures, err = appendSignature(signatures, secret, text); err != nil {
			return fmt.Errorf("sign: %w", err)
		}
	}
	values := []string{id, text.timestamp, string(signatures)}
	h[HeaderID], h[HeaderTimestamp], h[HeaderSignature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

// Verification errors.
var (
	ErrMissingHeader = errors.New("a webhook-… header is missing")
	ErrTimestamp     = errors.New("the timestamp is not within five minutes of the clock")
	ErrSignature     = errors.New("no signature matches")
)

// Verify checks the signature of a received request against keys, any of which may
// match: whsec_ secrets, and whpk_ public keys or the whsk_ secrets they belong to.
// Unknown signature versions are skipped.
func Verify(h http.Header, body []byte, now time.Time, keys []string) error {
	id, timestamp, signatures := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if id == "" || timestamp == "" || signatures == "" {
		return ErrMissingHeader
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return ErrTimestamp
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > Tolerance || age < -Tolerance {
		return ErrTimestamp
	}
	text := signed{id: id, timestamp: timestamp, body: body}
	for _, key := range keys {
		matches, err := matcher(key, text)
		if err != nil {
			return err
		}
		for signature := range strings.SplitSeq(signatures, " ") {
			if matches(signature) {
				return nil
			}
		}
	}
	return ErrSignature
}
