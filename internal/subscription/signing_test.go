package subscription

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription/validation/validationtest"
)

func whsec(bytes int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, bytes))
}

func TestSigningKeyBytes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		secret string
		want   int // bytes; 0: refused
	}{
		{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 24}, // of Standard Webhooks' own tests
		{whsec(24), 24},
		{whsec(64), 64},
		{whsec(23), 0},
		{whsec(65), 0},
		{"", 0},
		{"whsec_", 0},
		{strings.TrimPrefix(whsec(32), "whsec_"), 0},
		{strings.TrimRight(whsec(32), "="), 0},
		{"whsec_" + strings.Repeat("!", 44), 0},
		{"whsk_" + strings.TrimPrefix(whsec(32), "whsec_"), 0},
		{whsec(32) + "\n", 0},
	} {
		key, err := SigningKey{Secret: keyring.NewSecret(tt.secret)}.Bytes()
		if len(key) != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%q: got %d bytes, %v, want %d", tt.secret, len(key), err, tt.want)
		}
		if err != nil && len(tt.secret) > 10 && strings.Contains(err.Error(), tt.secret[6:]) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	made := NewSigningKey(keyring.Secret{}, time.Now())
	if key, err := made.Bytes(); err != nil || len(key) != 32 {
		t.Errorf("a made key has %d bytes, %v, want 32", len(key), err)
	}
	if made.Secret.Equal(NewSigningKey(keyring.Secret{}, time.Now()).Secret) {
		t.Error("two made keys are equal")
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	s := &Subscription{ID: "ci"}
	s.SetDefaults(now)
	first := s.Secrets[0]
	active := func(at time.Time) []string {
		var ids []string
		for _, key := range s.ActiveSecrets(at) {
			ids = append(ids, key.ID)
		}
		return ids
	}

	now = now.Add(time.Hour)
	second, err := s.Rotate(StandardTraits(), now, 24*time.Hour, keyring.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		after time.Duration
		want  []string
	}{
		{0, []string{second.ID, first.ID}},
		{24*time.Hour - 1, []string{second.ID, first.ID}},
		{24 * time.Hour, []string{second.ID}},
	} {
		if diff := cmp.Diff(tt.want, active(now.Add(tt.after))); diff != "" {
			t.Errorf("active %s after the rotation (-want +got):\n%s", tt.after, diff)
		}
	}

	// A longer overlap does not bring back what would have expired.
	now = now.Add(time.Hour)
	third, err := s.Rotate(StandardTraits(), now, MaxOverlap, keyring.NewSecret(whsec(64)))
	if err != nil {
		t.Fatal(err)
	}
	if third.Secret.Reveal() != whsec(64) {
		t.Error("the given secret is not used")
	}
	if diff := cmp.Diff([]string{third.ID, second.ID}, active(now.Add(24*time.Hour))); diff != "" {
		t.Errorf("after the third (-want +got):\n%s", diff)
	}

	// No overlap: the old keys stop at once.
	fourth, err := s.Rotate(StandardTraits(), now, 0, keyring.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{fourth.ID}, active(now)); diff != "" || len(s.Secrets) != 1 {
		t.Errorf("without overlap (-want +got):\n%s%d keys", diff, len(s.Secrets))
	}
	if got := active(now.Add(1000 * time.Hour)); len(got) != 1 {
		t.Errorf("the current key expired: %v", got)
	}
}

