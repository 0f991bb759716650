package jfrog_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

func twoHandlers(key, first, second string) string {
	one := document(key, first, `,"secret":"first"`)
	return strings.TrimSuffix(one, "]}") + fmt.Sprintf(`,{"handler_type":"webhook","url":%q,"secret":"second"}]}`, second)
}

// receivers are the parts of all keys with their URLs and secrets.
func (s *site) receivers() []string {
	s.T.Helper()
	var found []string
	for _, sub := range s.stored() {
		found = append(found, fmt.Sprint(sub.Managed.Name, " ", sub.Managed.Part, " ", sub.Endpoint.URL, " ", sub.Secrets[0].Secret.Reveal(), " ", sub.State))
	}
	slices.Sort(found)
	return found
}

func (s *site) is(want ...string) bool {
	s.T.Helper()
	return cmp.Diff(want, s.receivers()) == ""
}

// A second handler that cannot be stored: POST takes back what it made, PUT leaves
// what is completed later, by the next PUT or by itself.
func TestBreakOff(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const a, b, c = "https://a.example.com/", "https://b.example.com/", "https://c.example.com/"
	// The queue of the second handler: its name is learned from a subscription that is
	// deleted again, and then taken by a stream that is no queue.
	s.do("POST", subscriptions, twoHandlers("key-1", a, b)).want(http.StatusCreated)
	var second *subscription.Subscription
	for _, sub := range s.stored() {
		if sub.Managed.Part == 1 {
			second = sub
		}
	}
	s.do("DELETE", subscriptions+"/key-1", "").want(http.StatusNoContent)
	block := func() {
		t.Helper()
		if _, err := s.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: second.Queue.Stream, Subjects: []string{second.Queue.Subject}}); err != nil {
			t.Fatal(err)
		}
	}
	unblock := func() {
		t.Helper()
		if err := s.JS.DeleteStream(t.Context(), second.Queue.Stream); err != nil {
			t.Fatal(err)
		}
	}
	block()
	s.do("POST", subscriptions, twoHandlers("key-1", a, b)).want(http.StatusInternalServerError)
	if !s.is() {
		t.Errorf("POST has left %v", s.receivers())
	}
	s.do("POST", subscriptions, document("key-1", a, `,"secret":"first"`)).want(http.StatusCreated)
	s.do("PUT", subscriptions+"/key-1", twoHandlers("key-1", c, b)).want(http.StatusInternalServerError)
	if !s.is("key-1 0 https://c.example.com/ first active") {
		t.Errorf("PUT has left %v", s.receivers())
	}
	unblock()
	s.run()
	testkit.Eventually(s.T, "the second handler is made", func() bool {
		return s.is("key-1 0 https://c.example.com/ first active", "key-1 1 https://b.example.com/ second active")
	})
	s.do("PUT", subscriptions+"/key-1", twoHandlers("key-1", a, c)).want(http.StatusNoContent)
	if !s.is("key-1 0 https://a.example.com/ first active", "key-1 1 https://c.example.com/ second active") {
		t.Errorf("PUT has left %v", s.receivers())
	}
}

// What a process that was killed between two writes has left is completed when an
// admin starts, or by the next request for the same key.
func TestMended(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	s := in.site()
	const a, b, c = "https://a.example.com/", "https://b.example.com/", "https://c.example.com/"
	part := func(key string, n int) *subscription.Subscription {
		t.Helper()
		for _, sub := range s.stored() {
			if sub.Managed.Name == key && sub.Managed.Part == n {
				return sub
			}
		}
		t.Fatalf("there is no part %d of %s", n, key)
		return nil
	}
	forget := func(key string, n int) {
		t.Helper()
		if err := s.Store.Delete(t.Context(), part(key, n).ID, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"created", "changed", "deleted", "deleted-2", "created-anew", "untouched"} {
		s.do("POST", subscriptions, twoHandlers(key, a, b)).want(http.StatusCreated)
	}
	// POST and PUT write the first part first, and so does DELETE.
	forget("created", 1)
	old := part("changed", 1).Managed.Document
	s.do("PUT", subscriptions+"/changed", twoHandlers("changed", c, a)).want(http.StatusNoContent)
	if _, err := s.Store.Change(t.Context(), part("changed", 1).ID, func(sub *subscription.Subscription) error {
		sub.Endpoint.URL, sub.Managed.Document, sub.Secrets[0].Secret = b, old, keyring.NewSecret("old")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"deleted", "deleted-2", "created-anew"} {
		forget(key, 0)
		s.do("GET", subscriptions+"/"+key, "").want(http.StatusNotFound)
	}
	s.do("DELETE", subscriptions+"/deleted-2", "").want(http.StatusNoContent) // there is something to delete
	s.do("DELETE", subscriptions+"/deleted-2", "").want(http.StatusNotFound)
	s.do("POST", subscriptions, document("created-anew", c, `,"secret":"new"`)).want(http.StatusCreated)

	for range 2 {
		in.site().run()
	}
	testkit.Eventually(s.T, "all is in line", func() bool {
		return s.is(
			"changed 0 https://c.example.com/ first active", "changed 1 https://a.example.com/ second active",
			"created 0 https://a.example.com/ first active", "created 1 https://b.example.com/ second active",
			"created-anew 0 https://c.example.com/ new active",
			"untouched 0 https://a.example.com/ first active", "untouched 1 https://b.example.com/ second active",
		)
	})
}

// Of many who replace the same document at the same time one wins, in all its parts.
func TestReplacedByMany(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	sites := []*site{in.site(), in.site()}
	s := sites[0]
	s.do("POST", subscriptions, twoHandlers("key-1", "https://0.example.com/a", "https://0.example.com/b")).want(http.StatusCreated)
	ended := make(chan reply)
	const clients = 6
	for n := range clients {
		go func() {
			host := fmt.Sprintf("https://%d.example.com/", n)
			ended <- sites[n%2].do("PUT", subscriptions+"/key-1", twoHandlers("key-1", host+"a", host+"b"))
		}()
	}
	for range clients {
		if r := <-ended; r.status != http.StatusNoContent {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	urls := make(map[string]bool)
	for _, sub := range s.stored() {
		urls[strings.TrimRight(sub.Endpoint.URL, "ab")] = true
	}
	if len(urls) != 1 || len(s.stored()) != 2 {
		t.Errorf("got %v", s.receivers())
	}
}
