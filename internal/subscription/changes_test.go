package subscription_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

func changeable() *subscription.Subscription {
	return &subscription.Subscription{
		ID: "ci", Types: []string{"git.push"}, Filters: []filter.Filter{filter.Exact(map[string]string{"subject": "main"})},
		Endpoint: subscription.Endpoint{
			URL: "https://ci.example.com/hook", Query: keyring.NewSecret("token=1"), Method: "POST",
			Headers: map[string]string{"X-A": "1"}, SecretHeaders: map[string]keyring.Secret{"X-B": keyring.NewSecret("2")},
		},
		Profile: "standard", Secrets: []subscription.SigningKey{{ID: "key_1", Secret: keyring.NewSecret("whsec_1")}},
		Handshake: subscription.Handshake{Mode: subscription.HandshakeRequired, Consent: subscription.Pending},
		Delivery:  subscription.Delivery{MaxInFlight: 1, Retrying: subscription.Retrying{Retry: subscription.Schedule{0}}},
		State:     subscription.Active, Labels: map[string]string{"team": "anvil"}, Revision: 1,
	}
}

func TestChanges(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*subscription.Subscription)
		want   string
	}{
		{"nothing", func(*subscription.Subscription) {}, ""},
		{"what the store sets", func(s *subscription.Subscription) { s.Revision, s.UpdatedAt = 2, time.Now() }, ""},
		{"the state, and why", func(s *subscription.Subscription) { s.State, s.StateReason = subscription.Paused, "lunch" }, ""},
		{"why the state is what it is", func(s *subscription.Subscription) { s.StateReason = "lunch" }, "state_reason"},
		{"what a receiver has answered", func(s *subscription.Subscription) {
			s.Handshake.Allow("120", "it has called back", time.Now())
		}, ""},
		{"whether it is asked", func(s *subscription.Subscription) { s.Handshake.Mode = subscription.HandshakePreferred }, "handshake.mode"},
		{"empty instead of missing", func(s *subscription.Subscription) { s.Settings = map[string]string{} }, ""},
		{"an equal secret", func(s *subscription.Subscription) {
			s.Endpoint.Query = keyring.NewSecret("token=1")
			s.Endpoint.SecretHeaders = map[string]keyring.Secret{"X-B": keyring.NewSecret("2")}
			s.Secrets = []subscription.SigningKey{{ID: "key_1", Secret: keyring.NewSecret("whsec_1")}}
			s.Filters = []filter.Filter{filter.Exact(map[string]string{"subject": "main"})}
		}, ""},
		{"a secret query", func(s *subscription.Subscription) { s.Endpoint.Query = keyring.NewSecret("token=2") }, "endpoint.query"},
		{"a secret header", func(s *subscription.Subscription) {
			s.Endpoint.SecretHeaders = map[string]keyring.Secret{"X-B": keyring.NewSecret("3")}
		}, "endpoint.secret_headers"},
		{"an old secret ends", func(s *subscription.Subscription) { now := time.Now(); s.Secrets[0].ExpiresAt = &now }, "secrets"},
		{"filters", func(s *subscription.Subscription) { s.Filters = nil }, "filters"},
		{"much", func(s *subscription.Subscription) {
			s.Types, s.Endpoint.URL, s.Description = []string{"git.*"}, "https://example.com", "new"
			s.Delivery.Retry, s.Delivery.Breaker.Failures, s.Template.Payload = subscription.Schedule{0, 1}, 3, "{}"
		}, "delivery.breaker.failures delivery.retry.schedule description endpoint.url template.payload types"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			before, after := changeable(), changeable()
			tt.change(after)
			got := subscription.Changes(before, after)
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if back := subscription.Changes(after, before); !slices.Equal(got, back) {
				t.Errorf("the other way round %v has changed", back)
			}
		})
	}
}