// An old key is never dropped while it has to sign: the rotation is refused.
func TestRotateKeepsTenOldKeys(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := example(t, "ci")
	for range 10 {
		if _, err := s.Rotate(StandardTraits(), now, MaxOverlap, keyring.Secret{}); err != nil {
			t.Fatal(err)
		}
	}
	before := s.ActiveSecrets(now)
	if len(before) != 11 {
		t.Errorf("got %d active keys, want the new one and ten", len(before))
	}
	if err := s.Validate(testRules()); err != nil {
		t.Error(err)
	}
	_, err := s.Rotate(StandardTraits(), now.Add(time.Hour), MaxOverlap, keyring.Secret{})
	if want := now.Add(MaxOverlap).UTC().Format(time.RFC3339); !errors.Is(err, ErrTooManyKeys) || !strings.Contains(err.Error(), want) {
		t.Errorf("the twelfth: got %v, want ErrTooManyKeys and %s", err, want)
	}
	if diff := cmp.Diff(before, s.ActiveSecrets(now)); diff != "" {
		t.Errorf("a refused rotation changed the keys:\n%s", diff)
	}
	if _, err := s.Rotate(StandardTraits(), now.Add(time.Hour), 0, keyring.Secret{}); err != nil || len(s.Secrets) != 1 {
		t.Errorf("without overlap: got %v, %d keys", err, len(s.Secrets))
	}
	s.Secrets = before
	if _, err := s.Rotate(StandardTraits(), now.Add(MaxOverlap), MaxOverlap, keyring.Secret{}); err != nil {
		t.Errorf("when the old ones have stopped: %v", err)
	}
}

func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	s := example(t, "ci")
	before := fmt.Sprint(s.Secrets[0].ID, len(s.Secrets))
	for _, overlap := range []time.Duration{-1, MaxOverlap + 1} {
		if _, err := s.Rotate(StandardTraits(), time.Now(), overlap, keyring.Secret{}); err == nil {
			t.Errorf("overlap %s is accepted", overlap)
		}
	}
	if _, err := s.Rotate(StandardTraits(), time.Now(), 0, keyring.NewSecret("whsec_short")); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a bad secret: got %v", err)
	}
	if after := fmt.Sprint(s.Secrets[0].ID, len(s.Secrets)); after != before {
		t.Errorf("a refused rotation changed the keys: %s, was %s", after, before)
	}
}

func TestKeepSecrets(t *testing.T) {
	t.Parallel()
	old := example(t, "ci")
	if _, err := old.Rotate(StandardTraits(), time.Now(), time.Hour, keyring.Secret{}); err != nil {
		t.Fatal(err)
	}
	kept := keyring.NewSecret(keyring.Placeholder)

	t.Run("what was read comes back", func(t *testing.T) {
		t.Parallel()
		s := old.Clone()
		s.Endpoint.Query = kept
		s.Endpoint.SecretHeaders = map[string]keyring.Secret{"authorization": kept, "x-new": keyring.NewSecret("new")}
		for i := range s.Secrets {
			s.Secrets[i].Secret = kept
		}
		s.KeepSecrets(old)
		if err := s.Validate(testRules()); err != nil {
			t.Error(err)
		}
		want := old.Clone()
		want.Endpoint.SecretHeaders = map[string]keyring.Secret{
			"authorization": old.Endpoint.SecretHeaders["Authorization"], "x-new": keyring.NewSecret("new"),
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("what is left out goes, but not the signing keys", func(t *testing.T) {
		t.Parallel()
		s := old.Clone()
		s.Endpoint.Query, s.Endpoint.SecretHeaders, s.Secrets = keyring.Secret{}, nil, nil
		s.KeepSecrets(old)
		if !s.Endpoint.Query.IsZero() || s.Endpoint.SecretHeaders != nil || len(s.Secrets) != 2 {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("a placeholder for nothing is a problem", func(t *testing.T) {
		t.Parallel()
		s := example(t, "ci")
		s.Endpoint.Query = kept
		s.Endpoint.SecretHeaders = map[string]keyring.Secret{"x-other": kept}
		s.Secrets[0] = SigningKey{ID: "key_unknown", Secret: kept}
		bare := &Subscription{Secrets: old.Secrets}
		s.KeepSecrets(bare)
		validationtest.Want(t, s.Validate(testRules()),
			"endpoint.query: there is none", "endpoint.secret_headers.x-other: there is none", `secrets[0].secret: no`)
		if s.ActiveSecrets(time.Now()) == nil || len(s.ActiveSecrets(time.Now())) != 0 {
			t.Error("a placeholder signs")
		}
	})
}
