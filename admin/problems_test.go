package admin

import (
	"net/http"
	"strings"
	"testing"
)

// A stranger who gets something wrong reads which part it is and what to do.
func TestProblemsSayWhatToDo(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	for _, tt := range []struct {
		method, path, body string
		status             int
		field, says        string
	}{
		{"GET", "/v1/subscription", "", 404, "", "/docs"},
		{"POST", "/v1/subscriptions/ci", "", 405, "", "DELETE, GET, HEAD, PATCH, PUT"},
		{"GET", "/v1/subscriptions?sate=active", "", 422, "query.sate", "use limit, cursor, state"},
		{"GET", "/v1/subscriptions/ci?x=y", "", 422, "query.x", "takes no query parameters"},
		{"GET", "/v1/subscriptions?limit=ten", "", 422, "query.limit", "whole number"},
		{"GET", "/v1/subscriptions?state=on", "", 422, "query.state", "active"},
		{"GET", "/v1/subscriptions?cursor=_", "", 422, "cursor", "leave it out for the first page"},
		{"GET", "/v1/events?from_time=yesterday", "", 422, "query.from_time", "2026-01-31T12:00:00Z"},
		{"GET", "/v1/events?follow=yes", "", 422, "query.follow", "true or false"},
		{"GET", "/v1/events/story?id=1", "", 422, "query.source", "is missing"},
		{"GET", "/v1/events/git/one", "", 422, "path.sequence", "whole number"},
		{"GET", "/v1/events/git/1", "", 404, "", "30 days"},
		{"POST", "/v1/subscriptions", "", 400, "", "send JSON"},
		{"POST", "/v1/subscriptions", "{", 422, "", "ends too early"},
		{"POST", "/v1/subscriptions", "{}", 422, "types", "at least one event type"},
		{"POST", "/v1/redrives", `{"rate":"fast"}`, 422, "rate", "must be a number"},
		{"POST", "/v1/redrives", `{"dry_run":1}`, 422, "dry_run", "true or false"},
		{"POST", "/v1/redrives", `{"speed":1}`, 422, "", "speed"},
		{"POST", "/v1/explain", `{"sequence":1}`, 422, "domain", "every domain counts"},
		{"GET", "/v1/subscriptions/unknown", "", 404, "", "unknown"},
	} {
		r := f.do(tt.method, tt.path, tt.body).want(tt.status)
		if got := strings.Join(r.fields(), " "); tt.field != "" && !strings.Contains(" "+got+" ", " "+tt.field+" ") {
			t.Errorf("%s %s names %q, want %q", tt.method, tt.path, got, tt.field)
		}
		if !strings.Contains(string(r.body), tt.says) {
			t.Errorf("%s %s does not say %q: %s", tt.method, tt.path, tt.says, r.body)
		}
	}
}
