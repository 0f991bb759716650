package subscription

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// Limits of a subscription's texts and numbers.
const (
	maxDescription = 1000 // characters
	maxTypes       = 200
	maxTypeBytes   = 255
	maxLabels      = 32
	maxLabelName   = 63  // bytes
	maxLabelValue  = 256 // characters
	maxInFlight    = 1000
	maxSenders     = 16
	maxAttempts    = 50
	minAge         = time.Minute
	maxAge         = 30 * 24 * time.Hour // how long the event logs keep events
	minTimeout     = time.Second
	maxTimeout     = 30 * time.Second // the sender's AckWait is twice that
	minRate        = 0.001
	maxRate        = 10_000.0
)

// Rules are what only the installation knows.
type Rules struct {
	// Profiles are those that there are. Nil: any name is accepted.
	Profiles []string
	// Traits are those of a profile. Nil: what depends on the profile is not
	// checked.
	Traits func(profile string) (Traits, bool)
	// Types reports whether an event type, or all types of a domain as
	// <domain>.*, exists. Nil: any is accepted.
	Types func(string) bool
}

var (
	typePattern  = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	labelPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
)

// Validate reports, in one *ValidationError, all that keeps s from being stored.
// Call SetDefaults, or for a change Inherit, before.
func (s *Subscription) Validate(rules Rules) error {
	var found validation.Problems
	if !ValidID(s.ID) {
		found.Add("id", "%q is not an id: use 1 to 63 lower-case letters, digits and dashes, a letter first and no dash last", plain.Clip(s.ID))
	}
	validateText(s.Description, "description", maxDescription, &found)
	s.validateTypes(rules, &found)
	filter.Check(s.Filters, "filters", &found)
	traits, known := s.traits(rules)
	s.Endpoint.validate(traits, &found)
	if s.Profile == "" || rules.Profiles != nil && !slices.Contains(rules.Profiles, s.Profile) {
		found.Add("profile", "%q is not a profile: use one of %s", plain.Clip(s.Profile), strings.Join(rules.Profiles, ", "))
	}
	s.validateSecrets(traits, known, &found)
	s.Delivery.validate(&found)
	s.Handshake.validate(&found)
	s.validateTemplate(&found)
	if known {
		s.validateTraits(traits, &found)
	}
	switch s.State {
	case Active, Paused, Disabled:
	default:
		found.Add("state", "%q is not a state: use %s, %s or %s", plain.Clip(string(s.State)), Active, Paused, Disabled)
	}
	validateText(s.StateReason, "state_reason", maxDescription, &found)
	s.validateLabels(&found)
	return found.Err()
}

func (s *Subscription) validateTypes(rules Rules, found *validation.Problems) {
	if len(s.Types) == 0 {
		found.Add("types", "is empty: give at least one event type, or <domain>.* for all of a domain")
	}
	if len(s.Types) > maxTypes {
		found.Add("types", "has %d entries, at most %d are allowed: use <domain>.* and filters", len(s.Types), maxTypes)
		return
	}
	seen := make(map[string]bool, len(s.Types))
	for i, t := range s.Types {
		domain, wildcard := filter.DomainWildcard(t)
		switch {
		case len(t) > maxTypeBytes:
			found.Add(validation.Index("types", i), "is longer than %d bytes", maxTypeBytes)
		case wildcard && !stream.ValidDomain(domain) && (rules.Types == nil || !rules.Types(t)): // whose caller may have more to say
			found.Add(validation.Index("types", i), "%q: what stands before .* must be the name of a domain", t)
		case !wildcard && !typePattern.MatchString(t):
			found.Add(validation.Index("types", i), "%q is not an event type: use letters, digits, _ and - in parts separated by dots, or <domain>.* for all of a domain", t)
		case seen[t]:
			found.Add(validation.Index("types", i), "%q is given twice: remove one", t)
		case rules.Types != nil && !rules.Types(t):
			found.Add(validation.Index("types", i), "there is no event type %q: use one from the catalogue", t)
		}
		seen[t] = true
	}
}

