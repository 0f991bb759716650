package standard

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
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

const secretPrefix = "whsec_"

// ErrSecret is returned for a secret that is not whsec_ and base64. The secret is
// not part of the text.
var ErrSecret = errors.New("a signing secret is whsec_ followed by base64")

// Key returns the HMAC key in a secret: the decoded value, not the text.
func Key(secret string) ([]byte, error) {
	encoded, found := strings.CutPrefix(secret, secretPrefix)
	if !found {
		return nil, ErrSecret
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, ErrSecret
	}
	return key, nil
}

// Sign sets webhook-id, webhook-timestamp and webhook-signature on h. The signed
// text is "<id>.<timestamp>.<body>" with the exact bytes of the body; every
// secret contributes one "v1,<base64 of HMAC-SHA256>", separated by spaces
// (Standard Webhooks 1.0.0, "Signature scheme"). id must not contain a dot.
func Sign(h http.Header, id string, now time.Time, body []byte, secrets []string) error {
	if len(secrets) == 0 {
		return errors.New("sign: the subscription has no valid secret")
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]byte, 0, len(secrets)*(3+44+1))
	for i, secret := range secrets {
		key, err := Key(secret)
		if err != nil {
			return fmt.Errorf("sign: %w", err)
		}
		if i > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = append(signatures, "v1,"...)
		signatures = base64.StdEncoding.AppendEncode(signatures, digest(key, id, timestamp, body))
	}
	values := []string{id, timestamp, string(signatures)}
	h[HeaderID], h[HeaderTimestamp], h[HeaderSignature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

func digest(key []byte, id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	head := make([]byte, 0, 64)
	head = append(append(append(append(head, id...), '.'), timestamp...), '.')
	mac.Write(head)
	mac.Write(body)
	return mac.Sum(nil)
}

// Verification errors.
var (
	ErrMissingHeader = errors.New("a webhook-… header is missing")
	ErrTimestamp     = errors.New("the timestamp is not within five minutes of the clock")
	ErrSignature     = errors.New("no signature matches")
)

// Verify checks the signature of a received request against secrets, any of which
// may match. Unknown signature versions are skipped.
func Verify(h http.Header, body []byte, now time.Time, secrets []string) error {
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
	for _, secret := range secrets {
		key, err := Key(secret)
		if err != nil {
			return err
		}
		want := digest(key, id, timestamp, body)
		for signature := range strings.SplitSeq(signatures, " ") {
			encoded, found := strings.CutPrefix(signature, "v1,")
			if !found {
				continue
			}
			got, err := base64.StdEncoding.DecodeString(encoded)
			if err == nil && subtle.ConstantTimeCompare(got, want) == 1 {
				return nil
			}
		}
	}
	return ErrSignature
}
