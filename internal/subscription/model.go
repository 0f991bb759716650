// Package subscription is the standing wish to get events: which ones, at which
// endpoint, in which form.
//
//	admin ──► Decode, Validate ──► Store ──► KV bucket ──► View ──► Snapshot ──► router, sender
//
// A Store reads and changes subscriptions by revision. A View is a live copy of
// all of them; its Snapshot says which subscriptions want an event, by the filters of
// package filter.
//
// What is saved has been checked completely: a filter that cannot be evaluated is
// refused then, and a stored record that can no longer be read matches nothing
// and is reported. Secrets are stored sealed and never shown.
package subscription

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/timestamp"
)

// A Subscription says which events go to which endpoint, and how. Its JSON is the
// form of the native API and, with the secrets sealed, that of the store.
//
// Those that a Snapshot returns are shared: Clone before changing.
type Subscription struct {
	// ID is chosen by the user or made by SetDefaults, and never changes.
	// See ValidID.
	ID string `json:"id"`
	// Description is free text, up to 1000 characters.
	Description string `json:"description,omitempty"`
	// Types are the event types wanted, 1 to 200: exact, or <domain>.* for all
	// of a domain.
	Types []string `json:"types"`
	// Filters must all match an event. None: every event of Types.
	Filters []filter.Filter `json:"filters,omitempty"`
	// Endpoint is where deliveries go.
	Endpoint Endpoint `json:"endpoint"`
	// Profile is how a delivery looks to the receiver. Default: cloudevents.
	Profile string `json:"profile"`
	// Settings are the options of the profile, by name; which there are, it says.
	Settings map[string]string `json:"settings,omitempty"`
	// Template is the text of the deliveries, where the profile lets the user write it.
	Template Template `json:"template,omitzero"`
	// Handshake is whether the receiver is asked for its consent first.
	Handshake Handshake `json:"handshake,omitzero"`
	// Secrets sign the deliveries, the newest first. Default: one is made, where
	// the profile needs one.
	Secrets []SigningKey `json:"secrets,omitempty"`
	// Delivery is how hard to try.
	Delivery Delivery `json:"delivery"`
	// State is active, paused or disabled. Default: active.
	State State `json:"state"`
	// StateReason says why the state is what it is. Set by jetpost.
	StateReason string `json:"state_reason,omitempty"`
	// Labels are the user's own, up to 32.
	Labels map[string]string `json:"labels,omitempty"`
	// Managed says which compatible API keeps the subscription. Set by that.
	Managed Managed `json:"managed,omitzero"`

	// Queue is where deliveries wait. Set by the store when the subscription is
	// created.
	Queue stream.Queue `json:"queue,omitzero"`
	// CreatedAt and UpdatedAt are set by the store.
	CreatedAt time.Time `json:"created_at,omitzero"`
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	// Revision is that of the record in the store, and changes with every change.
	Revision uint64 `json:"revision,omitempty"`
}

// An Endpoint is a URL and how to call it.
type Endpoint struct {
	// URL is http or https, without user info, query and fragment. SetDefaults
	// moves a query into Query: receivers put tokens there.
	URL string `json:"url"`
	// Query is the query string without its question mark.
	Query keyring.Secret `json:"query,omitzero"`
	// Method is POST, PUT or PATCH, or another one that the profile allows.
	// Default: POST.
	Method string `json:"method"`
	// Headers are sent with every request. SecretHeaders as well, but their
	// values are never shown. Together at most 50.
	Headers       map[string]string         `json:"headers,omitempty"`
	SecretHeaders map[string]keyring.Secret `json:"secret_headers,omitempty"`
	// Proxy is the key of the HTTP proxy that requests go through, one of those that
	// `jetpost serve --proxy` names. Default: none.
	Proxy string `json:"proxy,omitempty"`
	// Timeout bounds one request, from dialling to the end of the answer's body.
	// 1s to 30s, default 15s.
	Timeout Duration `json:"timeout"`
}

// A Template is the text of a delivery, with places for values.
type Template struct {
	// Payload is the body.
	Payload string `json:"payload,omitempty"`
	// Secrets are values for it, by name. They are never shown.
	Secrets map[string]keyring.Secret `json:"secrets,omitempty"`
}

// RequestURL is the URL to call, with its query. It must not be logged. What RFC 3986 does
// not allow in a path and a query is percent-encoded in it, for servers that refuse it; all
// else is as it was given. Signatures are of this URL, too.
func (e Endpoint) RequestURL() string {
	address := encodePath(e.URL)
	if e.Query.Reveal() == "" {
		return address
	}
	return address + "?" + percentEncode(e.Query.Reveal())
}

