package admin

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/jetpost/jetpost/client/api"
)

func TestBacklog(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, id := range []string{"empty", "few", "gone", "many", "old"} {
		f.do("POST", "/v1/subscriptions", subscriptionNamed(id)).want(http.StatusCreated)
	}
	f.do("POST", "/v1/subscriptions/old/pause", "").want(http.StatusOK)
	for n, ids := range [][]string{{"old"}, {"few"}, {"many", "few"}, {"many"}, {"many"}} {
		j := f.journey(newEvent("git.push", "e"+strconv.Itoa(n)))
		for _, id := range ids {
			j.queue(id)
		}
	}
	soon := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	for n := range 3 {
		f.journey(newEvent("git.push", "r"+strconv.Itoa(n))).timer("many", soon.Add(time.Duration(n)*time.Minute))
	}
	f.journey(newEvent("git.push", "x")).take("many", 0)
	if err := f.js.DeleteStream(t.Context(), f.layout.QueueFor("gone").Stream); err != nil {
		t.Fatal(err)
	}

	var one v1.Backlog
	f.do("GET", "/v1/subscriptions/many/backlog", "").want(http.StatusOK).into(&one)
	if one.OldestAt.IsZero() || one.OldestAge <= 0 {
		t.Errorf("got %+v", one)
	}
	one.OldestAt, one.OldestAge = time.Time{}, 0
	want := v1.Backlog{SubscriptionID: "many", State: v1.Active, Breaker: "closed", Queued: 3, Waiting: 2, InFlight: 1, Retries: 3, NextRetryAt: soon}
	if diff := cmp.Diff(want, one); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.do("GET", "/v1/subscriptions/empty/backlog", "").want(http.StatusOK).mustContain(`"queued":0`, `"retries":0`).mustNotContain("oldest")
	f.do("GET", "/v1/subscriptions/gone/backlog", "").want(http.StatusOK).mustContain(`"no_queue":true`)
	f.do("GET", "/v1/subscriptions/unknown/backlog", "").want(http.StatusNotFound)

	list := func(query string) (ids []string, next string) {
		t.Helper()
		var got v1.Page[v1.Backlog]
		f.do("GET", "/v1/backlogs"+query, "").want(http.StatusOK).into(&got)
		for _, item := range got.Items {
			ids = append(ids, item.SubscriptionID)
		}
		return ids, got.NextCursor
	}
	first, next := list("?limit=3")
	second, end := list("?limit=3&cursor=" + next)
	if diff := cmp.Diff([]string{"empty", "few", "gone", "many", "old"}, append(first, second...)); diff != "" || end != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for query, want := range map[string][]string{
		"?sort=waiting&limit=2": {"few", "many"}, "?sort=oldest&limit=1": {"old"}, "?state=paused": {"old"}, "?state=disabled": nil,
	} {
		if got, next := list(query); !cmp.Equal(want, got) || next != "" {
			t.Errorf("%s: got %v and %q, want %v", query, got, next, want)
		}
	}
	for _, query := range []string{"?sort=waiting&cursor=few", "?sort=size", "?cursor=_", "?state=gone"} {
		f.do("GET", "/v1/backlogs"+query, "").want(http.StatusUnprocessableEntity)
	}
}
