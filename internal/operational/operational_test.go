package operational

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/schemas"
)

const secretText = "swordfish"

// subscriptionTo has a secret in every place that has room for one.
func subscriptionTo(types ...string) *subscription.Subscription {
	secret := keyring.NewSecret(secretText)
	return &subscription.Subscription{
		ID: "ci", Types: types, Profile: "standard", State: subscription.Active, Revision: 17, Labels: map[string]string{"team": "anvil"},
		Endpoint: subscription.Endpoint{
			URL: "https://ci.example.com:8443/" + secretText, Query: secret, SecretHeaders: map[string]keyring.Secret{"X-Key": secret},
		},
		Secrets:   []subscription.SigningKey{{ID: "key_1", Secret: secret}},
		Template:  subscription.Template{Secrets: map[string]keyring.Secret{"key": secret}},
		Delivery:  subscription.Delivery{Retrying: subscription.Retrying{Retry: subscription.DefaultSchedule()}},
		CreatedAt: time.UnixMilli(1_770_000_000_000),
	}
}

func someDelivery(eventType string) *delivery.Delivery {
	e := &event.Event{ID: "1", Source: "/git/widgets", Type: eventType, Subject: "main", Data: []byte(`{"secret":"` + secretText + `"}`)}
	return &delivery.Delivery{
		ID: delivery.ID("ci", e.Source, e.ID), SubscriptionID: "ci", Event: e, Origin: delivery.Origin("EVENTS_git", 42, time.Unix(1_770_000_000, 42), "ci"), Attempt: 3,
	}
}

// everything is an event of each type, some of them with all fields and some with
// none that may be missing.
func everything(sub *subscription.Subscription, d *delivery.Delivery) []Event {
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	next := now.Add(time.Minute)
	bare := subscriptionTo("git.push")
	bare.Labels = nil
	as := func(state subscription.State, reason string) *subscription.Subscription {
		changed := sub.Clone()
		changed.State, changed.StateReason, changed.Revision = state, reason, 18
		return changed
	}
	changed := sub.Clone()
	changed.Secrets, changed.Endpoint.URL, changed.Revision = nil, "https://example.com", 18
	opened := breaker.Record{}.Trip(now, breaker.TargetOf(sub), "10 requests in a row have failed", 10, breaker.Cause{Status: 503}, breaker.Timing{})
	silentlyOpened := breaker.Record{}.Trip(now, breaker.TargetOf(sub), "half of them have failed", 3, breaker.Cause{Error: strings.Repeat("ü", 500)}, breaker.Timing{})
	closed := opened.Close(next, "the endpoint is up again")
	events := []Event{
		Created(sub, Admin), Created(bare, Admin),
		Deleted(sub, 3, Admin), Deleted(&subscription.Subscription{ID: "ci", Revision: 3}, 0, Admin),
		Disabled(subscription.Active, as(subscription.Disabled, "receiver answered 410 Gone")),
		Failing(sub, d, &delivery.Attempt{Attempt: 3, Status: 503, Error: "busy", NextAttempt: &next}),
		Failing(sub, d, &delivery.Attempt{Attempt: 3, NextAttempt: &next}),
		GivenUp(sub, d, delivery.ReasonExpired, 0, nil),
		Opened(sub, &opened), Opened(sub, &silentlyOpened), Closed(sub, &opened, &closed, Itself),
		Overflowed(sub, Overflow{Count: 2, Since: now, Until: next, First: d, Last: d}),
		OverBudget(sub, Overflow{Count: 1, Since: now, Until: now, First: d, Last: d}),
		Lagging(sub, Backlog{Episode: "3@2026-03-01T12:00:00Z", Waiting: 7, Oldest: now, Age: time.Hour, Limit: time.Minute, Breaker: subscription.BreakerOff}),
		ResetQueue(sub, ConsumerReset{Stream: "DELIVERIES_ci", Consumer: "sender", Stood: 200, Last: 100, From: 1, Created: now}),
		StorageLost(Loss{Stream: "DELIVERIES_ci", Kind: "went_back", Detail: "it ends with message 3", Was: 5, Now: 3, Count: 2, Found: now}),
	}
	for _, reason := range delivery.Reasons() {
		switch reason {
		case delivery.ReasonOverflow, delivery.ReasonMatchBudget: // see Overflowed and OverBudget
		case delivery.ReasonUnreadable: // those have no subscription
		case delivery.ReasonExhausted, delivery.ReasonRejected, delivery.ReasonGone, delivery.ReasonExpired:
			events = append(events, GivenUp(sub, d, reason, 10, &delivery.Attempt{Status: 500, Error: "no"}))
		}
	}
	events = append(events, Changed(sub, as(subscription.Paused, ""), Admin)...)
	events = append(events, Changed(sub, as(subscription.Paused, "lunch"), Admin)...)
	events = append(events, stateChanged(subscription.Disabled, as(subscription.Active, "lunch is over"), Admin))
	events = append(events, Changed(as(subscription.Paused, ""), as(subscription.Active, ""), Admin)...)
	return append(events, Changed(sub, changed, Admin)...)
}

