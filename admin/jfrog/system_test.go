package jfrog_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/admin/jfrog"
)

// wantText fails the test unless the answer is a text with that status.
func (r reply) wantText(status int, text string) {
	r.t.Helper()
	if r.status != status || !strings.Contains(r.body, text) {
		r.t.Errorf("got %d %s", r.status, r.body)
	}
}

// The calls that clients make before and around their work.
func TestSystemCalls(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.do("GET", "/artifactory/api/system/version", "").want(http.StatusOK).is(`{"version":"7.146.17"}`)
	s.do("GET", "/artifactory/api/system/ping", "").wantText(http.StatusOK, "OK")
	s.do("POST", "/artifactory/api/system/usage", `{"productId":"terraform-provider-artifactory/12","features":[{"featureId":"Resource/artifactory_artifact_webhook"}]}`).want(http.StatusOK)
	s.do("HEAD", "/artifactory/api/repositories/My_Key", "").want(http.StatusNotFound).is("")
	s.do("POST", "/access/api/v1/oidc/token", `{"grant_type":"x"}`).want(http.StatusNotImplemented).
		says("login by OIDC is not supported: give the client an access token of jetpost")
	s.do("GET", "/artifactory/api/plugins", "").want(http.StatusNotFound)
}

// A refused caller gets the answer in the words of the platform.
func TestDenied(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	jfrog.Deny(w, http.StatusUnauthorized, "token_missing", "the request has no token")
	if got := w.Body.String(); w.Code != http.StatusUnauthorized || got != `{"errors":[{"code":"","message":"the request has no token"}]}` {
		t.Errorf("got %d %s", w.Code, got)
	}
}

// The base URL is what deliveries name, also those of subscriptions that were there
// before, whichever admin received the change.
func TestBaseURL(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	s, other := in.site(), in.site()
	const path = "/artifactory/api/system/configuration/baseUrl"
	origins := func(want string) {
		t.Helper()
		n := 0
		for id, sub := range s.stored() {
			if got := sub.Settings["jpd_origin"]; got != want {
				t.Errorf("%s has %q", id, got)
			}
			n++
		}
		if n != 2 {
			t.Errorf("there are %d", n)
		}
	}
	s.do("GET", path, "").want(http.StatusNotFound)
	s.do("POST", subscriptions, twoHandlers("key-1", "https://a.example.com/", "https://b.example.com/")).want(http.StatusCreated)
	origins("")
	s.do("PUT", path, "https://jetpost.example.com").wantText(http.StatusOK, "successfully")
	other.do("GET", path, "").wantText(http.StatusOK, "https://jetpost.example.com")
	origins("https://jetpost.example.com")
	other.do("PUT", path, "https://other.example.com/").wantText(http.StatusOK, "successfully")
	s.do("PUT", subscriptions+"/key-1", twoHandlers("key-1", "https://b.example.com/", "https://a.example.com/")).want(http.StatusNoContent)
	origins("https://other.example.com/")
	s.do("PUT", path, "nonsense").want(http.StatusBadRequest)
	s.do("PUT", path, "").wantText(http.StatusOK, "successfully")
	origins("")
}

// Whatever members a repository is sent with come back, after PUT and after POST, and a
// remote one has shareConfiguration, which clients wait for: nothing is planned then.
func TestRepositoryEcho(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for seed := range uint64(30) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		key := fmt.Sprintf("repository-%d", seed)
		path := "/artifactory/api/repositories/" + key
		sent := map[string]any{"key": key, "rclass": m.one("remote", "remote", "local", "virtual", "federated"), "packageType": "npm"}
		plan := func() {
			t.Helper()
			body, got := encoded(t, sent), s.do("GET", path, "").want(http.StatusOK).body
			if plan := planRepository(body, got); plan != "" {
				t.Fatalf("seed %d: sent %s, read %s, plans (-state +description):\n%s", seed, body, got, plan)
			}
		}
		for _, method := range []string{"PUT", "POST"} {
			members := map[string][]any{
				"url": {"https://example.com/", "", nil}, "environments": {[]any{"DEV"}, []any{}, nil}, "offline": {true, false, nil},
				"shareConfiguration": {true, false, nil}, "contentSynchronisation": {map[string]any{"enabled": false}, map[string]any{}, nil}, "unknown": {m.text(), "", nil},
			}
			for _, name := range slices.Sorted(maps.Keys(members)) {
				if m.IntN(4) > 0 {
					sent[name] = m.one(members[name]...)
				}
			}
			if got := s.do(method, path, encoded(t, sent)); got.status != http.StatusOK {
				t.Fatalf("seed %d: %s %s: %d %s", seed, method, encoded(t, sent), got.status, got.body)
			}
			plan()
		}
	}
}

