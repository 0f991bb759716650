package subscription

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of signing keys (Standard Webhooks 1.0.0; the reference service keeps as
// many old keys, and lets them overlap as long by default).
const (
	signingPrefix  = "whsec_"
	minSigningKey  = 24 // bytes
	maxSigningKey  = 64 // bytes
	newSigningKey  = 32 // bytes
	maxOldKeys     = 10
	DefaultOverlap = 24 * time.Hour     // how long the old key signs as well after a rotation
	MaxOverlap     = 7 * 24 * time.Hour // the longest overlap that can be asked for
)

// A SigningKey signs deliveries until it expires. While a secret is rotated a
// subscription has several, and each delivery carries a signature of each.
type SigningKey struct {
	// ID tells keys apart without showing them. Made by the server.
	ID string `json:"id"`
	// Secret is whsec_ and the base64 of 24 to 64 bytes (32 when made here).
	Secret Secret `json:"secret"`
	// CreatedAt is when the key became the first one.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// ExpiresAt is when the key stops signing. Nil: not rotated out.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// NewSigningKey makes a key, of the given secret or, when that is zero, of 32
// random bytes. It does not check the secret: Validate does.
func NewSigningKey(secret Secret, now time.Time) SigningKey {
	if secret.IsZero() {
		key := make([]byte, newSigningKey)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		secret = NewSecret(signingPrefix + base64.StdEncoding.EncodeToString(key))
	}
	return SigningKey{ID: "key_" + randomText(8), Secret: secret, CreatedAt: now.UTC()}
}

// Bytes is the key itself: what stands behind whsec_, decoded.
func (k SigningKey) Bytes() ([]byte, error) {
	encoded, ok := strings.CutPrefix(k.Secret.Reveal(), signingPrefix)
	if !ok {
		return nil, errors.New("a signing secret starts with " + signingPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	// Encoded again since the decoder skips line ends. The error is not wrapped: it
	// has seen the secret.
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return nil, errors.New("a signing secret is " + signingPrefix + " and base64 with padding")
	}
	if len(key) < minSigningKey || len(key) > maxSigningKey {
		return nil, fmt.Errorf("a signing secret has %d to %d bytes, this one has %d", minSigningKey, maxSigningKey, len(key))
	}
	return key, nil
}

func (k SigningKey) activeAt(now time.Time) bool {
	return k.Secret.Reveal() != "" && (k.ExpiresAt == nil || now.Before(*k.ExpiresAt))
}

// ActiveSecrets are the keys that sign a request made at now, the newest first.
// Ask again for every request: expiry is decided here and nowhere else. It is
// empty where secrets stay sealed, in a View without a keyring.
func (s *Subscription) ActiveSecrets(now time.Time) []SigningKey {
	active := make([]SigningKey, 0, len(s.Secrets))
	for _, key := range s.Secrets {
		if key.activeAt(now) {
			active = append(active, key)
		}
	}
	return active
}

// Rotate puts a new signing key first and returns it. secret is the one to use;
// zero makes one. The keys before it go on signing for overlap (0 to MaxOverlap;
// 0: they stop now), or until they would have stopped anyway. Expired keys, and
// old ones beyond ten, are dropped.
func (s *Subscription) Rotate(now time.Time, overlap time.Duration, secret Secret) (SigningKey, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return SigningKey{}, fmt.Errorf("rotate secret of subscription %s: overlap %s: use 0s to %s", s.ID, overlap, Duration(MaxOverlap))
	}
	key := NewSigningKey(secret, now)
	if _, err := key.Bytes(); err != nil {
		return SigningKey{}, fmt.Errorf("rotate secret of subscription %s: %w", s.ID, err)
	}
	keys := []SigningKey{key}
	expires := now.Add(overlap).UTC()
	for _, old := range s.Secrets {
		if old.ExpiresAt == nil || old.ExpiresAt.After(expires) {
			old.ExpiresAt = &expires
		}
		if now.Before(*old.ExpiresAt) && len(keys) <= maxOldKeys {
			keys = append(keys, old)
		}
	}
	s.Secrets = keys
	return key, nil
}

// KeepSecrets puts the secrets of old, the subscription as it is stored, where s
// has only placeholders for them, and all of old's signing keys when s names
// none. A placeholder without a secret stays one, and Validate reports it.
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
	if len(s.Secrets) == 0 {
		s.Secrets = slices.Clone(old.Secrets)
		return
	}
	for i := range s.Secrets {
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

// randomText returns n random characters of [a-z2-7].
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:n]
}
