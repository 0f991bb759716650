package admin

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

// sendersAt is what the API lists.
func (f *fixture) sendersAt(path string) []v1.Sender {
	f.t.Helper()
	var got struct{ Items []v1.Sender }
	f.do(http.MethodGet, path, "").want(http.StatusOK).into(&got)
	return got.Items
}

// What senders say of themselves is shown, with what they own by the hash that they go by.
func TestSenders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("GET", "/v1/senders", "").want(http.StatusOK).mustContain(`"items":[]`)
	kv, err := f.js.KeyValue(t.Context(), f.layout.MembersBucket())
	if err != nil {
		t.Fatal(err)
	}
	started := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	all := []members.Member{
		{ID: "snd-a", Host: "blue", Version: "1.2.3", Started: started},
		{ID: "snd-b", Host: "red", Version: "1.2.3", Started: started},
		{ID: "snd-c", Host: "red", Version: "1.2.2", Started: started, Draining: true},
	}
	// Written again, as senders do: on a loaded machine the first may have gone.
	refresh := func() {
		for i := range all {
			if err := members.Put(t.Context(), kv, &all[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	const n = 12
	for i := range n {
		f.do("POST", "/v1/subscriptions", subscriptionNamed("ci-"+strconv.Itoa(i))).want(http.StatusCreated)
	}
	f.do("POST", "/v1/subscriptions/ci-0/pause", "").want(http.StatusOK)
	f.do("PATCH", "/v1/subscriptions/ci-1", `{"delivery":{"senders":2}}`).want(http.StatusOK).mustContain(`"senders":2`)

	live := members.NewSet(all)
	want := make([]v1.Sender, len(all))
	for i, m := range all {
		want[i] = v1.Sender{ID: m.ID, Host: m.Host, Version: m.Version, Started: m.Started, Draining: m.Draining}
		for k := 1; k < n; k++ {
			sub := &subscription.Subscription{ID: "ci-" + strconv.Itoa(k)}
			if k == 1 {
				sub.Delivery.Senders = 2
			}
			if live.Owns(m.ID, sub) {
				want[i].Subscriptions++
			}
		}
	}
	refresh()
	got := f.sendersAt("/v1/senders")
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(v1.Sender{}, "LastSeen")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if sum := got[0].Subscriptions + got[1].Subscriptions; sum != n || got[2].Subscriptions != 0 {
		t.Errorf("%d subscriptions of %d active ones, one of them twice, belong to a sender", sum, n-1)
	}
	for i := range got {
		if since := time.Since(got[i].LastSeen); since < 0 || since > time.Minute {
			t.Errorf("%s was last seen at %s", got[i].ID, got[i].LastSeen)
		}
	}
	for id, want := range map[string]int{"ci-0": 0, "ci-1": 2, "ci-2": 1} {
		refresh()
		var ids []string
		for _, s := range f.sendersAt("/v1/senders?subscription=" + id) {
			ids = append(ids, s.ID)
		}
		sub := &subscription.Subscription{ID: id, Delivery: subscription.Delivery{Senders: want}}
		if len(ids) != want || want > 0 && !slices.Equal(ids, live.Owners(sub)) {
			t.Errorf("%s belongs to %v, want %d senders", id, ids, want)
		}
	}
	f.do("GET", "/v1/senders?subscription=unknown", "").want(http.StatusNotFound)

	if err := f.js.DeleteKeyValue(t.Context(), f.layout.MembersBucket()); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/v1/senders", "").want(http.StatusOK).mustContain(`"items":[]`)
}
