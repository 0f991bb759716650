package admin

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/jetpost/jetpost/client/api"
)

// A conditionCase is a pair of headers, each with its lines; TAG stands for the ETag that
// there is. present and missing are the decisions about what is there and what is not: do,
// failed (412), fresh (304 to a read, 412 to a change) or bad (400).
type conditionCase struct {
	match, none      []string
	present, missing string
}

func conditionCases() []conditionCase {
	return []conditionCase{
		{nil, nil, "do", "do"},
		{[]string{`*`}, nil, "do", "failed"},
		{[]string{`TAG`}, nil, "do", "failed"},
		{[]string{`W/TAG`}, nil, "failed", "failed"},
		{[]string{`"other"`}, nil, "failed", "failed"},
		{[]string{`"other", TAG`}, nil, "do", "failed"},
		{[]string{`"other"`, `TAG`}, nil, "do", "failed"},
		{[]string{`"other,TAG`}, nil, "failed", "failed"},
		{[]string{`7`}, nil, "failed", "failed"},
		{[]string{``}, nil, "failed", "failed"},
		{nil, []string{`*`}, "fresh", "do"},
		{nil, []string{`TAG`}, "fresh", "do"},
		{nil, []string{`W/TAG`}, "fresh", "do"},
		{nil, []string{`"other"`}, "do", "do"},
		{nil, []string{`"other" , W/TAG`}, "fresh", "do"},
		{nil, []string{`"other"`, `TAG`}, "fresh", "do"},
		{nil, []string{`7`}, "bad", "bad"},
		{nil, []string{`TAG, *`}, "bad", "bad"},
		{[]string{`TAG`}, []string{`"other"`}, "do", "failed"},
		{[]string{`TAG`}, []string{`TAG`}, "fresh", "failed"},
		{[]string{`"other"`}, []string{`"other"`}, "failed", "failed"},
		{[]string{`*`}, []string{`*`}, "fresh", "failed"},
	}
}

func (c *conditionCase) header(tag string) http.Header {
	h := http.Header{}
	for name, lines := range map[string][]string{"If-Match": c.match, "If-None-Match": c.none} {
		for _, line := range lines {
			h.Add(name, strings.ReplaceAll(line, "TAG", tag))
		}
	}
	return h
}

// A conditionTarget is one method of one resource. make makes it anew, and returns its path.
type conditionTarget struct {
	operation, method, body string
	make                    func(t *testing.T) (path string)
	missing                 string // a path where there is none
	done, created           int    // statuses; created is 404 where it is not made
}

func conditionTargets(f *fixture) []conditionTarget {
	fixed := func(path, body string) func(*testing.T) string {
		return func(t *testing.T) string {
			t.Helper()
			if r := f.do("GET", path, ""); r.status == http.StatusOK {
				return path
			}
			f.do("PUT", path, body).want(http.StatusCreated)
			return path
		}
	}
	sub := fixed("/v1/subscriptions/ci", ci)
	other := strings.Replace(ci, `"id":"ci"`, `"description":"x"`, 1)
	repository := fixed("/v1/repositories/npm", `{"class":"remote"}`)
	domain := fixed("/v1/domains/shop", shop(shopSchema))
	var token string
	tokens := func(t *testing.T) string {
		t.Helper()
		if token == "" || f.do("GET", token, "").status != http.StatusOK {
			var made v1.Token
			f.do("POST", "/v1/tokens", `{"name":"n","role":"auditor"}`).want(http.StatusCreated).into(&made)
			token = "/v1/tokens/" + made.ID
		}
		return token
	}
	const noSub, noRepository, noDomain, noToken = "/v1/subscriptions/ghost", "/v1/repositories/ghost", "/v1/domains/ghost", "/v1/tokens/aaaaaaaaaaaaaaaa"
	ghost := strings.NewReplacer(`"shop"`, `"ghost"`, `com.example.`, `com.ghost.`).Replace(shop(shopSchema))
	return []conditionTarget{
		{"get-subscription", "GET", "", sub, noSub, 200, 404},
		{"replace-subscription", "PUT", other, sub, noSub, 200, 201},
		{"change-subscription", "PATCH", `{"description":"y"}`, sub, noSub, 200, 404},
		{"delete-subscription", "DELETE", "", sub, noSub, 200, 404},
		{"get-repository", "GET", "", repository, noRepository, 200, 404},
		{"put-repository", "PUT", `{"class":"remote","package_type":"npm"}`, repository, noRepository, 200, 201},
		{"delete-repository", "DELETE", "", repository, noRepository, 204, 404},
		{"get-domain", "GET", "", domain, noDomain, 200, 404},
		{"put-domain", "PUT", strings.Replace(shop(shopSchema), "What is sold.", "What is bought.", 1), domain, "", 200, 0},
		{"put-domain", "PUT", ghost, domain, noDomain, 422, 201}, // its files are of another name than the path of one that is there
		{"delete-domain", "DELETE", "", domain, noDomain, 204, 404},
		{"get-token", "GET", "", tokens, noToken, 200, 404},
		{"change-token", "PATCH", `{"name":"m"}`, tokens, noToken, 200, 404},
		{"revoke-token", "DELETE", "", tokens, noToken, 204, 404},
	}
}

