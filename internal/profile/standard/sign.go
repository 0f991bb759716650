package standard

import (
	"bytes"
	"crypto/ed25519"
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

// What stands before the base64 of a key (Standard Webhooks 1.0.0).
const (
	secretPrefix  = "whsec_" // HMAC-SHA256: 24 to 64 bytes
	privatePrefix = "whsk_"  // Ed25519: the seed and the public key
	publicPrefix  = "whpk_"  // Ed25519: the public key
)

// What stands before a signature.
const (
	version1  = "v1,"  // HMAC-SHA256
	version1a = "v1a," // Ed25519
)

// ErrSecret is returned for a secret that is none. The secret is not part of the
// text.
var ErrSecret = errors.New("a signing secret is whsec_ or whsk_ followed by base64")

// Key returns the HMAC key in a whsec_ secret: the decoded value, not the text.
func Key(secret string) ([]byte, error) { return decode(secret, secretPrefix, 0) }

// PrivateKey returns the Ed25519 key in a whsk_ secret.
func PrivateKey(secret string) (ed25519.PrivateKey, error) {
	return decode(secret, privatePrefix, ed25519.PrivateKeySize)
}

// PublicKey returns the Ed25519 key that verifies signatures, of a whpk_ key or of
// the whsk_ secret it belongs to. It fails for one whose halves do not belong
// together: signing with it gives its seed away.
func PublicKey(key string) (ed25519.PublicKey, error) {
	if !strings.HasPrefix(key, privatePrefix) {
		return decode(key, publicPrefix, ed25519.PublicKeySize)
	}
	private, err := PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(ed25519.NewKeyFromSeed(private.Seed()), private) {
		return nil, ErrSecret
	}
	return ed25519.PublicKey(private[ed25519.SeedSize:]), nil
}

// IsPrivate reports whether secret is a whsk_ one, by its prefix.
func IsPrivate(secret string) bool { return strings.HasPrefix(secret, privatePrefix) }

// decode returns what stands in base64 behind prefix: size bytes, if that is not 0.
func decode(key, prefix string, size int) ([]byte, error) {
	encoded, found := strings.CutPrefix(key, prefix)
	if !found {
		return nil, ErrSecret
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || size != 0 && len(b) != size {
		return nil, ErrSecret
	}
	return b, nil
}

// appendSignature appends the version and the signature of text by secret.
func appendSignature(dst []byte, secret string, text signed) ([]byte, error) {
	if IsPrivate(secret) {
		key, err := PrivateKey(secret)
		if err != nil {
			return nil, err
		}
		return base64.StdEncoding.AppendEncode(append(dst, version1a...), ed25519.Sign(key, text.whole())), nil
	}
	key, err := Key(secret)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(append(dst, version1...), text.digest(key)), nil
}

// matcher returns a function that reports whether a signature, with its version, is
// one of text by key.
func matcher(key string, text signed) (func(signature string) bool, error) {
	if strings.HasPrefix(key, privatePrefix) || strings.HasPrefix(key, publicPrefix) {
		public, err := PublicKey(key)
		if err != nil {
			return nil, err
		}
		return func(signature string) bool {
			got, ok := cut(signature, version1a)
			return ok && ed25519.Verify(public, text.whole(), got)
		}, nil
	}
	secret, err := Key(key)
	if err != nil {
		return nil, err
	}
	want := text.digest(secret)
	return func(signature string) bool {
		got, ok := cut(signature, version1)
		return ok && subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// cut returns the bytes of a signature of one version.
func cut(signature, version string) ([]byte, bool) {
	encoded, found := strings.CutPrefix(signature, version)
	if !found {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(encoded)
	return b, err == nil
}

// signed is the text that is signed: "<id>.<timestamp>.<body>".
type signed struct {
	id, timestamp string
	body          []byte
}

func (s signed) appendHead(dst []byte) []byte {
	return append(append(append(append(dst, s.id...), '.'), s.timestamp...), '.')
}

func (s signed) digest(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(s.appendHead(make([]byte, 0, 64)))
	mac.Write(s.body)
	return mac.Sum(nil)
}

// whole is the text in one piece, which Ed25519 needs: it reads it twice.
func (s signed) whole() []byte {
	b := make([]byte, 0, len(s.id)+len(s.timestamp)+2+len(s.body))
	return append(s.appendHead(b), s.body...)
}
