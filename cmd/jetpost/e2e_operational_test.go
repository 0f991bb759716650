package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// eventsByType counts the events in all logs, those that cannot be read under no type.
func eventsByType(t *testing.T, s *server) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	for _, stored := range pages[struct{ Event struct{ Type string } }](t, s, "/v1/events") {
		counts[stored.Event.Type]++
	}
	return counts
}

// operationalEvents are the events that jetpost has published, oldest first, each as its
// event and the subscription it is about.
func operationalEvents(t *testing.T, s *server) []string {
	t.Helper()
	var all []string
	for _, stored := range pages[struct {
		Domain string
		Event  struct{ Type, Subject string }
	}](t, s, "/v1/events") {
		if stored.Domain == "jetpost" { // newest first
			all = append([]string{strings.TrimPrefix(stored.Event.Type, "jetpost.") + " " + stored.Event.Subject}, all...)
		}
	}
	return all
}

// Two observers of each other, whose receivers fail as that of a third subscription
// does: what is said comes to an end, and is exactly what is about the third, and what
// people did.
func TestObserversOfEachOther(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		w.WriteHeader(http.StatusInternalServerError)
	})
	settings := object{"delivery": withoutBreaker(retrying(0, "0s", "10ms", "10ms"))}
	await := func(id string, letters int) {
		t.Helper()
		eventually(t, id+" has its dead letters", func() bool { return len(s.letters(t, id)) >= letters })
	}
	s.subscribe(t, "one", c.URL, []string{"jetpost.*"}, settings)
	await("one", 1) // that it was created
	s.subscribe(t, "two", c.URL, []string{"jetpost.*"}, settings)
	await("one", 2)
	await("two", 1)
	s.subscribe(t, "worker", c.URL, []string{"artifact.*"}, settings)
	s.publish(t, deployed("event", "libs"))
	want := []string{"subscription.created one", "subscription.created two", "subscription.created worker", "delivery.failing worker", "delivery.exhausted worker"}
	await("one", 5)
	await("two", 4)

	// What is said now comes after all that was to be said before.
	s.call(t, http.MethodPost, "/v1/subscriptions/worker/pause", nil, nil)
	await("one", 6)
	await("two", 5)
	s.call(t, http.MethodPost, "/v1/subscriptions/worker/resume", nil, nil)
	await("one", 7)
	await("two", 6)
	if diff := cmp.Diff(append(want, "subscription.paused worker", "subscription.resumed worker"), operationalEvents(t, s)); diff != "" {
		t.Errorf("operational events (-want +got):\n%s", diff)
	}
	if one, two := len(s.letters(t, "one")), len(s.letters(t, "two")); one != 7 || two != 6 {
		t.Errorf("the observers have %d and %d dead letters, want 7 and 6", one, two)
	}
}

// The example of docs/operational-events.md. An observer receives that an endpoint is down,
// and that it is back.
func TestBreakerEventsArrive(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	ops := startCatcher(t, nil)
	down := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) { w.WriteHeader(http.StatusBadGateway) })
	s.run(t, "subscription", "create", "--id", "on-call", "--types", "jetpost.breaker.opened,jetpost.breaker.closed,jetpost.subscription.disabled",
		"--url", ops.URL+"/alerts", "--profile", "standard")
	more := withBreaker(3)
	more["labels"] = object{"team": "anvil"}
	s.subscribe(t, "hook", down.URL, []string{"artifact.*"}, more)
	for _, id := range numbered("event", 5) {
		s.publish(t, deployed(id, "libs"))
	}
	ops.waitFor(t, 1)
	s.call(t, http.MethodPost, "/v1/subscriptions/hook/pause", nil, nil) // or it may open again
	s.call(t, http.MethodPost, "/v1/subscriptions/hook/breaker/reset", nil, nil)
	ops.waitFor(t, 2)
	var event struct {
		Type string
		Data struct {
			SubscriptionID string `json:"subscription_id"`
			EndpointHost   string `json:"endpoint_host"`
			Labels         map[string]string
			Status         int
		}
	}
	if err := json.Unmarshal(ops.arrivals()[0].body, &event); err != nil {
		t.Fatal(err)
	}
	if event.Type != "jetpost.breaker.opened" || event.Data.SubscriptionID != "hook" || event.Data.Status != http.StatusBadGateway ||
		event.Data.Labels["team"] != "anvil" || "http://"+event.Data.EndpointHost != down.URL {
		t.Errorf("got %+v", event)
	}
	if out := s.run(t, "schemas", "list"); !strings.Contains(out, "jetpost") {
		t.Errorf("schemas list does not show the domain:\n%s", out)
	}
	if out := s.run(t, "events", "list", "--type", "jetpost.*"); !strings.Contains(out, "jetpost.breaker.opened") {
		t.Errorf("events does not show it:\n%s", out)
	}
}
