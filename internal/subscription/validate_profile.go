package subscription

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Limits of what a profile is given (JFrog Platform: 51,200 bytes of payload, 50
// secrets of 5,120 bytes).
const (
	maxPayload         = 51_200
	maxTemplateSecrets = 50
	maxSecretBytes     = 5_120
	maxSettings        = 32
	maxSettingBytes    = 2_048
)

var templateSecretPattern = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// traits are those of the subscription's profile, if the rules know it; otherwise
// those that allow the most.
func (s *Subscription) traits(rules Rules) (traits Traits, known bool) {
	if rules.Traits != nil {
		traits, known = rules.Traits(s.Profile)
	}
	if !known {
		traits.Methods = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete}
		traits.Headers, traits.HeaderText = []string{"Content-Type"}, true
	}
	return traits, known
}

func (s *Subscription) validateTemplate(found *validation.Problems) {
	if len(s.Template.Payload) > maxPayload {
		found.Add("template.payload", "has %d bytes, at most %d are allowed", len(s.Template.Payload), maxPayload)
	}
	const field = "template.secrets"
	if len(s.Template.Secrets) > maxTemplateSecrets {
		found.Add(field, "has %d entries, at most %d are allowed", len(s.Template.Secrets), maxTemplateSecrets)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Template.Secrets)) {
		switch secret := s.Template.Secrets[name]; {
		case len(name) > maxLabelName || !templateSecretPattern.MatchString(name):
			found.Add(validation.Join(field, plain.Clip(name)), "is not a name: use letters, digits and underscores, no digit first")
		case secret.IsPlaceholder():
			found.Add(validation.Join(field, plain.Clip(name)), "%s stands for a stored secret, and there is none of this name: give the secret", keyring.Placeholder)
		case len(secret.Reveal()) > maxSecretBytes:
			found.Add(validation.Join(field, plain.Clip(name)), "is longer than %d bytes", maxSecretBytes)
		}
	}
}

// validateTraits reports what the profile has no place for.
func (s *Subscription) validateTraits(traits Traits, found *validation.Problems) {
	if len(s.Settings) > maxSettings {
		found.Add("settings", "has %d entries, at most %d are allowed", len(s.Settings), maxSettings)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		switch {
		case !slices.Contains(traits.Settings, name) && len(traits.Settings) == 0:
			found.Add(validation.Join("settings", plain.Clip(name)), "is not known: the profile %s has no settings", s.Profile)
		case !slices.Contains(traits.Settings, name):
			found.Add(validation.Join("settings", plain.Clip(name)), "is not known: the settings of the profile %s are %s", s.Profile, strings.Join(traits.Settings, ", "))
		default:
			validateText(s.Settings[name], validation.Join("settings", name), maxSettingBytes, found)
		}
	}
	if !traits.Template && (s.Template.Payload != "" || len(s.Template.Secrets) > 0) {
		found.Add("template", "has no place in the profile %s", s.Profile)
	}
	if traits.Secrets == SigningKeys {
		switch s.Settings[settingSignature] {
		case "", SignatureV1, SignatureV1a:
		default:
			found.Add(validation.Join("settings", settingSignature), "%q is not a scheme: use %s (HMAC-SHA256) or %s (Ed25519)", plain.Clip(s.Settings[settingSignature]), SignatureV1, SignatureV1a)
		}
	}
	if traits.Check != nil {
		for _, p := range traits.Check(s) {
			found.Add(p.Field, "%s", p.Message)
		}
	}
}
