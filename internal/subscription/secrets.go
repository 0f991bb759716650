package subscription

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// MinSecret is the shortest secret that the native API takes, in bytes. A shorter one
// cannot be distinguished from ordinary text in what receivers echo.
const MinSecret = 6

// TooShort says why the native API does not take a secret; empty: it does.
func TooShort(secret keyring.Secret) string {
	if text := secret.Reveal(); text == "" || len(text) >= MinSecret {
		return ""
	}
	return fmt.Sprintf("is shorter than %d bytes, too short to be recognized where a receiver echoes it: use a longer one", MinSecret)
}

// The fields of secrets.
const (
	fieldQuery           = "endpoint.query"
	fieldSecretHeaders   = "endpoint.secret_headers"
	fieldTemplateSecrets = "template.secrets"
	fieldSecrets         = "secrets"
)

// eachSecret calls do with all secrets of s but its signing keys.
func (s *Subscription) eachSecret(do func(field string, secret, old keyring.Secret), old *Subscription) {
	do(fieldQuery, s.Endpoint.Query, old.Endpoint.Query)
	for _, name := range slices.Sorted(maps.Keys(s.Endpoint.SecretHeaders)) {
		var was keyring.Secret
		for oldName, secret := range old.Endpoint.SecretHeaders {
			if strings.EqualFold(name, oldName) {
				was = secret
			}
		}
		do(validation.Join(fieldSecretHeaders, plain.Clip(name)), s.Endpoint.SecretHeaders[name], was)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Template.Secrets)) {
		do(validation.Join(fieldTemplateSecrets, plain.Clip(name)), s.Template.Secrets[name], old.Template.Secrets[name])
	}
}

// has reports whether one of the keys has that secret.
func hasKey(keys []SigningKey, secret keyring.Secret) bool {
	return slices.ContainsFunc(keys, func(key SigningKey) bool { return key.Secret.Equal(secret) })
}

// ShortSecrets are the secrets that are shorter than MinSecret and not in old, the
// subscription as it is stored, or nil. A query is none: it has values that are no
// secrets.
func (s *Subscription) ShortSecrets(old *Subscription) []Problem { return s.newSecrets(old, TooShort) }

// UnfitSecrets are those that are hardly what was intended, and not in old, or nil: what
// an editor or a shell has put before or behind a secret is part of it for the receiver.
func (s *Subscription) UnfitSecrets(old *Subscription) []Problem { return s.newSecrets(old, Unfit) }

// Unfit says why a text is hardly the secret that is meant; empty: it may be.
func Unfit(secret keyring.Secret) string { return plain.SecretProblem(secret.Reveal()) }

// newSecrets are the secrets that are not in old and have a problem.
func (s *Subscription) newSecrets(old *Subscription, problemOf func(keyring.Secret) string) []Problem {
	old = cmp.Or(old, &Subscription{})
	var found validation.Problems
	s.eachSecret(func(field string, secret, was keyring.Secret) {
		if problem := problemOf(secret); problem != "" && field != fieldQuery && !was.Equal(secret) {
			found.Add(field, "%s", problem)
		}
	}, old)
	for i, key := range s.Secrets {
		if problem := problemOf(key.Secret); problem != "" && !hasKey(old.Secrets, key.Secret) {
			found.Add(validation.Join(validation.Index(fieldSecrets, i), "secret"), "%s", problem)
		}
	}
	return found.List()
}

// Given are the fields of the secrets that a change brings by itself. It is to be asked
// before Inherit, which puts those in that are stored.
func (s *Subscription) Given() map[string]bool {
	given := make(map[string]bool)
	s.eachSecret(func(field string, secret, _ keyring.Secret) { given[field] = secret.Reveal() != "" }, &Subscription{})
	given[fieldQuery] = given[fieldQuery] || strings.Contains(s.Endpoint.URL, "?")
	given[fieldSecrets] = len(s.Secrets) > 0 && !slices.ContainsFunc(s.Secrets, func(key SigningKey) bool { return key.Secret.Reveal() == "" })
	return given
}

// An Exposure is what a change would show to a party that it was not given for: to
// another origin (scheme, host and port), to a proxy that reads what goes through it, or
// to the endpoint itself, where a key that has only signed would be sent.
type Exposure struct {
	To     string   // "https://other.example.com", "the proxy eu"
	Fields []string // of the secrets, by their paths. None: nothing is exposed
	change string
}

