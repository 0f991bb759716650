package subscription

import (
	"net/http"
	"time"
)

// Traits are what a profile decides about its subscriptions.
type Traits struct {
	// Retry, Jitter and Timeout are the defaults of delivery.retry and
	// endpoint.timeout.
	Retry   Schedule
	Jitter  float64
	Timeout time.Duration
	// Methods are those that an endpoint may have. Nil: POST, PUT and PATCH.
	Methods []string
	// Headers are those that the user may set although they are jetpost's
	// elsewhere, or belong among the secret ones, in canonical form.
	Headers []string
	// HeaderText says that the values of headers may have text outside ASCII: HTTP allows
	// such bytes without saying what they mean (RFC 9110, section 5.5, obs-text), and they
	// are sent as UTF-8.
	HeaderText bool
	// Secrets is what the subscription's secrets are.
	Secrets SecretKind
	// Settings are the names of the settings that there are.
	Settings []string
	// Template says that the subscription may have a template.
	Template bool
	// Check returns what else the profile cannot serve in a subscription. Optional.
	Check func(*Subscription) []Problem
}

// SecretKind is what the secrets of a subscription are.
type SecretKind int

// The kinds of secrets.
const (
	// SigningKeys are those of Standard Webhooks: at least one, several while they
	// are rotated. Each is whsec_ (HMAC-SHA256) or whsk_ (Ed25519) and base64.
	SigningKeys SecretKind = iota
	// SharedSecret is one text of the user's own, or none. Only the newest is used.
	SharedSecret
	// NoSecret: the profile has no place for one.
	NoSecret
)

// StandardTraits are those of a profile that signs by Standard Webhooks, and
// otherwise decides nothing.
func StandardTraits() Traits {
	return Traits{Retry: DefaultSchedule(), Jitter: DefaultJitter, Timeout: DefaultTimeout, Settings: []string{settingSignature}}
}

func (t *Traits) methods() []string {
	if len(t.Methods) > 0 {
		return t.Methods
	}
	return []string{http.MethodPost, http.MethodPut, http.MethodPatch}
}

// settingSignature is v1 (HMAC-SHA256, the default) or v1a (Ed25519): what key is
// made where the user gives none.
const settingSignature = "signature"
