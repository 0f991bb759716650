package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/subscription"
)

func TestListFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, sub := range []struct{ id, description, eventType, profile, host string }{
		{"all-of-git", "Every Push", "git.*", "standard", "127.0.0.1:9000"},
		{"deployed", "", "artifact.deployed", "cloudevents", "127.0.0.1:9001"},
		{"push", "one push", "git.push", "cloudevents", "Example.com"},
	} {
		f.do("PUT", "/v1/subscriptions/"+sub.id, fmt.Sprintf(`{"description":%q,"types":[%q],"profile":%q,"endpoint":{"url":"https://%s/hook"}}`,
			sub.description, sub.eventType, sub.profile, sub.host)).want(http.StatusCreated)
	}
	deployed, err := f.store.Get(t.Context(), "deployed")
	if err != nil {
		t.Fatal(err)
	}
	managed := *deployed
	managed.ID, managed.Secrets = "managed", nil
	managed.Managed = subscription.Managed{By: subscription.ManagedByJFrog, Name: "hook"}
	if _, err := f.admin.keep.Create(t.Context(), &managed); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]string{
		"type=git.push": {"all-of-git", "push"}, "type=git.*": {"all-of-git"}, "type=artifact.deployed": {"deployed", "managed"}, "type=nope": {},
		"profile=standard": {"all-of-git"}, "host=127.0.0.1": {"all-of-git", "deployed", "managed"}, "host=127.0.0.1:9000": {"all-of-git"}, "host=EXAMPLE.com": {"push"},
		"managed=jfrog": {"managed"}, "managed=none": {"all-of-git", "deployed", "push"}, "managed=securesourcemanager": {},
		"q=PUSH": {"all-of-git", "push"}, "q=deploy": {"deployed"}, "q=push&profile=cloudevents": {"push"}, "q=" + url.QueryEscape("every push"): {"all-of-git"},
	} {
		ids := []string{}
		for cursor := ""; ; { // one at a time: filters and pages go together
			var page v1.SubscriptionPage
			f.do("GET", "/v1/subscriptions?limit=1&"+query+cursor, "").want(http.StatusOK).into(&page)
			for _, item := range page.Items {
				ids = append(ids, item.ID)
			}
			if page.NextCursor == "" {
				break
			}
			cursor = "&cursor=" + page.NextCursor
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	f.do("GET", "/v1/subscriptions?managed=svix", "").want(http.StatusUnprocessableEntity)
}
