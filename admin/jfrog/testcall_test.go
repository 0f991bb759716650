package jfrog_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/jetpost/jetpost/admin/jfrog"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

// Without a sender a test fails within its bound, and leaves nothing behind.
func TestTestCallWithoutSender(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *jfrog.Config) { c.TestTimeout = time.Second })
	streams := func() (n int) {
		for range s.JS.StreamNames(t.Context()).Name() {
			n++
		}
		return n
	}
	before := streams()
	two := twoHandlers("test", "https://a.example.com/", "https://b.example.com/")
	s.do("POST", subscriptions+"/test", two).want(http.StatusOK).
		is(`{"result":"failure","message":"handlers[0]: no sender has made the request in time"}`)
	if len(s.stored()) != 0 {
		t.Errorf("there are %v", s.stored())
	}
	if now := streams(); now != before {
		t.Errorf("there are %d streams, and were %d", now, before)
	}
	s.do("POST", subscriptions+"/test", twoHandlers("test", "https://a.example.com/", "https://10.0.0.1/")).want(http.StatusBadRequest).
		says("Validation Error - unable to validate subscription")
	s.do("POST", subscriptions+"/test", twoHandlers("test", "https://10.0.0.1/", "https://a.example.com/")).want(http.StatusBadRequest).
		says("Validation Error - unable to validate subscription")
}

// What a process that was killed in a test has left is removed, but not what another
// one is about.
func TestTestSubscriptionsAreSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, id := range []string{"test-old", "test-new"} {
		if _, err := s.admin.Subscriptions().Create(t.Context(), &subscription.Subscription{
			ID: id, Types: []string{"git.push"}, Endpoint: subscription.Endpoint{URL: "https://example.com/"},
			Managed: subscription.Managed{By: subscription.ManagedByTest, Name: id},
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Store.Change(t.Context(), "test-old", func(sub *subscription.Subscription) error {
		sub.CreatedAt = sub.CreatedAt.Add(-time.Hour)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	s.run()
	testkit.Eventually(s.T, "the old one is gone", func() bool { return len(s.stored()) == 1 })
	if s.stored()["test-new"] == nil {
		t.Errorf("there are %v", s.stored())
	}
}