// conditioned makes a request with all lines of its headers.
func (f *fixture) conditioned(method, path, body string, h http.Header) reply {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header = h.Clone()
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{f.t, resp.StatusCode, resp.Header, text}
}

// Every resource heeds If-Match and If-None-Match in every method, and what is refused
// changes nothing.
func TestConditions(t *testing.T) {
	t.Parallel()
	f, _ := newKeeping(t)
	for _, target := range conditionTargets(f) {
		for _, c := range conditionCases() {
			if target.done != http.StatusUnprocessableEntity {
				f.conditionOnPresent(t, &target, &c)
			}
			if target.missing != "" {
				f.conditionOnMissing(t, &target, &c)
			}
		}
	}
}

func (f *fixture) conditionOnPresent(t *testing.T, target *conditionTarget, c *conditionCase) {
	t.Helper()
	path := target.make(t)
	tag := f.do("GET", path, "").want(http.StatusOK).header.Get("ETag")
	if tag == "" {
		t.Fatalf("%s has no ETag", path)
	}
	r := f.conditioned(target.method, path, target.body, c.header(tag))
	want := map[string]int{"do": target.done, "failed": http.StatusPreconditionFailed, "fresh": http.StatusPreconditionFailed, "bad": http.StatusBadRequest}[c.present]
	if c.present == "fresh" && target.method == http.MethodGet {
		want = http.StatusNotModified
		if got := r.header.Get("ETag"); got != tag || len(r.body) > 0 {
			t.Errorf("%s, If-None-Match %q: got the ETag %s and the body %q with 304, want %s and none", target.operation, c.none, got, r.body, tag)
		}
	}
	if r.status != want {
		t.Errorf("%s, If-Match %q, If-None-Match %q: got %d %s, want %d", target.operation, c.match, c.none, r.status, r.body, want)
	}
	if c.present != "do" {
		if after := f.do("GET", path, "").want(http.StatusOK).header.Get("ETag"); after != tag {
			t.Errorf("%s, If-Match %q, If-None-Match %q: refused, and the ETag is %s, was %s", target.operation, c.match, c.none, after, tag)
		}
	}
}