// Every event fits its schema, names its subscription, and has no secret in it; there
// is one for each type of the catalogue.
func TestEventsFitTheirSchemas(t *testing.T) {
	t.Parallel()
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	layout, err := stream.NewLayout(stream.LayoutConfig{Prefix: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, e := range everything(subscriptionTo("git.push"), someDelivery("git.push")) {
		ce, err := e.cloudEvent(layout)
		if err != nil {
			t.Fatal(err)
		}
		if err := ce.Validate(); err != nil {
			t.Errorf("%s: %v", ce.Type, err)
		}
		if err := catalogue.Validate(ce); err != nil {
			t.Errorf("%s: %v\n%s", ce.Type, err, ce.Data)
		}
		if ce.Source != "/jetpost/acme" || ce.Subject != "ci" && e.kind != storageLost || ce.Time == "" {
			t.Errorf("%s: got %+v", ce.Type, ce)
		}
		if strings.Contains(string(ce.Data), secretText) {
			t.Errorf("%s has a secret: %s", ce.Type, ce.Data)
		}
		kinds[ce.Type] = true
	}
	domain, _ := catalogue.Domain(stream.OperationalDomain)
	for _, typ := range domain.Types {
		if !kinds[typ.Name] {
			t.Errorf("no event of type %s was made", typ.Name)
		}
		// The schema has no field that no event has, and the example is like an event.
		var schema struct{ Properties map[string]any }
		var example map[string]any
		if json.Unmarshal(typ.Schema, &schema) != nil || json.Unmarshal(typ.Examples[0].Data, &example) != nil {
			t.Fatal("not JSON")
		}
		for name := range example {
			if schema.Properties[name] == nil {
				t.Errorf("%s: the example has %s, which the schema does not describe", typ.Name, name)
			}
		}
	}
}

// Every field of every event is described.
func TestFieldsAreDescribed(t *testing.T) {
	t.Parallel()
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]map[string]bool{}
	for _, e := range everything(subscriptionTo("git.push"), someDelivery("git.push")) {
		text, err := json.Marshal(e.data)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		name := typePrefix + e.kind
		if seen[name] == nil {
			seen[name] = map[string]bool{}
		}
		for field := range fields {
			seen[name][field] = true
		}
	}
	for name, fields := range seen {
		typ, err := catalogue.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		var schema struct{ Properties map[string]any }
		if err := json.Unmarshal(typ.Schema, &schema); err != nil {
			t.Fatal(err)
		}
		described := map[string]bool{}
		for field := range schema.Properties {
			described[field] = true
		}
		if diff := cmp.Diff(described, fields); diff != "" {
			t.Errorf("%s: fields (-described +made):\n%s", name, diff)
		}
	}
}

// An observer's deliveries are not spoken of, nor are deliveries of operational
// events to anybody else. What people do to observers is.
func TestNothingAboutObservers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		sub       *subscription.Subscription
		d         *delivery.Delivery
		forbidden []string
	}{
		{"of all", subscriptionTo("jetpost.*"), someDelivery("git.push"), []string{"delivery.", "breaker.", "queue.", "backlog."}},
		{"of one type among others", subscriptionTo("git.*", "jetpost.breaker.opened"), someDelivery("git.push"), []string{"delivery.", "breaker.", "queue.", "backlog."}},
		{"no longer", subscriptionTo("git.*"), someDelivery("jetpost.breaker.opened"), []string{"delivery."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			kinds := map[string]bool{}
			for _, e := range everything(tt.sub, tt.d) {
				kinds[e.kind] = true
				for _, forbidden := range tt.forbidden {
					if strings.HasPrefix(e.kind, forbidden) {
						t.Errorf("there is an event %s", e.kind)
					}
				}
			}
			if !kinds[subscriptionCreated] || !kinds[subscriptionDisabled] || !kinds[subscriptionUpdated] {
				t.Errorf("only %v", kinds)
			}
		})
	}
	for _, types := range [][]string{{"git.*"}, {"jetpostal.sent"}, {"orders.jetpost.created"}} {
		if Observes(subscriptionTo(types...)) {
			t.Errorf("%v makes an observer", types)
		}
	}
}

