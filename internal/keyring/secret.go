package keyring

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
)

// Placeholder is what every secret prints and marshals as. When it comes back in
// an update it means: keep the secret that is stored.
const Placeholder = "[secret]"

// A Secret is a text that is never shown. Whatever prints, formats, marshals
// or logs it gets Placeholder; only Reveal gives the text. The zero value is no
// secret, and shows as the empty string.
//
// The text is behind a pointer because fmt calls no methods on unexported fields:
// a Secret in one of those prints as an address.
type Secret struct {
	text *string
}

// NewSecret makes a secret of text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text. It is empty for the zero value and for a placeholder,
// so that nothing can be signed or sent with the word that stands for a secret.
func (s Secret) Reveal() string {
	if s.text == nil || s.IsPlaceholder() {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret. encoding/json asks it for omitzero.
func (s Secret) IsZero() bool { return s.text == nil }

// IsPlaceholder reports whether s only stands for a secret that is stored.
func (s Secret) IsPlaceholder() bool { return s.text != nil && *s.text == Placeholder }

// Equal compares the texts in constant time.
func (s Secret) Equal(other Secret) bool {
	if s.text == nil || other.text == nil {
		return s.text == other.text
	}
	return subtle.ConstantTimeCompare([]byte(*s.text), []byte(*other.text)) == 1
}

// String returns Placeholder, or nothing when there is no secret.
func (s Secret) String() string {
	if s.text == nil {
		return ""
	}
	return Placeholder
}

// Format prints String whatever the verb and its flags are.
func (s Secret) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte(s.String())) // fmt keeps the error
}

// MarshalText returns String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON returns String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalText makes text the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// UnmarshalJSON takes a JSON string. Its errors do not show the input.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return errors.New("must be a string")
	}
	*s = NewSecret(text)
	return nil
}