func (f *fixture) conditionOnMissing(t *testing.T, target *conditionTarget, c *conditionCase) {
	t.Helper()
	r := f.conditioned(target.method, target.missing, target.body, c.header(`"7"`))
	want := http.StatusNotFound // comes before conditions (RFC 9110, section 13.2.1)
	if target.created == http.StatusCreated {
		want = map[string]int{"do": http.StatusCreated, "failed": http.StatusPreconditionFailed, "bad": http.StatusBadRequest}[c.missing]
	}
	if r.status != want {
		t.Errorf("%s of none, If-Match %q, If-None-Match %q: got %d %s, want %d", target.operation, c.match, c.none, r.status, r.body, want)
	}
	after := f.do("GET", target.missing, "")
	switch {
	case want == http.StatusCreated:
		after.want(http.StatusOK)
		if gone := f.do("DELETE", target.missing, ""); gone.status > 299 {
			t.Errorf("delete %s: %d %s", target.missing, gone.status, gone.body)
		}
	case after.status != http.StatusNotFound:
		t.Errorf("%s of none, If-Match %q, If-None-Match %q: refused, and now there is one", target.operation, c.match, c.none)
	}
}

// TestConditions has every operation that changes something in place, and every one that
// shows an ETag.
func TestConditionsOfAllOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var covered []string
	for _, target := range conditionTargets(f) {
		covered = append(covered, target.operation)
	}
	var document struct {
		Paths map[string]map[string]struct {
			ID         string `json:"operationId"`
			Parameters []struct{ Name string }
		}
	}
	f.do("GET", "/openapi.json", "").want(http.StatusOK).into(&document)
	for path, methods := range document.Paths {
		for method, op := range methods {
			var described []string
			for _, p := range op.Parameters {
				if strings.HasPrefix(p.Name, "If-") {
					described = append(described, p.Name)
				}
			}
			changes := method == "put" || method == "patch" || method == "delete"
			if changes && !slices.Contains(covered, op.ID) {
				t.Errorf("%s %s (%s) is not in the table", method, path, op.ID)
			}
			if want := slices.Contains(covered, op.ID) || op.ID == "get-own-token"; want != (len(described) == 2) {
				t.Errorf("%s is described with %q", op.ID, described)
			}
		}
	}
}

// What has no ETag of its own is shown as it is there, and what is made or done is never
// bound to one.
func TestConditionsWithoutETag(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	for _, path := range []string{
		"/v1/subscriptions", "/v1/subscriptions/ci/backlog", "/v1/domains", "/v1/attempts", "/v1/attempts?follow=true", "/v1/audit/export", "/v1/subscriptions/ci/secret",
	} {
		f.do("GET", path, "", "If-Match", `"7"`).want(http.StatusPreconditionFailed).mustContain("has no ETag")
		f.do("GET", path, "", "If-None-Match", `7`).want(http.StatusBadRequest).mustContain("If-None-Match")
		if r := f.do("GET", path, "", "If-None-Match", `*`); r.status != http.StatusNotModified {
			t.Errorf("%s with If-None-Match: *: got %d", path, r.status)
		}
		if !strings.Contains(path, "follow") {
			f.do("GET", path, "", "If-Match", `*`, "If-None-Match", `"7"`).want(http.StatusOK)
		}
	}
	before := f.do("GET", "/v1/subscriptions/ci", "").header.Get("ETag")
	for path, body := range map[string]string{
		"/v1/subscriptions": subscriptionNamed("more"), "/v1/subscriptions/ci/pause": "", "/v1/subscriptions/ci/rotate-secret": "", "/v1/redrives": `{}`,
	} {
		for _, value := range []string{before, "*", ""} {
			f.do("POST", path, body, "If-Match", value).want(http.StatusPreconditionFailed).mustContain("leave If-Match out")
		}
		f.do("POST", path, body, "If-None-Match", `7`).want(http.StatusBadRequest)
	}
	if after := f.do("GET", "/v1/subscriptions/ci", "").header.Get("ETag"); after != before {
		t.Errorf("the ETag is %s, was %s", after, before)
	}
	f.do("GET", "/v1/subscriptions/more", "").want(http.StatusNotFound)
	f.do("POST", "/v1/subscriptions", subscriptionNamed("more"), "If-None-Match", `*`).want(http.StatusCreated)
}