// RedactedURL is the URL to show: the query, if there is one, is an ellipsis.
func (e Endpoint) RedactedURL() string {
	if e.Query.IsZero() {
		return e.URL
	}
	return e.URL + "?…"
}

// Delivery is how a subscription's deliveries are made.
type Delivery struct {
	// MaxInFlight bounds the requests under way to the endpoint at one time, over
	// all senders. 1 to 1000, default 64; 1 where Ordered.
	MaxInFlight int `json:"max_in_flight"`
	// Ordered has deliveries made one after the other, in the order of their event
	// log, each only when the one before has been accepted or given up. Across
	// domains the order is that in which they were routed. Default: false, each is
	// made as soon as it can be.
	Ordered bool `json:"ordered,omitempty"`
	// Rate bounds the requests per second, over all senders. 0.001 to 10000;
	// default 0: no bound.
	Rate float64 `json:"rate,omitempty"`
	// Senders is how many senders pull at a time: more for an endpoint that takes more
	// than one process can send. 1 to 16, default 1. Read SenderCount.
	Senders  int `json:"senders,omitempty"`
	Retrying `json:"retry"`
	// MaxAge is how long after its event was stored a delivery is given up, even
	// when attempts are left. It must be as long as the retry schedule with its
	// jitter, so that the schedule is always used up first while the endpoint
	// answers. 1m to 720h (how long events are kept); default 120h, or an hour more
	// than the schedule when that is longer.
	MaxAge Duration `json:"max_age"`
	// Breaker says when deliveries are held back because the endpoint is down.
	Breaker Breaker `json:"breaker,omitzero"`
}

// SenderCount is Senders with its default, also of a record that was stored before there
// was a choice.
func (d *Delivery) SenderCount() int { return max(d.Senders, DefaultSenders) }

// Retrying is when a delivery is tried again.
type Retrying struct {
	// Retry has the delay before each attempt; the first is 0s. Empty: one attempt and
	// no retries. Default, which is nil: the ten attempts of DefaultSchedule.
	Retry Schedule `json:"schedule"`
	// Jitter is the share of a delay by which it may come out longer or shorter,
	// at random. 0 to 1, default 0.2. Where Retry is nil a 0 counts as not set.
	Jitter float64 `json:"jitter"`
}

// A Schedule is the delay before each attempt. An empty one has the first attempt,
// which needs no delay, and no other.
type Schedule []Duration

// Attempts is how many there are at most.
func (s Schedule) Attempts() int { return max(len(s), 1) }

// Before returns the delay before an attempt, counted from 1, and whether the
// schedule has that attempt.
func (s Schedule) Before(attempt int) (time.Duration, bool) {
	if attempt < 1 || attempt > s.Attempts() {
		return 0, false
	}
	if attempt > len(s) {
		return 0, true
	}
	return time.Duration(s[attempt-1]), true
}

// total is the sum of all delays, each as long as jitter can make it.
func (s Schedule) total(jitter float64) time.Duration {
	var sum float64
	for _, delay := range s {
		sum += float64(delay)
	}
	return time.Duration(sum * (1 + jitter))
}

// State is what happens to a subscription's events.
type State string

// The states.
const (
	Active   State = "active"   // events match and are delivered
	Paused   State = "paused"   // events match and wait
	Disabled State = "disabled" // events do not match
)

// Matches reports whether events are routed to a subscription in this state.
func (s State) Matches() bool { return s == Active || s == Paused }

// Duration is a time.Duration that reads and prints as "15s", "5m" or "120h".
type Duration time.Duration

// String leaves out units that are zero: 5m instead of 5m0s.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := timestamp.ParseDuration(string(text))
	switch {
	case errors.Is(err, timestamp.ErrTooLong):
		return fmt.Errorf("%q is longer than 292 years: write a shorter one", text)
	case err != nil:
		return fmt.Errorf(`%q is not a duration: write a number and its unit, such as "15s", "5m" or "2h"`, text)
	}
	*d = Duration(parsed)
	return nil
}

// UnmarshalJSON takes a string and says so when it gets anything else.
func (d *Duration) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) != nil {
		return errors.New(`must be a string with a unit, such as "15s", "5m" or "2h"`)
	}
	return d.UnmarshalText([]byte(text))
}

// Defaults of a subscription.
const (
	DefaultProfile     = "cloudevents"
	DefaultTimeout     = 15 * time.Second
	DefaultMaxInFlight = 64
	DefaultSenders     = 1
	DefaultJitter      = 0.2
	DefaultMaxAge      = 120 * time.Hour
)

// DefaultSchedule is the example schedule of Standard Webhooks: ten attempts over
// 75 hours.
func DefaultSchedule() Schedule {
	return Schedule{
		0, Duration(5 * time.Second), Duration(5 * time.Minute), Duration(30 * time.Minute),
		Duration(2 * time.Hour), Duration(5 * time.Hour), Duration(10 * time.Hour),
		Duration(14 * time.Hour), Duration(20 * time.Hour), Duration(24 * time.Hour),
	}
}