// The same fact has the same id in every process, and another fact another one.
func TestIDsAreOfFacts(t *testing.T) {
	t.Parallel()
	layout, err := stream.NewLayout(stream.LayoutConfig{})
	if err != nil {
		t.Fatal(err)
	}
	id := func(e Event) string {
		ce, err := e.cloudEvent(layout)
		if err != nil {
			t.Fatal(err)
		}
		return ce.ID
	}
	sub, d := subscriptionTo("git.push"), someDelivery("git.push")
	again, later := sub.Clone(), sub.Clone()
	later.Revision++
	next := time.Now()
	failed := &delivery.Attempt{Attempt: 3, NextAttempt: &next}
	redriven := *d
	redriven.Redrive = delivery.Redrive{DeadLetter: 9, Before: 10, At: time.Unix(3, 0)}
	was := breaker.Record{}.Trip(time.Unix(1, 0), "x", "", 1, breaker.Cause{}, breaker.Timing{})
	other := breaker.Record{}.Trip(time.Unix(2, 0), "x", "", 1, breaker.Cause{}, breaker.Timing{})
	for _, tt := range []struct {
		name               string
		one, same, another Event
	}{
		{"created", Created(sub, Admin), Created(again, Admin), Created(later, Admin)},
		{"failing", Failing(sub, d, failed), Failing(again, d, &delivery.Attempt{Attempt: 4, NextAttempt: &next}), Failing(sub, &redriven, failed)},
		{"given up", GivenUp(sub, d, delivery.ReasonExhausted, 10, nil), GivenUp(later, d, delivery.ReasonExhausted, 10, failed), GivenUp(sub, &redriven, delivery.ReasonExhausted, 20, nil)},
		{"opened", Opened(sub, &was), Opened(later, &was), Opened(sub, &other)},
	} {
		if id(tt.one) != id(tt.same) || id(tt.one) == id(tt.another) {
			t.Errorf("%s: ids %s, %s and %s", tt.name, id(tt.one), id(tt.same), id(tt.another))
		}
	}
}

// One about no subscription names the stream.
func TestConsumerReset(t *testing.T) {
	t.Parallel()
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	layout, err := stream.NewLayout(stream.LayoutConfig{})
	if err != nil {
		t.Fatal(err)
	}
	e := Reset(ConsumerReset{Stream: "EVENTS_git", Consumer: "router", Stood: 2100, From: 1, Created: time.UnixMilli(5)})
	ce, err := e.cloudEvent(layout)
	if err != nil {
		t.Fatal(err)
	}
	if err := catalogue.Validate(ce); err != nil {
		t.Error(err)
	}
	const data = `{"stream":"EVENTS_git","consumer":"router","stood":2100,"last":0,"from":1}`
	if ce.Subject != "EVENTS_git" || ce.ID != "consumer.reset/EVENTS_git@5/2100/1" || string(ce.Data) != data {
		t.Errorf("got %s about %s: %s", ce.ID, ce.Subject, ce.Data)
	}
}

func TestFailingAt(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]int{1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 10: 3} {
		sub := subscriptionTo("git.push")
		sub.Delivery.Retry = slices.Repeat(subscription.Schedule{0}, attempts)
		if got := FailingAt(sub); got != want {
			t.Errorf("with %d attempts: %d, want %d", attempts, got, want)
		}
	}
}
