package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

const movable = `{"id":"ci","types":["git.push"],"profile":"github","secrets":[{"secret":"shared-swordfish"}],"endpoint":{"url":"https://one.example.com/hook?token=swordfish",
	"secret_headers":{"x-key":"swordfish","x-other":"swordfish-2"}}}`

// Stored secrets stay with the origin that they were given for, unless they are sent
// again or an admin says otherwise.
func TestSecretsStayWithTheirOrigin(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Proxies = proxies(t) })
	f.do("POST", "/v1/subscriptions", movable).want(http.StatusCreated)
	const path = "/v1/subscriptions/ci"
	all := []string{"endpoint.secret_headers.x-key", "endpoint.secret_headers.x-other", "secrets"}
	for _, tt := range []struct {
		name, method, body string
		want               []string // fields that are refused; nil: none
	}{
		{"another host", "PATCH", `{"endpoint":{"url":"https://two.example.com/hook"}}`, all},
		{"the query as well", "PATCH", `{"endpoint":{"url":"https://two.example.com/hook","query":"[secret]"}}`, append([]string{"endpoint.query"}, all...)},
		{"one of them again", "PATCH", `{"endpoint":{"url":"https://two.example.com/?token=swordfish","secret_headers":{"x-key":"swordfish","x-other":null}}}`, []string{"secrets"}},
		{"placeholders", "PUT", `{"types":["git.push"],"profile":"github","endpoint":{"url":"https://two.example.com/","secret_headers":{"x-key":"[secret]"}}}`, []string{"endpoint.secret_headers.x-key", "secrets"}},
		{"a key of Standard Webhooks", "PUT", `{"types":["git.push"],"endpoint":{"url":"https://two.example.com/"},"secrets":[{"secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]}`, nil},
		{"the same port, written out", "PATCH", `{"endpoint":{"url":"https://ONE.example.com:443/hook"}}`, nil},
		{"another path", "PATCH", `{"endpoint":{"url":"https://one.example.com/other"}}`, nil},
		{"a proxy that only connects", "PATCH", `{"endpoint":{"proxy":"eu"}}`, nil},
		{"all of them again", "PATCH", `{"secrets":[{"secret":"shared-swordfish"}],"endpoint":{"url":"https://two.example.com/","secret_headers":{"x-key":"swordfish","x-other":"other-swordfish"}}}`, nil},
		{"none of them", "PUT", `{"types":["git.push"],"profile":"github","secrets":[{"secret":"other-secret"}],"endpoint":{"url":"https://two.example.com/"}}`, nil},
	} {
		for _, query := range []string{"?dry_run=true", "?dry_run=true&keep_secrets=true"} {
			r := f.do(tt.method, path+query, tt.body)
			if tt.want == nil || query != "?dry_run=true" {
				r.want(http.StatusOK)
				continue
			}
			r.want(http.StatusUnprocessableEntity).mustContain("keep_secrets=true", "one.example.com").mustNotContain("swordfish")
			if got := r.fields(); !slices.Equal(got, tt.want) {
				t.Errorf("%s: got fields %v, want %v", tt.name, got, tt.want)
			}
			f.do(tt.method, path, tt.body).want(http.StatusUnprocessableEntity)
		}
	}
	f.do("GET", path, "").mustContain(`"url":"https://one.example.com/hook"`)
}