// SetDefaults fills in what the user has left out: an id, a signing key and the
// defaults that the fields document, those of a profile that signs by Standard
// Webhooks. It brings the endpoint's URL into the form in which it is stored. It
// may be called again.
func (s *Subscription) SetDefaults(now time.Time) { s.SetDefaultsOf(StandardTraits(), now) }

// SetDefaultsOf is SetDefaults for a profile of these traits.
func (s *Subscription) SetDefaultsOf(traits Traits, now time.Time) {
	s.withDefaults(traits)
	if len(s.Secrets) == 0 && traits.Secrets == SigningKeys {
		s.Secrets = []SigningKey{newSigningKeyOf(s.Settings[settingSignature], now)}
	}
	for i := range s.Secrets {
		if key := &s.Secrets[i]; key.ID == "" {
			*key = NewSigningKey(key.Secret, now)
		}
	}
}

func (s *Subscription) withDefaults(traits Traits) {
	if s.ID == "" {
		s.ID = NewID()
	}
	setDefault(&s.Profile, DefaultProfile)
	setDefault(&s.State, Active)
	setDefault(&s.Endpoint.Method, http.MethodPost)
	setDefault(&s.Endpoint.Timeout, Duration(traits.Timeout))
	if s.Delivery.Ordered {
		setDefault(&s.Delivery.MaxInFlight, 1)
	}
	setDefault(&s.Delivery.MaxInFlight, DefaultMaxInFlight)
	setDefault(&s.Delivery.Senders, DefaultSenders)
	if s.Delivery.Retry == nil { // an empty one was chosen: it means one attempt
		s.Delivery.Retry = slices.Clone(traits.Retry)
		setDefault(&s.Delivery.Jitter, traits.Jitter)
	}
	needed := s.Delivery.Retry.total(s.Delivery.Jitter) + time.Hour
	setDefault(&s.Delivery.MaxAge, Duration(max(DefaultMaxAge, needed.Round(time.Second))))
	s.Delivery.Breaker = s.Delivery.Breaker.withDefaults()
	s.Endpoint.normalise()
	s.Handshake.withDefaults()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// normalise writes scheme and host in lower case and moves the query into Query.
// What does not parse stays as it is, for Validate to report.
func (e *Endpoint) normalise() {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" {
		return
	}
	// net/url would decode all of a path that has something to be encoded, and %2F with it.
	if u, err = url.Parse(encodePath(e.URL)); err != nil {
		return
	}
	if u.RawQuery != "" && e.Query.IsZero() {
		e.Query = keyring.NewSecret(u.RawQuery)
		u.RawQuery = ""
	}
	if u.RawQuery == "" {
		u.ForceQuery = false
	}
	u.Host = strings.ToLower(u.Host) // the scheme is in lower case already
	e.URL = u.String()
}

// ValidID reports whether id can be the id of a subscription: 1 to 63 lower-case
// letters, digits and dashes, a letter first and no dash last. It becomes part of
// stream names and subjects as it is.
func ValidID(id string) bool {
	if id == "" || len(id) > 63 || id[0] < 'a' || id[0] > 'z' || id[len(id)-1] == '-' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// NewID makes an id.
func NewID() string { return "sub-" + randomText(10) }

// Clone returns a copy that shares nothing that can be changed.
func (s *Subscription) Clone() *Subscription {
	c := *s
	c.Types = slices.Clone(s.Types)
	c.Filters = slices.Clone(s.Filters) // filters are never changed in place
	c.Endpoint.Headers = maps.Clone(s.Endpoint.Headers)
	c.Endpoint.SecretHeaders = maps.Clone(s.Endpoint.SecretHeaders)
	c.Settings = maps.Clone(s.Settings)
	c.Template.Secrets = maps.Clone(s.Template.Secrets)
	c.Secrets = slices.Clone(s.Secrets)
	c.Delivery.Retry = slices.Clone(s.Delivery.Retry)
	c.Labels = maps.Clone(s.Labels)
	return &c
}

// Inherit takes from old, the subscription as it is stored, what a replacement
// cannot change (id, queue, time of creation), what it did not mention (its
// secrets, see KeepSecrets) and, while the state is the same, the reason for it.
func (s *Subscription) Inherit(old *Subscription) {
	s.ID, s.Queue, s.CreatedAt, s.Revision = old.ID, old.Queue, old.CreatedAt, old.Revision
	s.StateReason = ""
	if s.State == old.State {
		s.StateReason = old.StateReason
	}
	s.Handshake.inherit(s, old)
	s.KeepSecrets(old)
}
