// Package httpsignature is the profile of HTTP Message Signatures (RFC 9421) over
// CloudEvents, for receivers that want the headers signed too. The body's digest is
// in Content-Digest (RFC 9530).
//
// The request is that of the profile cloudevents-binary or cloudevents, with the
// Standard Webhooks headers, so that a receiver may verify either signature.
package httpsignature

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/cloudevents"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// Settings of the profile.
const (
	// SettingMode is "binary", the default, or "structured": where the attributes are.
	// All of them are signed in both.
	SettingMode = "mode"
	// SettingKeyID is the keyid of every signature. Default: the id of the key that
	// made it.
	SettingKeyID = "keyid"
)

// Headers, in the form net/http gives them.
const (
	HeaderDigest    = "Content-Digest"
	HeaderInput     = "Signature-Input"
	HeaderSignature = "Signature"
)

// Webhook is the profile.
type Webhook struct{}

// Traits are the standard ones, and two settings.
func (Webhook) Traits() subscription.Traits {
	t := subscription.StandardTraits()
	t.Settings = append(t.Settings, SettingMode, SettingKeyID)
	t.Check = check
	return t
}

func check(sub *subscription.Subscription) []subscription.Problem {
	var found []subscription.Problem
	switch mode := sub.Settings[SettingMode]; mode {
	case "", "binary", "structured":
	default:
		found = append(found, subscription.Problem{Field: "settings." + SettingMode, Message: fmt.Sprintf("%q is not a mode: use binary or structured", mode)})
	}
	if strings.IndexFunc(sub.Settings[SettingKeyID], func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) >= 0 {
		found = append(found, subscription.Problem{Field: "settings." + SettingKeyID, Message: "has a quote, a backslash, a control character or one outside ASCII"})
	}
	for name := range sub.Endpoint.Headers {
		found = append(found, checkHeader("endpoint.headers.", name)...)
	}
	for name := range sub.Endpoint.SecretHeaders {
		found = append(found, checkHeader("endpoint.secret_headers.", name)...)
	}
	return found
}

func checkHeader(field, name string) []subscription.Problem {
	for _, own := range []string{HeaderDigest, HeaderInput, HeaderSignature} {
		if strings.EqualFold(name, own) {
			return []subscription.Problem{{Field: field + name, Message: "is set by the profile http-signature: choose another name"}}
		}
	}
	return nil
}

// Judge judges an answer as Standard Webhooks does.
func (Webhook) Judge(status int) delivery.Outcome { return wire.JudgeStandard(status) }

// Prepare learns the ids of the keys.
func (Webhook) Prepare(sub *subscription.Subscription) (wire.Renderer, error) {
	s := &signer{event: cloudevents.Binary{}, keyIDs: make(map[string]string, len(sub.Secrets)), defaultPort: ":443"}
	if sub.Settings[SettingMode] == "structured" {
		s.event = cloudevents.Structured{}
	}
	if strings.HasPrefix(sub.Endpoint.URL, "http://") {
		s.defaultPort = ":80"
	}
	for _, key := range sub.Secrets {
		id := key.ID
		if set := sub.Settings[SettingKeyID]; set != "" {
			id = set
		}
		s.keyIDs[key.Secret.Reveal()] = id
	}
	return s, nil
}

type signer struct {
	event       wire.Renderer
	keyIDs      map[string]string // by secret
	defaultPort string            // which a receiver does not count as part of the authority
}

// Render signs what the CloudEvents profile has rendered, once for each key: sig1 is
// that of the newest.
func (s *signer) Render(r *wire.Request) ([]byte, error) {
	body, err := s.event.Render(r)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(body)
	r.Header[HeaderDigest] = []string{"sha-256=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":"}
	m := message{
		method: r.Method, authority: strings.TrimSuffix(strings.ToLower(r.Host), s.defaultPort), path: r.Path, header: r.Header,
	}
	covered := m.covered()
	base := m.appendLines(make([]byte, 0, 1024), covered)
	var input, signature strings.Builder
	for i, secret := range r.Secrets {
		key, err := newKey(secret, s.keyIDs[secret])
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		params := key.params(covered, r.Now.Unix())
		label := fmt.Sprintf("sig%d=", i+1)
		if i > 0 {
			label = ", " + label
		}
		input.WriteString(label + params)
		signature.WriteString(label + ":" + base64.StdEncoding.EncodeToString(key.sign(closeBase(base, params))) + ":")
	}
	r.Header[HeaderInput] = []string{input.String()}
	r.Header[HeaderSignature] = []string{signature.String()}
	return body, nil
}
