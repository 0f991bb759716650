package subscription

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Limits of signing keys (Standard Webhooks 1.0.0; the reference service keeps as
// many old keys, and lets them overlap as long by default).
const (
	signingPrefix  = "whsec_"
	privatePrefix  = "whsk_"
	publicPrefix   = "whpk_"
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
	// Secret is whsec_ and the base64 of 24 to 64 bytes (32 when made here), or
	// whsk_ and the base64 of an Ed25519 key, its seed and its public key. A profile
	// may take any text instead.
	Secret keyring.Secret `json:"secret"`
	// PublicKey is what receivers verify signatures of a whsk_ key with: whpk_ and
	// the base64 of the 32 bytes.
	PublicKey string `json:"public_key,omitempty"`
	// CreatedAt is when the key became the first one.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// ExpiresAt is when the key stops signing. Nil: not rotated out.
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// ErrTooManyKeys says that a subscription would have more keys than can sign a delivery.
var ErrTooManyKeys = fmt.Errorf("a delivery carries %d signatures at most", maxOldKeys+1)

// The signature schemes of Standard Webhooks.
const (
	SignatureV1  = "v1"  // HMAC-SHA256, by a whsec_ key
	SignatureV1a = "v1a" // Ed25519, by a whsk_ key
)

// NewSigningKey makes a key, of the given secret or, when that is zero, a whsec_
// key of 32 random bytes. It does not check the secret: Validate does.
func NewSigningKey(secret keyring.Secret, now time.Time) SigningKey {
	if secret.IsZero() {
		key := make([]byte, newSigningKey)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		secret = keyring.NewSecret(signingPrefix + base64.StdEncoding.EncodeToString(key))
	}
	k := SigningKey{ID: "key_" + randomText(8), Secret: secret, CreatedAt: now.UTC()}
	if private, err := k.private(); err == nil {
		k.PublicKey = publicPrefix + base64.StdEncoding.EncodeToString(private[ed25519.SeedSize:])
	}
	return k
}

// newSigningKeyOf makes a random key for a scheme.
func newSigningKeyOf(scheme string, now time.Time) SigningKey {
	if scheme != SignatureV1a {
		return NewSigningKey(keyring.Secret{}, now)
	}
	_, private, _ := ed25519.GenerateKey(nil) // never fails (crypto/rand)
	return NewSigningKey(keyring.NewSecret(privatePrefix+base64.StdEncoding.EncodeToString(private)), now)
}

// Bytes is the HMAC key itself: what stands behind whsec_, decoded.
func (k SigningKey) Bytes() ([]byte, error) {
	encoded, ok := strings.CutPrefix(k.Secret.Reveal(), signingPrefix)
	if !ok {
		return nil, errors.New("a signing secret starts with " + signingPrefix)
	}
	key, ok := decodeKey(encoded)
	if !ok {
		return nil, errors.New("a signing secret is " + signingPrefix + " and base64 with padding")
	}
	if len(key) < minSigningKey || len(key) > maxSigningKey {
		return nil, fmt.Errorf("a signing secret has %d to %d bytes, this one has %d", minSigningKey, maxSigningKey, len(key))
	}
	return key, nil
}

// private is the Ed25519 key of a whsk_ secret. Its second half must be the public
// key of the first: signatures would be worth nothing otherwise.
func (k SigningKey) private() (ed25519.PrivateKey, error) {
	encoded, ok := strings.CutPrefix(k.Secret.Reveal(), privatePrefix)
	if !ok {
		return nil, errors.New("an Ed25519 secret starts with " + privatePrefix)
	}
	key, ok := decodeKey(encoded)
	if !ok || len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("an Ed25519 secret is %s and base64 with padding of %d bytes, the seed and the public key", privatePrefix, ed25519.PrivateKeySize)
	}
	if !bytes.Equal(ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]), key) {
		return nil, errors.New("the second half of the Ed25519 secret is not the public key of the first")
	}
	return key, nil
}

