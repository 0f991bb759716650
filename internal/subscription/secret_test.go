package subscription

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/jetpost/jetpost/internal/keyring"
)

func TestSecretIsNeverShown(t *testing.T) {
	t.Parallel()
	const text = "swordfish"
	secret := keyring.NewSecret(text)
	type hidden struct {
		secret  keyring.Secret
		secrets map[string]keyring.Secret
	}
	values := []any{
		secret, &secret,
		[]keyring.Secret{secret},
		map[string]keyring.Secret{"a": secret},
		SigningKey{Secret: secret},
		hidden{secret, map[string]keyring.Secret{"a": secret}},
		&hidden{secret: secret}, *example(t, "a"), example(t, "a"),
		fmt.Errorf("wrapped: %w", errors.New(secret.String())),
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s", "%-20v"} {
		for _, value := range values {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
				t.Errorf("%s of %T shows the secret: %s", verb, value, got)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if got := fmt.Sprintf(verb, secret); got != keyring.Placeholder {
			t.Errorf("%s: got %q, want %q", verb, got, keyring.Placeholder)
		}
	}
	for _, value := range values {
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("JSON of %T shows the secret: %s", value, b)
		}
	}
	if b, err := secret.MarshalText(); err != nil || string(b) != keyring.Placeholder {
		t.Errorf("MarshalText: got %q, %v", b, err)
	}
}

func TestSecretIsNeverLogged(t *testing.T) {
	t.Parallel()
	secret := keyring.NewSecret("swordfish")
	var out bytes.Buffer
	for _, encoder := range []zapcore.Encoder{
		zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
	} {
		log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zapcore.DebugLevel))
		log.Info("x", zap.Any("a", secret), zap.Any("b", &secret), zap.Stringer("c", secret), zap.Reflect("d", secret),
			zap.Any("e", example(t, "a")), zap.Any("f", map[string]keyring.Secret{"g": secret}))
		log.Sugar().Infow("x", "a", secret)
		log.Sugar().Infof("%v %+v", secret, example(t, "a"))
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "a", secret, "b", example(t, "a"))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "a", secret, "b", example(t, "a"))
	if strings.Contains(out.String(), "swordfish") || strings.Contains(out.String(), signingPrefix) {
		t.Errorf("the log shows the secret:\n%s", &out)
	}
	if n := strings.Count(out.String(), keyring.Placeholder); n < 20 {
		t.Errorf("the log has %d placeholders, too few:\n%s", n, &out)
	}
}

func TestSecretRoundTrip(t *testing.T) {
	t.Parallel()
	var got struct {
		Set, Empty, Null, Kept keyring.Secret
		Absent                 keyring.Secret `json:"absent,omitzero"`
	}
	if err := json.Unmarshal([]byte(`{"set":"swordfish","empty":"","null":null,"kept":"[secret]"}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.Set.Reveal() != "swordfish" || got.Set.IsZero() || got.Set.IsPlaceholder() {
		t.Errorf("set: got %q", got.Set.Reveal())
	}
	if !got.Empty.IsZero() || !got.Null.IsZero() || !got.Absent.IsZero() || got.Empty.String() != "" {
		t.Error("an empty secret is not zero")
	}
	if !got.Kept.IsPlaceholder() || got.Kept.Reveal() != "" {
		t.Errorf("placeholder: got %q, want nothing to be revealed", got.Kept.Reveal())
	}
	if !got.Set.Equal(keyring.NewSecret("swordfish")) || got.Set.Equal(keyring.NewSecret("x")) || got.Set.Equal(keyring.Secret{}) || !got.Null.Equal(keyring.Secret{}) {
		t.Error("Equal does not compare texts")
	}
	b, err := json.Marshal(got)
	if want := `{"Set":"[secret]","Empty":"","Null":"","Kept":"[secret]"}`; err != nil || string(b) != want {
		t.Errorf("marshal: got %s, %v, want %s", b, err, want)
	}
	err = json.Unmarshal([]byte(`{"set":["swordfish"]}`), &got)
	if err == nil || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("wrong type: got %v, want an error without the input", err)
	}
}