func (s *Subscription) validateSecrets(traits Traits, known bool, found *validation.Problems) {
	if len(s.Secrets) > maxOldKeys+1 {
		found.Add("secrets", "has %d entries, at most %d are allowed", len(s.Secrets), maxOldKeys+1)
		return
	}
	seen := make(map[string]bool, len(s.Secrets))
	for i, key := range s.Secrets {
		switch {
		case key.Secret.IsPlaceholder():
			found.Add(validation.Join(validation.Index("secrets", i), "secret"), "%s stands for a stored secret, and there is none with id %q: leave it out, or give the secret", keyring.Placeholder, plain.Clip(key.ID))
		case seen[key.ID]:
			found.Add(validation.Join(validation.Index("secrets", i), "id"), "%q is given twice", plain.Clip(key.ID))
		}
		seen[key.ID] = true
		validateText(key.ID, validation.Join(validation.Index("secrets", i), "id"), maxLabelName, found)
		if known && !key.Secret.IsPlaceholder() {
			if err := key.check(traits.Secrets); err != nil {
				found.Add(validation.Join(validation.Index("secrets", i), "secret"), "%s", err)
			}
		}
	}
}

func (d Delivery) validate(found *validation.Problems) {
	if d.MaxInFlight < 1 || d.MaxInFlight > maxInFlight {
		found.Add("delivery.max_in_flight", "is %d: use 1 to %d", d.MaxInFlight, maxInFlight)
	} else if d.Ordered && d.MaxInFlight != 1 {
		found.Add("delivery.max_in_flight", "is %d, but delivery.ordered has deliveries made one at a time: leave it out or write 1, or set ordered to false", d.MaxInFlight)
	}
	if d.Senders < 0 || d.Senders > maxSenders { // 0: stored before there was a choice
		found.Add("delivery.senders", "is %d: use 1 to %d", d.Senders, maxSenders)
	}
	if d.Rate != 0 && !(d.Rate >= minRate && d.Rate <= maxRate) { // as it stands, so that NaN is refused
		found.Add("delivery.rate", "is %v: use %v to %v requests per second, or leave it out for no bound", d.Rate, minRate, maxRate)
	}
	d.Breaker.validate(found)
	const schedule = "delivery.retry.schedule"
	if d.Retry == nil { // no default was filled in
		found.Add(schedule, "is missing")
		return
	}
	if len(d.Retry) > maxAttempts {
		found.Add(schedule, "has %d attempts: use 1 to %d, or [] for one attempt and no retries", len(d.Retry), maxAttempts)
		return
	}
	if len(d.Retry) > 0 && d.Retry[0] != 0 {
		found.Add(validation.Index(schedule, 0), "is %s: the first attempt is made at once, write 0s", d.Retry[0])
	}
	for i, delay := range d.Retry {
		if delay < 0 || time.Duration(delay) > maxAge {
			found.Add(validation.Index(schedule, i), "is %s: use 0s to %s", delay, Duration(maxAge))
		}
	}
	if !(d.Jitter >= 0 && d.Jitter <= 1) { // as it stands, so that NaN is refused
		found.Add("delivery.retry.jitter", "is %v: use a share from 0 to 1", d.Jitter)
		return
	}
	needed := d.Retry.total(d.Jitter)
	switch age := time.Duration(d.MaxAge); {
	case age < minAge || age > maxAge:
		found.Add("delivery.max_age", "is %s: use %s to %s", d.MaxAge, Duration(minAge), Duration(maxAge))
	case age < needed:
		found.Add("delivery.max_age", "is %s, but the retry schedule takes up to %s with its jitter: raise max_age or shorten the schedule", d.MaxAge, Duration(needed.Round(time.Second)))
	}
}

func (s *Subscription) validateLabels(found *validation.Problems) {
	if len(s.Labels) > maxLabels {
		found.Add("labels", "has %d entries, at most %d are allowed", len(s.Labels), maxLabels)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if len(name) > maxLabelName || !labelPattern.MatchString(name) {
			found.Add(validation.Join("labels", plain.Clip(name)), "is not a label name: use up to %d letters, digits, and . _ / - between them", maxLabelName)
		}
		validateText(s.Labels[name], validation.Join("labels", plain.Clip(name)), maxLabelValue, found)
	}
}

// validateText reports a text that is too long or would garble a terminal.
func validateText(text, field string, limit int, found *validation.Problems) {
	if n := utf8.RuneCountInString(text); n > limit {
		found.Add(field, "has %d characters, at most %d are allowed", n, limit)
		return
	}
	if problem := validation.TextProblem(strings.NewReplacer("\n", "", "\t", "").Replace(text)); problem != "" {
		found.Add(field, "%s", problem)
	}
}