// decodeKey encodes again since the decoder skips line ends. It gives no error,
// which would have seen the secret.
func decodeKey(encoded string) ([]byte, bool) {
	key, err := base64.StdEncoding.DecodeString(encoded)
	return key, err == nil && base64.StdEncoding.EncodeToString(key) == encoded
}

// check says why the key cannot be one of its kind.
func (k SigningKey) check(kind SecretKind) error {
	switch kind {
	case NoSecret:
		return errors.New("has no place in this profile: leave it out")
	case SharedSecret:
		secret := k.Secret.Reveal()
		if problem := Unfit(k.Secret); problem != "" && validation.TextProblem(secret) != "" { // the vendors take white space
			return errors.New(problem)
		}
		if secret == "" || len(secret) > maxSecretBytes {
			return fmt.Errorf("is not 1 to %d bytes of text without control characters", maxSecretBytes)
		}
		return nil
	case SigningKeys:
	}
	if problem := Unfit(k.Secret); problem != "" { // says more than that it is no base64
		return errors.New(problem)
	}
	var err error
	if strings.HasPrefix(k.Secret.Reveal(), privatePrefix) {
		_, err = k.private()
	} else {
		_, err = k.Bytes()
	}
	if err != nil {
		return fmt.Errorf("%w: leave it out to have one made", err)
	}
	return nil
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

// NextSecret makes the secret for a rotation, of the kind that the subscription
// signs with now: zero where the profile leaves it to the user.
func (s *Subscription) NextSecret(traits Traits, now time.Time) keyring.Secret {
	if traits.Secrets != SigningKeys {
		return keyring.Secret{}
	}
	scheme := s.Settings[settingSignature]
	if len(s.Secrets) > 0 && scheme == "" && s.Secrets[0].PublicKey != "" {
		scheme = SignatureV1a
	}
	return newSigningKeyOf(scheme, now).Secret
}

// Rotate puts a new signing key first and returns it. secret is the one to use;
// see NextSecret. The keys before it go on signing for overlap (0 to MaxOverlap;
// 0: they stop now), or until they would have stopped anyway. Expired keys are dropped.
// ErrTooManyKeys where more than ten old ones would have to go on.
func (s *Subscription) Rotate(traits Traits, now time.Time, overlap time.Duration, secret keyring.Secret) (SigningKey, error) {
	if overlap < 0 || overlap > MaxOverlap {
		return SigningKey{}, fmt.Errorf("rotate secret of subscription %s: overlap %s: use 0s to %s", s.ID, overlap, Duration(MaxOverlap))
	}
	key := NewSigningKey(secret, now)
	if err := key.check(traits.Secrets); err != nil {
		return SigningKey{}, fmt.Errorf("rotate secret of subscription %s: the secret %w", s.ID, err)
	}
	keys := []SigningKey{key}
	expires := now.Add(overlap).UTC()
	for _, old := range s.Secrets {
		if old.ExpiresAt == nil || old.ExpiresAt.After(expires) {
			old.ExpiresAt = &expires
		}
		if now.Before(*old.ExpiresAt) {
			keys = append(keys, old)
		}
	}
	if len(keys) > maxOldKeys+1 {
		first := slices.MinFunc(keys[1:], func(a, b SigningKey) int { return a.ExpiresAt.Compare(*b.ExpiresAt) })
		return SigningKey{}, fmt.Errorf("rotate secret of subscription %s: %w: the first of the %d old ones stops at %s",
			s.ID, ErrTooManyKeys, len(keys)-1, first.ExpiresAt.Format(time.RFC3339))
	}
	s.Secrets = keys
	return key, nil
}

// CheckSecret says why secret cannot be one of a profile of these traits.
func (t *Traits) CheckSecret(secret keyring.Secret) error {
	return SigningKey{Secret: secret}.check(t.Secrets)
}

// randomText returns n random characters of [a-z2-7].
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))[:n]
}