// Repositories come back as they were sent.
func TestRepositories(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	s, other := in.site(), in.site()
	const path = "/artifactory/api/repositories"
	s.do("GET", path, "").want(http.StatusOK).is("[]")
	const sent = `{"key":"libs","rclass":"local","packageType":"generic","description":"a <b> & c","notes":"","blackedOut":false,"priority":9007199254740993}`
	s.do("PUT", path+"/libs", sent).wantText(http.StatusOK, "created")
	other.do("GET", path+"/libs", "").want(http.StatusOK).is(sent)
	s.do("HEAD", path+"/libs", "").want(http.StatusOK)
	other.do("PUT", path+"/libs", sent).wantText(http.StatusOK, "update")
	s.do("PUT", path+"/libs", `{"rclass":"remote"}`).want(http.StatusBadRequest)
	other.do("POST", path+"/libs", `{"key":"libs","rclass":"local","packageType":"generic","description":"d","xrayIndex":true}`).wantText(http.StatusOK, "update")
	s.do("GET", path+"/libs", "").want(http.StatusOK).
		is(`{"key":"libs","rclass":"local","packageType":"generic","description":"d","notes":"","blackedOut":false,"priority":9007199254740993,"xrayIndex":true}`)
	s.do("PUT", path+"/hub.docker_io", `{"rclass":"REMOTE","packageType":"docker"}`).wantText(http.StatusOK, "created")
	s.do("GET", path, "").want(http.StatusOK).is(`[{"key":"hub.docker_io","type":"REMOTE","packageType":"docker"},{"key":"libs","type":"LOCAL","packageType":"generic"}]`)

	s.do("PUT", path+"/remote-1", `{"rclass":"remote","packageType":"npm","username":"u","password":"swordfish","enableTokenAuthentication":true}`).wantText(http.StatusOK, "created")
	s.do("POST", path+"/remote-1", `{"password":"swordfish","url":"https://example.com"}`).wantText(http.StatusOK, "update")
	s.do("GET", path+"/remote-1", "").want(http.StatusOK).
		is(`{"key":"remote-1","rclass":"remote","packageType":"npm","username":"u","enableTokenAuthentication":true,"url":"https://example.com","shareConfiguration":false}`)

	// Wherever a credential is, it is not stored: the registry is not sealed.
	deep := strings.Repeat(`{"a":`, 100) + `{"password":"swordfish"}` + strings.Repeat("}", 100)
	s.do("PUT", path+"/remote-2", `{"rclass":"remote","a":{"b":[{"s3":{"secretKey":"swordfish","bucket":"x"}}],"c":"d"},"apiKey":"swordfish",`+
		`"p\u0061ssword":"swordfish","credentials":"swordfish","twice":{"token":"swordfish","token":"x"},"deep":`+deep+`}`).wantText(http.StatusOK, "created")
	got := s.do("GET", path+"/remote-2", "").want(http.StatusOK).body
	if strings.Contains(got, "swordfish") || !strings.Contains(got, `"a":{"b":[{"s3":{"bucket":"x"}}],"c":"d"}`) {
		t.Errorf("got %s", got)
	}
	s.do("PUT", path+"/remote-3", `{"rclass":"remote","url":"https://user:swordfish@example.com"}`).want(http.StatusBadRequest)

	s.do("POST", path+"/none", `{"rclass":"local"}`).want(http.StatusNotFound)
	s.do("PUT", path+"/none", `{}`).want(http.StatusBadRequest)
	s.do("PUT", path+"/none", `{"rclass":"local","key":"other"}`).want(http.StatusBadRequest)
	s.do("PUT", path+"/none", `[]`).want(http.StatusBadRequest)
	s.do("PUT", path+"/a%20b", `{"rclass":"local"}`).want(http.StatusBadRequest)
	s.do("DELETE", path+"/libs", "").wantText(http.StatusOK, "removed")
	s.do("DELETE", path+"/libs", "").want(http.StatusNotFound)
	other.do("HEAD", path+"/libs", "").want(http.StatusNotFound)
}
