package subscriptions

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/input"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription"
)

// profileFields are the flags of what a profile lets the user say, and of what the
// receiver is asked.
type profileFields struct {
	Setting        map[string]string `env:"-" mapsep:"none" group:"Profile" placeholder:"NAME=VALUE" help:"An option of the profile (${settings}). Can be repeated."`
	Template       string            `env:"-" group:"Profile" placeholder:"FILE" help:"The text of the deliveries, with places for values, where the profile lets you write it. - is standard input."`
	TemplateSecret []string          `env:"-" sep:"none" group:"Profile" placeholder:"NAME=VALUE" help:"A value for the template that is never shown. A value @FILE is read from a file. Can be repeated."`
	Method         string            `env:"-" group:"Requests" placeholder:"METHOD" help:"POST (default), PUT, PATCH, or another one that the profile allows."`
	Rate           *float64          `env:"-" group:"Requests" placeholder:"N" help:"Requests per second, over all senders together: 0.001 to 10000. 0: no bound, the default."`
	Handshake      string            `env:"-" enum:",off,preferred,required" default:"" group:"Handshake" placeholder:"MODE" help:"Ask the receiver for its consent first, by OPTIONS (CloudEvents Web Hooks). off, the default; preferred: ask, and deliver whatever it answers; required: deliveries wait for its consent."`
	HandshakeRate  *int              `env:"-" group:"Handshake" placeholder:"N" help:"How many requests per minute the receiver is asked to allow, 1 to 600000. What it allows is kept. 0: none is asked for, the default."`
}

// setFields puts what is given into the JSON of a subscription.
func (f *profileFields) setFields(body map[string]any, stdin io.Reader) error {
	merge := func(field string, values map[string]any) {
		object := member(body, field)
		maps.Copy(object, values)
		set(body, field, object, len(values) > 0)
	}
	settings := map[string]any{}
	for name, value := range f.Setting {
		settings[name] = value
	}
	merge("settings", settings)

	template := map[string]any{}
	if f.Template != "" {
		text, err := input.Text(f.Template, stdin)
		if err != nil {
			return fmt.Errorf("--template: %w", err)
		}
		template["payload"] = string(plain.Lines(text))
	}
	if len(f.TemplateSecret) > 0 {
		secrets := member(member(body, "template"), "secrets")
		for _, pair := range f.TemplateSecret {
			name, value, err := secretPair("template-secret", pair)
			if err != nil {
				return err
			}
			secrets[name] = value
		}
		template["secrets"] = secrets
	}
	merge("template", template)

	handshake := map[string]any{}
	set(handshake, "mode", f.Handshake, f.Handshake != "")
	if f.HandshakeRate != nil {
		handshake["rate"] = *f.HandshakeRate
	}
	merge("handshake", handshake)
	if f.Method != "" {
		merge("endpoint", map[string]any{"method": strings.ToUpper(f.Method)})
	}
	if f.Rate != nil {
		merge("delivery", map[string]any{"rate": *f.Rate})
	}
	return nil
}

// secretPair splits NAME=VALUE and reads a value @FILE. Errors do not show it: it may
// be a secret.
func secretPair(flag, pair string) (name, value string, err error) {
	name, value, ok := strings.Cut(pair, "=")
	if !ok || name == "" {
		return "", "", fmt.Errorf("--%s: write NAME=VALUE", flag)
	}
	value, err = input.Secret("--"+flag+" "+name, value)
	return name, value, err
}

// profileLines are what "get" shows of these fields: labels and texts, empty where
// there is nothing to say.
func profileLines(s *v1.Subscription) []string {
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		settings = append(settings, name+"="+s.Settings[name])
	}
	template := ""
	if s.Template.Payload != "" {
		template = strconv.Itoa(len(s.Template.Payload)) + " bytes"
	}
	if names := slices.Sorted(maps.Keys(s.Template.Secrets)); len(names) > 0 {
		template = strings.TrimPrefix(template+", secrets "+strings.Join(names, " "), ", ")
	}
	rate := ""
	if s.Delivery.Rate > 0 {
		rate = perSecond(s.Delivery.Rate)
	}
	if effective := requestRate(s); effective != s.Delivery.Rate {
		rate = strings.TrimSpace(perSecond(effective) + ", as the receiver allows")
	}
	return []string{
		"settings", strings.Join(settings, ", "), "template", template, "rate", rate, "handshake", handshakeLine(&s.Handshake),
	}
}

// requestRate is how many requests per second there may be, by the subscription and by
// what the receiver allows. 0: as many as there are.
func requestRate(s *v1.Subscription) float64 {
	limit := s.Delivery.Rate
	if allowed := float64(s.Handshake.AllowedRate) / 60; s.Handshake.Consent == v1.Allowed && allowed > 0 && (limit == 0 || allowed < limit) {
		limit = allowed
	}
	return limit
}

func perSecond(rate float64) string {
	return "at most " + strconv.FormatFloat(rate, 'g', 4, 64) + " requests per second"
}

// handshakeLine says where a handshake stands.
func handshakeLine(h *v1.Handshake) string {
	if h.Mode == "" || h.Mode == subscription.HandshakeOff {
		return ""
	}
	line := h.Mode + ", " + string(h.Consent)
	if h.Consent == v1.Allowed && h.Origin != "" {
		line += " for " + h.Origin
	}
	if !h.CheckedAt.IsZero() {
		line += " at " + output.Clock(h.CheckedAt)
	}
	if h.Reason != "" {
		line += ": " + h.Reason
	}
	return line
}