// The scheme and the port are parts of the origin; and a proxy reads what goes through it to an endpoint without TLS.
func TestSecretsStayFromProxies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *Config) { c.Proxies = proxies(t) })
	f.do("POST", "/v1/subscriptions", strings.ReplaceAll(movable, "https://one.example.com", "http://127.0.0.1:8080")).want(http.StatusCreated)
	for _, other := range []string{"https://127.0.0.1:8080/hook", "http://127.0.0.1:8081/hook", "http://127.0.0.1/hook"} {
		f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"url":"`+other+`"}}`).want(http.StatusUnprocessableEntity).mustContain(`"endpoint.secret_headers.x-key"`)
	}
	r := f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"proxy":"eu"}}`).want(http.StatusUnprocessableEntity).mustContain("the proxy eu")
	if got := r.fields(); len(got) != 4 {
		t.Errorf("got fields %v", got)
	}
	f.do("PATCH", "/v1/subscriptions/ci?keep_secrets=true", `{"endpoint":{"proxy":"eu"}}`).want(http.StatusOK)
	f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"proxy":null}}`).want(http.StatusOK)
}

// A key that only signs does not become a secret that is sent, at an origin that it was
// taken to before.
func TestKeysAreNotSent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", ci).want(http.StatusCreated)
	f.do("PATCH", "/v1/subscriptions/ci", `{"endpoint":{"url":"https://two.example.com/"}}`).want(http.StatusOK)
	r := f.do("PATCH", "/v1/subscriptions/ci", `{"profile":"github"}`).want(http.StatusUnprocessableEntity)
	if got := r.fields(); !slices.Equal(got, []string{"secrets"}) {
		t.Errorf("got fields %v", got)
	}
}

// Only an admin says keep_secrets, and the audit trail has it.
func TestKeepSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/v1/subscriptions", movable).want(http.StatusCreated)
	const path, move = "/v1/subscriptions/ci?keep_secrets=true", `{"endpoint":{"url":"https://two.example.com/hook"}}`
	for _, method := range []string{http.MethodPatch, http.MethodPut} {
		r := httptest.NewRequestWithContext(access.With(t.Context(), access.Principal{ID: "t", Role: access.Operator}), method, path, strings.NewReader(move))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		f.admin.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "role admin") {
			t.Errorf("%s by an operator: got %d %s", method, w.Code, w.Body)
		}
	}
	f.do("PATCH", path, move).want(http.StatusOK)
	all := f.trail()
	const want = "stored secrets are kept for https://two.example.com: endpoint.secret_headers.x-key"
	if got := all[len(all)-1]; !strings.HasPrefix(got.Reason, want) || got.Action != "subscription.change" {
		t.Errorf("got %s with reason %q, want %q", got.Action, got.Reason, want)
	}
}

// What is too short to be recognized is not taken, but what is stored stays.
func TestShortSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	short := `{"id":"short","types":["git.push"],"profile":"github","secrets":[{"secret":"12345"}],"endpoint":{"url":"https://one.example.com/","secret_headers":{"x-pin":"1234"}}}`
	for _, r := range []reply{f.do("POST", "/v1/subscriptions", short), f.do("PUT", "/v1/subscriptions/short", short)} {
		r.want(http.StatusUnprocessableEntity).mustContain("shorter than 6")
		if got := r.fields(); !slices.Equal(got, []string{"endpoint.secret_headers.x-pin", "secrets[0].secret"}) {
			t.Errorf("got fields %v", got)
		}
	}
	f.do("POST", "/v1/subscriptions", movable).want(http.StatusCreated)
	f.do("POST", "/v1/subscriptions/ci/rotate-secret", `{"secret":"12345"}`).want(http.StatusUnprocessableEntity).mustContain("shorter than 6")
}

// A secret with what cannot be seen before, behind or in it is hardly what is meant. What
// is stored stays.
func TestUnfitSecrets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := func(profile, secret, more string) string {
		quoted, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		return `{"id":"ci","types":["git.push"],"profile":"` + profile + `","secrets":[{"secret":` + string(quoted) + `}],"endpoint":{"url":"https://one.example.com/"` + more + `}}`
	}
	const standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, c := range []struct{ profile, secret, hint string }{
		{"github", "\ufeffs3cret-text", "begins with a byte order mark (U+FEFF)"},
		{"github", " s3cret-text", "begins with a space"},
		{"github", "s3cret-text ", "ends with a space"},
		{"github", "s3cret-text\r\n", "ends with a line end"},
		{"github", "s3cret\ntext", "has a line end in it"},
		{"github", "s3cret\u009btext", "has the control character U+009B in it"},
		{"standard", standard + "\n", "ends with a line end"},
		{"standard", "\ufeff" + standard, "begins with a byte order mark (U+FEFF)"},
	} {
		for _, r := range []reply{
			f.do("POST", "/v1/subscriptions", body(c.profile, c.secret, "")), f.do("PUT", "/v1/subscriptions/ci", body(c.profile, c.secret, "")),
		} {
			r.want(http.StatusUnprocessableEntity).mustContain(c.hint)
			if got := r.fields(); !slices.Equal(got, []string{"secrets[0].secret"}) || strings.Contains(string(r.body), "s3cret") {
				t.Errorf("%q: got fields %v, %s", c.secret, got, r.body)
			}
		}
	}
	f.do("POST", "/v1/subscriptions", body("github", "s3cret-text", `,"secret_headers":{"x-key":"value-of-it "}`)).want(http.StatusUnprocessableEntity).mustContain("endpoint.secret_headers.x-key")
	f.do("POST", "/v1/subscriptions", `{"id":"t","types":["git.push"],"profile":"jfrog-custom","template":{"payload":"{}","secrets":{"key":"s3cret-text\n"}},"endpoint":{"url":"https://one.example.com/"}}`).
		want(http.StatusUnprocessableEntity).mustContain("template.secrets.key").mustContain("ends with a line end")
	f.do("POST", "/v1/subscriptions", body("github", "tell no one", "")).want(http.StatusCreated) // a space within is one
	f.do("POST", "/v1/subscriptions/ci/rotate-secret", `{"secret":"s3cret-text\n"}`).want(http.StatusUnprocessableEntity).mustContain("ends with a line end")
	f.do("POST", "/v1/subscriptions/ci/rotate-secret", `{"secret":"\ufeffs3cret-text"}`).want(http.StatusUnprocessableEntity).mustContain("byte order mark")

	old := &subscription.Subscription{Secrets: []subscription.SigningKey{{ID: "key_1", Secret: keyring.NewSecret("stored before ")}}}
	if got := old.UnfitSecrets(old); got != nil {
		t.Errorf("what is stored is refused: %v", got)
	}
}

func proxies(t *testing.T) *subscription.Proxies {
	t.Helper()
	p, err := subscription.NewProxies([]string{"eu=http://proxy.example.com:3128"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
