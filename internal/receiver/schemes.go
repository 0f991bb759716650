package receiver

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers of the profiles that do not sign by Standard Webhooks, in the form that
// net/http gives them.
const (
	jfrogAuthHeader       = "X-Jfrog-Event-Auth"
	ssmEventHeader        = "X-Securesourcemanager-Event"
	ssmSignatureHeader    = "X-Securesourcemanager-Signature"
	ssmDeliveryHeader     = "X-Securesourcemanager-Delivery"
	githubEventHeader     = "X-Github-Event"
	githubSignatureHeader = "X-Hub-Signature-256"
	githubDeliveryHeader  = "X-Github-Delivery"
)

// maxUnixTime is the last second of the year 9999.
const maxUnixTime = 253402300799

// A Key is a secret, or the public half of one, ready for every scheme.
type Key struct {
	text   string            // as it is
	mac    []byte            // of a whsec_ secret; nil otherwise
	public ed25519.PublicKey // of a whsk_ or whpk_ key; nil otherwise
}

// DecodeSecrets turns secrets as people see them into keys: those of Standard
// Webhooks by their prefix, any other text as a secret that is used as it stands.
// Errors do not repeat the secret.
func DecodeSecrets(secrets []string) ([]Key, error) {
	keys := make([]Key, len(secrets))
	for i, secret := range secrets {
		k := Key{text: secret}
		prefix, encoded, found := strings.Cut(secret, "_")
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		switch {
		case secret == "":
			return nil, fmt.Errorf("secret %d is empty", i+1)
		case !found || prefix != "whsec" && prefix != "whsk" && prefix != "whpk":
		case err != nil || len(decoded) == 0:
			return nil, fmt.Errorf("secret %d is not %s_ followed by base64", i+1, prefix)
		case prefix == "whsec":
			k.mac = decoded
		case prefix == "whsk" && len(decoded) == ed25519.PrivateKeySize:
			k.public = decoded[ed25519.SeedSize:]
		case prefix == "whpk" && len(decoded) == ed25519.PublicKeySize:
			k.public = decoded
		default:
			return nil, fmt.Errorf("secret %d is not an Ed25519 key", i+1)
		}
		keys[i] = k
	}
	return keys, nil
}

// VerifySignature checks the signature of a request over exactly these body bytes,
// by the scheme whose headers it has. It returns nil when any of the keys made any
// of the signatures, errNoSecretMatches when another key might, and another error
// when no key could help.
func VerifySignature(h http.Header, body []byte, keys []Key, now time.Time) error {
	standard := h.Get(idHeader) != "" || h.Get(timestampHeader) != "" || h.Get(signatureHeader) != ""
	_, ssm := h[ssmSignatureHeader]
	switch {
	case standard:
		return verifyStandard(h, body, keys, now)
	case h.Get(jfrogAuthHeader) != "":
		return verifyJFrog(h.Get(jfrogAuthHeader), body, keys)
	case ssm:
		return verifyHex(ssmSignatureHeader, h.Get(ssmSignatureHeader), body, keys)
	case h.Get(githubSignatureHeader) != "":
		signature, found := strings.CutPrefix(h.Get(githubSignatureHeader), "sha256=")
		if !found {
			return errors.New("the x-hub-signature-256 header does not begin with sha256=")
		}
		return verifyHex(githubSignatureHeader, signature, body, keys)
	}
	return errors.New("the webhook-id header is missing, and so is any other that has to do with a signature")
}

// verifyStandard is Standard Webhooks 1.0.0, symmetric (v1) and asymmetric (v1a).
func verifyStandard(h http.Header, body []byte, keys []Key, now time.Time) error {
	id, timestamp, signatures := h.Get(idHeader), h.Get(timestampHeader), h.Get(signatureHeader)
	switch {
	case id == "":
		return errors.New("the webhook-id header is missing")
	case timestamp == "":
		return errors.New("the webhook-timestamp header is missing")
	case signatures == "":
		return errors.New("the webhook-signature header is missing")
	}
	seconds, err := strconv.ParseUint(timestamp, 10, 62)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && seconds > maxUnixTime:
		return errors.New("the webhook-timestamp header is a time after the year 9999: it counts seconds since 1970, not parts of them")
	case err != nil:
		return errors.New("the webhook-timestamp header is not a number of seconds")
	}
	switch age := now.Sub(time.Unix(int64(seconds), 0)); { //nolint:gosec // 62 bits
	case age > signatureTolerance:
		return fmt.Errorf("the timestamp is %s old", age.Round(time.Second))
	case age < -signatureTolerance:
		return fmt.Errorf("the timestamp is %s in the future", -age.Round(time.Second))
	}
	var macs, signed [][]byte
	for entry := range strings.SplitSeq(signatures, " ") {
		version, text, _ := strings.Cut(entry, ",")
		made, err := base64.StdEncoding.Strict().DecodeString(text)
		switch {
		case err != nil:
		case version == "v1":
			macs = append(macs, made)
		case version == "v1a":
			signed = append(signed, made)
		} // later versions are for receivers that know them
	}
	if len(macs)+len(signed) == 0 {
		return errors.New("the webhook-signature header has no v1 and no v1a signature")
	}
	head := id + "." + timestamp + "."
	matches := false
	for _, k := range keys {
		if k.mac != nil && len(macs) > 0 {
			want := hmacOf(k.mac, []byte(head), body)
			for _, got := range macs {
				matches = hmac.Equal(got, want) || matches
			}
		}
		if k.public != nil {
			for _, got := range signed {
				matches = ed25519.Verify(k.public, append([]byte(head), body...), got) || matches
			}
		}
	}
	if !matches {
		return errNoSecretMatches
	}
	return nil
}

// verifyJFrog takes the secret itself or its HMAC: which one a subscription sends
// is a setting of it that a receiver chooses.
func verifyJFrog(given string, body []byte, keys []Key) error {
	matches := false
	for _, k := range keys {
		matches = subtle.ConstantTimeCompare([]byte(given), []byte(k.text)) == 1 || matches
	}
	if matches {
		return nil
	}
	return verifyHex(jfrogAuthHeader, given, body, keys)
}

// verifyHex checks a hexadecimal HMAC-SHA256 by the secret as it stands.
func verifyHex(header, given string, body []byte, keys []Key) error {
	if given == "" {
		return fmt.Errorf("the %s header is empty: the subscription has no secret", strings.ToLower(header))
	}
	got, err := hex.DecodeString(given)
	if err != nil {
		return errNoSecretMatches // it may be a secret
	}
	matches := false
	for _, k := range keys {
		matches = hmac.Equal(got, hmacOf([]byte(k.text), body)) || matches
	}
	if !matches {
		return errNoSecretMatches
	}
	return nil
}

func hmacOf(secret []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, secret)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// deliveryIDOf is by what a repeated request is recognised: empty for
// profiles that have nothing of the kind.
func deliveryIDOf(h http.Header) string {
	for _, name := range [...]string{idHeader, ssmDeliveryHeader, githubDeliveryHeader} {
		if id := h.Get(name); id != "" {
			return id
		}
	}
	return ""
}
