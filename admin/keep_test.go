package admin

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A subscription that a compatible API keeps: others see it and may change what that
// API knows nothing of; what was sent to it is stored and never shown.
func TestManagedSubscription(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sub := &subscription.Subscription{
		ID: "theirs", Types: []string{"git.push"}, Endpoint: subscription.Endpoint{URL: "http://127.0.0.1:9000/"},
		Managed: subscription.Managed{By: subscription.ManagedByJFrog, Name: "Their_Key", Document: keyring.NewSecret("swordfish")},
	}
	if _, err := f.admin.keep.Create(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	const path = "/v1/subscriptions/theirs"
	if shown := string(f.do("GET", path, "").want(http.StatusOK).body); strings.Contains(shown, "swordfish") || !strings.Contains(shown, `"name":"Their_Key"`) {
		t.Errorf("it is shown as %s", shown)
	}
	f.do("PATCH", path, `{"delivery":{"rate":5},"labels":{"team":"anvil"},"managed":{"by":"unknown"}}`).want(http.StatusOK)
	f.do("PATCH", path, `{"endpoint":{"url":"http://127.0.0.1:9000/other"}}`).want(http.StatusUnprocessableEntity)
	f.do("PATCH", path, `{"managed":null,"types":["git.*"]}`).want(http.StatusUnprocessableEntity)
	f.do("POST", path+"/rotate-secret", "").want(http.StatusConflict)
	f.do("POST", path+"/pause", "").want(http.StatusOK)
	f.do("DELETE", path, "").want(http.StatusConflict)

	found, err := f.admin.keep.Find(t.Context(), "theirs")
	if err != nil {
		t.Fatal(err)
	}
	if m := found.Managed; m.By != subscription.ManagedByJFrog || m.Document.Reveal() != "swordfish" || found.Delivery.Rate != 5 || found.State != subscription.Paused {
		t.Errorf("it is stored as %+v", found)
	}
	if record, err := f.nats.JS().KeyValue(t.Context(), f.layout.SubscriptionsBucket()); err != nil {
		t.Fatal(err)
	} else if entry, err := record.Get(t.Context(), "theirs"); err != nil || strings.Contains(string(entry.Value()), "swordfish") {
		t.Errorf("its record is %v, %v", entry, err)
	}
	rename := func(sub *subscription.Subscription) (*subscription.Subscription, error) {
		sub.Managed.Name = "Other_Key"
		return sub, nil
	}
	if _, err := f.admin.keep.Change(t.Context(), subscription.ManagedBySecureSourceManager, "theirs", rename); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("another API changes it: %v", err)
	}
	if _, err := f.admin.keep.Remove(t.Context(), subscription.ManagedBySecureSourceManager, "theirs", ""); !errors.Is(err, subscription.ErrNotFound) {
		t.Errorf("another API deletes it: %v", err)
	}
	if changed, err := f.admin.keep.Change(t.Context(), subscription.ManagedByJFrog, "theirs", rename); err != nil || changed.Managed.Name != "Other_Key" {
		t.Errorf("its own API gets %+v, %v", changed, err)
	}
	if _, err := f.admin.keep.Remove(t.Context(), subscription.ManagedByJFrog, "theirs", ""); err != nil {
		t.Error(err)
	}
	f.do("GET", path, "").want(http.StatusNotFound)
}
