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

// domainWildcard returns the domain of a type of the form <domain>.*.
func domainWildcard(eventType string) (domain string, ok bool) {
	return strings.CutSuffix(eventType, ".*")
}

// Validate reports, in one *ValidationError, all that keeps s from being stored.
// Call SetDefaults, or for a change Inherit, before.
func (s *Subscription) Validate(rules Rules) error {
	var found problems
	if !ValidID(s.ID) {
		found.add("id", "%q is not an id: use 1 to 63 lower-case letters, digits and dashes, a letter first and no dash last", plain.Clip(s.ID))
	}
	validateText(s.Description, "description", maxDescription, &found)
	s.validateTypes(rules, &found)
	s.validateFilters(&found)
	traits, known := s.traits(rules)
	s.Endpoint.validate(traits, &found)
	if s.Profile == "" || rules.Profiles != nil && !slices.Contains(rules.Profiles, s.Profile) {
		found.add("profile", "%q is not a profile: use one of %s", plain.Clip(s.Profile), strings.Join(rules.Profiles, ", "))
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
		found.add("state", "%q is not a state: use %s, %s or %s", plain.Clip(string(s.State)), Active, Paused, Disabled)
	}
	validateText(s.StateReason, "state_reason", maxDescription, &found)
	s.validateLabels(&found)
	return found.err()
}

func (s *Subscription) validateTypes(rules Rules, found *problems) {
	if len(s.Types) == 0 {
		found.add("types", "is empty: give at least one event type, or <domain>.* for all of a domain")
	}
	if len(s.Types) > maxTypes {
		found.add("types", "has %d entries, at most %d are allowed: use <domain>.* and filters", len(s.Types), maxTypes)
		return
	}
	seen := make(map[string]bool, len(s.Types))
	for i, t := range s.Types {
		domain, wildcard := domainWildcard(t)
		switch {
		case len(t) > maxTypeBytes:
			found.add(index("types", i), "is longer than %d bytes", maxTypeBytes)
		case wildcard && !stream.ValidDomain(domain) && (rules.Types == nil || !rules.Types(t)): // whose caller may have more to say
			found.add(index("types", i), "%q: what stands before .* must be the name of a domain", t)
		case !wildcard && !typePattern.MatchString(t):
			found.add(index("types", i), "%q is not an event type: use letters, digits, _ and - in parts separated by dots, or <domain>.* for all of a domain", t)
		case seen[t]:
			found.add(index("types", i), "%q is given twice: remove one", t)
		case rules.Types != nil && !rules.Types(t):
			found.add(index("types", i), "there is no event type %q: use one from the catalogue", t)
		}
		seen[t] = true
	}
}

func (s *Subscription) validateFilters(found *problems) {
	var nodes int
	for i := range s.Filters {
		nodes += s.Filters[i].nodes()
		s.Filters[i].check(index("filters", i), 1, found)
	}
	if nodes > maxFilterNodes {
		found.add("filters", "have %d filters and entries in all, at most %d are allowed: split them into several subscriptions", nodes, maxFilterNodes)
	}
}

func (s *Subscription) validateSecrets(traits Traits, known bool, found *problems) {
	if len(s.Secrets) > maxOldKeys+1 {
		found.add("secrets", "has %d entries, at most %d are allowed", len(s.Secrets), maxOldKeys+1)
		return
	}
	seen := make(map[string]bool, len(s.Secrets))
	for i, key := range s.Secrets {
		switch {
		case key.Secret.IsPlaceholder():
			found.add(join(index("secrets", i), "secret"), "%s stands for a stored secret, and there is none with id %q: leave it out, or give the secret", keyring.Placeholder, plain.Clip(key.ID))
		case seen[key.ID]:
			found.add(join(index("secrets", i), "id"), "%q is given twice", plain.Clip(key.ID))
		}
		seen[key.ID] = true
		validateText(key.ID, join(index("secrets", i), "id"), maxLabelName, found)
		if known && !key.Secret.IsPlaceholder() {
			if err := key.check(traits.Secrets); err != nil {
				found.add(join(index("secrets", i), "secret"), "%s", err)
			}
		}
	}
}

func (d Delivery) validate(found *problems) {
	if d.MaxInFlight < 1 || d.MaxInFlight > maxInFlight {
		found.add("delivery.max_in_flight", "is %d: use 1 to %d", d.MaxInFlight, maxInFlight)
	} else if d.Ordered && d.MaxInFlight != 1 {
		found.add("delivery.max_in_flight", "is %d, but delivery.ordered has deliveries made one at a time: leave it out or write 1, or set ordered to false", d.MaxInFlight)
	}
	if d.Senders < 0 || d.Senders > maxSenders { // 0: stored before there was a choice
		found.add("delivery.senders", "is %d: use 1 to %d", d.Senders, maxSenders)
	}
	if d.Rate != 0 && !(d.Rate >= minRate && d.Rate <= maxRate) { // as it stands, so that NaN is refused
		found.add("delivery.rate", "is %v: use %v to %v requests per second, or leave it out for no bound", d.Rate, minRate, maxRate)
	}
	d.Breaker.validate(found)
	const schedule = "delivery.retry.schedule"
	if d.Retry == nil { // no default was filled in
		found.add(schedule, "is missing")
		return
	}
	if len(d.Retry) > maxAttempts {
		found.add(schedule, "has %d attempts: use 1 to %d, or [] for one attempt and no retries", len(d.Retry), maxAttempts)
		return
	}
	if len(d.Retry) > 0 && d.Retry[0] != 0 {
		found.add(index(schedule, 0), "is %s: the first attempt is made at once, write 0s", d.Retry[0])
	}
	for i, delay := range d.Retry {
		if delay < 0 || time.Duration(delay) > maxAge {
			found.add(index(schedule, i), "is %s: use 0s to %s", delay, Duration(maxAge))
		}
	}
	if !(d.Jitter >= 0 && d.Jitter <= 1) { // as it stands, so that NaN is refused
		found.add("delivery.retry.jitter", "is %v: use a share from 0 to 1", d.Jitter)
		return
	}
	needed := d.Retry.total(d.Jitter)
	switch age := time.Duration(d.MaxAge); {
	case age < minAge || age > maxAge:
		found.add("delivery.max_age", "is %s: use %s to %s", d.MaxAge, Duration(minAge), Duration(maxAge))
	case age < needed:
		found.add("delivery.max_age", "is %s, but the retry schedule takes up to %s with its jitter: raise max_age or shorten the schedule", d.MaxAge, Duration(needed.Round(time.Second)))
	}
}

func (s *Subscription) validateLabels(found *problems) {
	if len(s.Labels) > maxLabels {
		found.add("labels", "has %d entries, at most %d are allowed", len(s.Labels), maxLabels)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if len(name) > maxLabelName || !labelPattern.MatchString(name) {
			found.add(join("labels", plain.Clip(name)), "is not a label name: use up to %d letters, digits, and . _ / - between them", maxLabelName)
		}
		validateText(s.Labels[name], join("labels", plain.Clip(name)), maxLabelValue, found)
	}
}

// validateText reports a text that is too long or would garble a terminal.
func validateText(text, field string, limit int, found *problems) {
	if n := utf8.RuneCountInString(text); n > limit {
		found.add(field, "has %d characters, at most %d are allowed", n, limit)
		return
	}
	if problem := textProblem(strings.NewReplacer("\n", "", "\t", "").Replace(text)); problem != "" {
		found.add(field, "%s", problem)
	}
}