// ExposureOf finds out what s, which has inherited from old, would expose of the secrets
// of old. given are those that were sent again. Signing keys of Standard Webhooks, of
// which nothing can be found out by what they sign, count only where the new profile
// sends them or takes them for a secret of the user's own.
func (s *Subscription) ExposureOf(old *Subscription, given map[string]bool, before, after Traits) Exposure {
	origin, was := originOf(s.Endpoint.URL), originOf(old.Endpoint.URL)
	x := Exposure{To: origin}
	moved := origin != was && origin != "" // Validate refuses what is no URL
	switch proxy := s.Endpoint.Proxy; {
	case moved:
		x.change = "is stored for " + was + " and would be sent to " + x.To
	case proxy != "" && proxy != old.Endpoint.Proxy && strings.HasPrefix(x.To, "http:"):
		moved = true
		x.To = "the proxy " + proxy
		x.change = "would go through " + x.To + ", which can read it since the endpoint is plain http"
	default:
		x.change = "has only signed so far, and would be a secret that the profile " + s.Profile + " sends"
	}
	s.eachSecret(func(field string, secret, was keyring.Secret) {
		if moved && !given[field] && secret.Reveal() != "" && secret.Equal(was) {
			x.Fields = append(x.Fields, field)
		}
	}, old)
	if after.Secrets == SharedSecret && (moved || before.Secrets == SigningKeys) && !given[fieldSecrets] &&
		slices.ContainsFunc(s.Secrets, func(key SigningKey) bool { return hasKey(old.Secrets, key.Secret) }) {
		x.Fields = append(x.Fields, fieldSecrets)
	}
	return x
}

// Problems refuse an exposure.
func (x *Exposure) Problems() []Problem {
	var found validation.Problems
	for _, field := range x.Fields {
		found.Add(field, "%s: send it again with this change, or take it out; a token with the role admin may say keep_secrets=true", x.change)
	}
	return found.List()
}

// Reason is what the audit trail has about an exposure; empty where there is none.
func (x *Exposure) Reason() string {
	if len(x.Fields) == 0 {
		return ""
	}
	return "stored secrets are kept for " + x.To + ": " + plain.Clip(strings.Join(x.Fields, ", "))
}

// originOf is scheme, host and port of a URL; empty where it is none.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	if port := map[string]string{"https": "443", "http": "80"}[u.Scheme]; port != "" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// KeepSecrets puts the secrets of old, the subscription as it is stored, where s
// has only placeholders for them, and all of old's signing keys when s names
// none or nothing but the newest. A signing key without an id that old has too is
// that one. A placeholder without a secret stays one, and Validate reports it.
func (s *Subscription) KeepSecrets(old *Subscription) {
	if s.Endpoint.Query.IsPlaceholder() && !old.Endpoint.Query.IsZero() {
		s.Endpoint.Query = old.Endpoint.Query
	}
	for name, value := range s.Endpoint.SecretHeaders {
		if !value.IsPlaceholder() {
			continue
		}
		for oldName, oldValue := range old.Endpoint.SecretHeaders {
			if strings.EqualFold(name, oldName) {
				s.Endpoint.SecretHeaders[name] = oldValue
			}
		}
	}
	for name, value := range s.Template.Secrets {
		if kept, ok := old.Template.Secrets[name]; ok && value.IsPlaceholder() {
			s.Template.Secrets[name] = kept
		}
	}
	if len(s.Secrets) == 0 {
		s.Secrets = slices.Clone(old.Secrets)
		return
	}
	if s.Secrets[0].ID == "" && len(s.Secrets) == 1 && len(old.Secrets) > 0 && s.Secrets[0].Secret.Equal(old.Secrets[0].Secret) {
		s.Secrets = slices.Clone(old.Secrets) // those rotated out go on until they expire
		return
	}
	for i := range s.Secrets {
		if s.Secrets[i].ID == "" && !s.Secrets[i].Secret.IsPlaceholder() {
			s.keepKey(i, old)
			continue
		}
		if !s.Secrets[i].Secret.IsPlaceholder() {
			continue
		}
		for _, key := range old.Secrets {
			if key.ID == s.Secrets[i].ID {
				s.Secrets[i] = key
			}
		}
	}
}

// keepKey takes a key of old that has the same secret, so that to send the same again
// changes nothing.
func (s *Subscription) keepKey(i int, old *Subscription) {
	for _, key := range old.Secrets {
		if key.Secret.Equal(s.Secrets[i].Secret) {
			key.ExpiresAt = s.Secrets[i].ExpiresAt
			s.Secrets[i] = key
			return
		}
	}
}
