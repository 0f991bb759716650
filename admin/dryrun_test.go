package admin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDryRunOfCreate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.do("POST", "/v1/subscriptions?dry_run=true", ci).want(http.StatusOK).mustContain(`"max_in_flight":64`, `"dry_run":{"changes":[]}`).mustNotContain("whsec_")
	if r.header.Get("Location") != "" || r.header.Get("ETag") != "" {
		t.Errorf("got the header of something that is there: %v", r.header)
	}
	f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusNotFound)
	if _, err := f.js.Stream(t.Context(), f.layout.QueueFor("ci").Stream); err == nil {
		t.Error("it has a queue")
	}
	bad := strings.Replace(ci, "git.push", "git.pull", 1)
	if got := f.do("POST", "/v1/subscriptions?dry_run=true", bad).want(http.StatusUnprocessableEntity).fields(); !cmp.Equal(got, []string{"types[0]"}) {
		t.Errorf("got %v", got)
	}
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions?dry_run=true", ci).want(http.StatusConflict)
}

func TestDryRunOfChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	with := func(extra string) string { return strings.Replace(ci, `"profile":"cloudevents"`, extra, 1) }
	first := with(`"secret":"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz","delivery":{"max_in_flight":3}`)
	first = strings.Replace(first, `/hook"`, `/hook","query":"swordfish","secret_headers":{"X-Key":"swordfish"}`, 1)
	created := f.do("POST", "/v1/subscriptions", first).want(http.StatusCreated)
	etag := created.header.Get("ETag")
	tests := []struct {
		name, method, body string
		want               []string
	}{
		{"the same again", "PUT", first, []string{}},
		{"what is shown", "PUT", string(f.do("GET", "/v1/subscriptions/ci", "").body), []string{}},
		{"placeholders", "PUT", strings.ReplaceAll(first, "swordfish", "[secret]"), []string{}},
		{"other secrets", "PUT", strings.ReplaceAll(first, "swordfish", "sturgeon"), []string{"endpoint.query", "endpoint.secret_headers.X-Key"}},
		{"no secret header, but another", "PUT", strings.Replace(first, "X-Key", "X-Other", 1), []string{"endpoint.secret_headers.X-Key", "endpoint.secret_headers.X-Other"}},
		{"another signing secret", "PUT", strings.Replace(first, "MDEy", "MDEx", 1), []string{"secrets"}},
		{"a state", "PATCH", `{"state":"paused","labels":{"a":"b"}}`, []string{"labels", "state"}},
		{"a default", "PATCH", `{"delivery":{"max_in_flight":null}}`, []string{"delivery.max_in_flight"}},
		{"nothing", "PATCH", `{}`, []string{}},
	}
	for _, tt := range tests {
		got := f.do(tt.method, "/v1/subscriptions/ci?dry_run=true", tt.body, "If-Match", etag).want(http.StatusOK).mustNotContain("swordfish", "sturgeon", "whsec_").subscription()
		if got.DryRun == nil {
			t.Fatalf("%s: the answer does not say what would change", tt.name)
		}
		if diff := cmp.Diff(tt.want, got.DryRun.Changes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	f.do("PUT", "/v1/subscriptions/ci?dry_run=true", first, "If-Match", `"7"`).want(http.StatusPreconditionFailed)
	f.do("PUT", "/v1/subscriptions/nope?dry_run=true", strings.Replace(first, `"ci"`, `"nope"`, 1)).want(http.StatusOK)
	f.do("GET", "/v1/subscriptions/nope", "").want(http.StatusNotFound)
	f.do("PATCH", "/v1/subscriptions/ci?dry_run=true", `{"types":[]}`).want(http.StatusUnprocessableEntity)
	if got := f.do("GET", "/v1/subscriptions/ci", "").want(http.StatusOK).header.Get("ETag"); got != etag {
		t.Errorf("a dry run has changed the subscription: ETag %s, was %s", got, etag)
	}
}

// The signing secret in a file is the one in use, also while older ones still sign.
func TestReplaceWithTheSameSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
	f.do("POST", "/v1/subscriptions/ci/rotate-secret", `{"secret":"`+secret+`"}`).want(http.StatusOK)
	rotated := f.do("GET", "/v1/subscriptions/ci", "").subscription().Secrets
	f.do("PUT", "/v1/subscriptions/ci", strings.Replace(ci, `"id"`, `"secret":"`+secret+`","id"`, 1)).want(http.StatusOK)
	replaced := f.do("GET", "/v1/subscriptions/ci", "").subscription().Secrets
	if len(rotated) != 2 || len(replaced) != 2 || rotated[0].ID != replaced[0].ID || rotated[1].ID != replaced[1].ID || replaced[1].ExpiresAt == nil {
		t.Errorf("got %v, was %v", replaced, rotated)
	}
}
