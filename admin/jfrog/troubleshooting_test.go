package jfrog_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	profile "github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A record has the source of the body that was sent, not that of the CloudEvent.
func TestRecordsHaveTheSourceOfTheBody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("POST", subscriptions, twoHandlers("one", "https://a.example.com/", "https://b.example.com/")).want(http.StatusCreated)
	var ids []string
	for id, sub := range s.stored() {
		ids = append(ids, id)
		if sub.Managed.Part == 1 { // as an operator of the store may set it
			if _, err := s.Store.Change(t.Context(), id, func(sub *subscription.Subscription) error {
				sub.Settings[profile.SettingSource] = "jfrog/jfds@01h9mspg5atsp402qqxm071zjv"
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	log := delivery.NewLog(s.JS, s.Layout)
	want := make(map[string]string) // by event and handler
	for _, id := range ids {
		sub := s.stored()[id]
		renderer, err := profile.Webhook{}.Prepare(sub)
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range []string{"/acme/ci", "jfrog/jfrt@01h9mspg5atsp402qqxm071zjv", "https://example.com/?q=1"} {
			event := &event.Event{ID: "event of " + source + id, Source: source, Type: "artifact.deployed", DataContentType: "application/json", Data: []byte(`{}`)}
			text, err := renderer.Render(&wire.Request{Header: http.Header{}, Delivery: &delivery.Delivery{Event: event}})
			if err != nil {
				t.Fatal(err)
			}
			var body struct{ Source string }
			if err := json.Unmarshal(text, &body); err != nil {
				t.Fatal(err)
			}
			want[event.ID] = body.Source
			failed := &delivery.Attempt{
				DeliveryID: delivery.ID(id, source, event.ID), SubscriptionID: id, Attempt: 1, Outcome: delivery.Retry, At: time.Now(), Method: http.MethodPost, URL: sub.Endpoint.URL, Status: 500,
				Event: delivery.EventRef{ID: event.ID, Source: source, Type: event.Type, Stream: "EVENTS_artifact", Sequence: 1},
			}
			if err := log.Record(t.Context(), failed, failed.DeliveryID, func(*delivery.Attempt) {}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var records []struct{ Event struct{ ID, Source string } }
	if err := json.Unmarshal([]byte(s.do("GET", "/event/api/v1/troubleshooting?subscription=one", "").want(http.StatusOK).body), &records); err != nil {
		t.Fatal(err)
	}
	if len(records) != len(want) {
		t.Errorf("there are %d records of %d attempts", len(records), len(want))
	}
	for _, r := range records {
		if r.Event.Source != want[r.Event.ID] {
			t.Errorf("%s: the record has the source %s, the body %s", r.Event.ID, r.Event.Source, want[r.Event.ID])
		}
	}
	if got := want["event of /acme/ci"+ids[0]]; len(got) != len("jfrog/jfrt@01h9mspg5atsp402qqxm071zjv") {
		t.Errorf("the body has the source %s", got)
	}
}
