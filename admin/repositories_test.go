package admin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/admin/httpapi"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/repository"
)

// The registry of repositories over the API: what is registered comes back, in pages
// that do not shift, and what cannot be is refused with the reason.
func TestRepositories(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for key, body := range map[string]string{
		"libs": `{"class":"local","package_type":"maven"}`, "npm": `{"class":"remote","package_type":"npm"}`,
		"apps": `{"class":"local","package_type":"generic"}`, "all": `{"class":"virtual"}`,
	} {
		f.do("PUT", "/v1/repositories/"+key, body).want(http.StatusCreated)
	}
	keys := func(query string) (keys []string, next string) {
		var page v1.Page[v1.Repository]
		f.do("GET", "/v1/repositories"+query, "").want(http.StatusOK).into(&page)
		for _, r := range page.Items {
			keys = append(keys, r.Key)
		}
		return keys, page.NextCursor
	}
	for query, want := range map[string][]string{
		"": {"all", "apps", "libs", "npm"}, "?class=local": {"apps", "libs"}, "?package_type=npm": {"npm"}, "?q=LI": {"libs"}, "?class=federated": nil,
	} {
		if got, next := keys(query); !cmp.Equal(got, want) || next != "" {
			t.Errorf("%s: got %v and cursor %q, want %v", query, got, next, want)
		}
	}
	first, next := keys("?limit=2")
	f.do("DELETE", "/v1/repositories/apps", "").want(http.StatusNoContent) // where the next page begins
	second, end := keys("?limit=2&cursor=" + next)
	if !cmp.Equal(append(first, second...), []string{"all", "apps", "libs", "npm"}) || end != "" {
		t.Errorf("in pages: got %v and %v, then %q", first, second, end)
	}

	tag := f.do("GET", "/v1/repositories/npm", "").want(http.StatusOK).header.Get("ETag")
	again := f.do("PUT", "/v1/repositories/npm", `{"class":"remote"}`, "If-Match", tag).want(http.StatusOK)
	if again.header.Get("ETag") != tag || !strings.Contains(string(again.body), `"package_type":"npm"`) {
		t.Errorf("a PUT that changes nothing: got %s %s, want %s", again.header.Get("ETag"), again.body, tag)
	}
	if changed := f.do("PUT", "/v1/repositories/npm", `{"class":"remote","package_type":""}`, "If-Match", tag).want(http.StatusOK); changed.header.Get("ETag") == tag {
		t.Errorf("a PUT that changes something: the ETag is still %s", tag)
	}
	for _, wrong := range []struct {
		method, key, body, ifMatch string
		status                     int
		detail                     string
	}{
		{"PUT", "npm", `{"class":"local"}`, "", http.StatusConflict, "its class cannot be changed: it is remote: delete it"},
		{"PUT", "npm", `{"class":"remote","package_type":"x"}`, tag, http.StatusPreconditionFailed, "read it again"},
		{"PUT", "new", `{"class":"remote"}`, "*", http.StatusPreconditionFailed, "not registered"},
		{"DELETE", "npm", "", `"1"`, http.StatusPreconditionFailed, "read it again"},
		{"PUT", "new", ``, "", http.StatusBadRequest, ""},
		{"PUT", "new", `{"package_type":"npm"}`, "", http.StatusUnprocessableEntity, "class: is missing: use local"},
		{"PUT", "new", `{"class":"LOCAL"}`, "", http.StatusUnprocessableEntity, `class: "LOCAL" is not a class: use local`},
		{"PUT", "new", `{"class":"local","rclass":"local"}`, "", http.StatusUnprocessableEntity, "rclass"},
		{"PUT", "a%20b", `{"class":"local"}`, "", http.StatusUnprocessableEntity, "key: use 1 to 64 letters"},
		{"GET", "unknown", "", "", http.StatusNotFound, "GET /v1/repositories lists"},
		{"DELETE", "unknown", "", "", http.StatusNotFound, "GET /v1/repositories lists"},
	} {
		var header []string
		if wrong.ifMatch != "" {
			header = []string{"If-Match", wrong.ifMatch}
		}
		r := f.do(wrong.method, "/v1/repositories/"+wrong.key, wrong.body, header...)
		var p httpapi.ProblemError
		r.into(&p)
		if r.status != wrong.status || !strings.Contains(p.Detail, wrong.detail) {
			t.Errorf("%s %s %s: got %d %s, want %d %s", wrong.method, wrong.key, wrong.body, r.status, r.body, wrong.status, wrong.detail)
		}
	}
	f.do("GET", "/v1/repositories?cursor=..", "").want(http.StatusUnprocessableEntity)
}

// What a compatible API keeps beside the class and the package type stays as it is, and
// the records of both say the same.
func TestRepositoryDocumentStays(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	document := []byte(`{"rclass":"remote","url":"https://registry.example.com","n":9007199254740993}`)
	_, err := f.admin.ChangeRepository(t.Context(), "npm", func(*repository.Repository) (*repository.Repository, error) {
		return &repository.Repository{Class: repository.Remote, Document: document}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.do("PUT", "/v1/repositories/npm", `{"class":"remote","package_type":"npm"}`).want(http.StatusOK)
	got, _ := f.cfg.Repositories.Current().Get("npm")
	if string(got.Document) != string(document) || got.PackageType != "npm" {
		t.Errorf("got %+v", got)
	}
	f.do("DELETE", "/v1/repositories/npm", "").want(http.StatusNoContent)
	var actions []string
	for _, r := range f.trail() {
		actions = append(actions, r.Action+" "+r.Target+" "+strings.Join(r.Changed, ","))
	}
	want := []string{"repository.put repositories/npm ", "repository.put repositories/npm package_type", "repository.delete repositories/npm "}
	if diff := cmp.Diff(want, actions); diff != "" {
		t.Errorf("on the audit trail (-want +got):\n%s", diff)
	}
}
