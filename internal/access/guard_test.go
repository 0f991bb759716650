package access_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

const bootstrap = "jp_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789_-AbCdE"

// A token is given in one way or the other; what cannot be parsed is refused.
func TestCredentials(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	_, text := f.make(f.store(live), access.Token{Role: access.Operator})
	guard := f.guard(access.GuardConfig{Bootstrap: bootstrap, WrongRate: 1e6}, live)
	native := guard.Protect(http.HandlerFunc(whoami), access.Routes{})
	vendors := guard.Protect(http.HandlerFunc(whoami), access.Routes{Vendors: true})
	none := f.guard(access.GuardConfig{}, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	const invalid = `Bearer realm="jetpost", error="invalid_token"`
	basic := func(password string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("admin", password)
		return r.Header.Get("Authorization")
	}
	for _, tt := range []struct {
		name      string
		handler   http.Handler
		header    []string
		status    int
		challenge string
	}{
		{"right", native, bearer(text), 200, ""},
		{"the server's own", native, bearer(bootstrap), 200, ""},
		{"scheme in lower case", native, []string{"Authorization", "bearer " + text}, 200, ""},
		{"none", native, nil, 401, `Bearer realm="jetpost"`},
		{"empty header", native, []string{"Authorization", ""}, 401, invalid},
		{"only the scheme", native, []string{"Authorization", "Bearer "}, 401, invalid},
		{"wrong", native, bearer("jp_wrong"), 401, invalid},
		{"an unknown id", native, bearer("jp_abcdefghijkl_" + text[len(text)-43:]), 401, invalid},
		{"another secret", native, bearer(text[:len(text)-43] + strings.Repeat("x", 43)), 401, invalid},
		{"the beginning", native, bearer(text[:len(text)-1]), 401, invalid},
		{"more", native, bearer(text + "x"), 401, invalid},
		{"the beginning of the server's own", native, bearer(bootstrap[:len(bootstrap)-1]), 401, invalid},
		{"other case", native, bearer(strings.ToUpper(text)), 401, invalid},
		{"other scheme", native, []string{"Authorization", "Basic " + text}, 401, invalid},
		{"no scheme", native, []string{"Authorization", text}, 401, invalid},
		{"two headers", native, append(bearer(text), bearer(text)...), 401, invalid},
		{"the server has no token of its own", none, bearer(bootstrap), 401, invalid},
		{"and an empty one is none", none, []string{"Authorization", "Bearer "}, 401, invalid},
		{"a vendor's header, natively", native, []string{"X-JFrog-Art-Api", text}, 401, `Bearer realm="jetpost"`},
		{"a password, natively", native, []string{"Authorization", basic(text)}, 401, invalid},

		{"vendor: right", vendors, bearer(text), 200, ""},
		{"vendor: key", vendors, []string{"X-JFrog-Art-Api", text}, 200, ""},
		{"vendor: key, the server's own", vendors, []string{"X-JFrog-Art-Api", bootstrap}, 200, ""},
		{"vendor: password", vendors, []string{"Authorization", basic(text)}, 200, ""},
		{"vendor: wrong key", vendors, []string{"X-JFrog-Art-Api", "jp_wrong"}, 401, invalid},
		{"vendor: wrong password", vendors, []string{"Authorization", basic("wrong")}, 401, invalid},
		{"vendor: empty password", vendors, []string{"Authorization", basic("")}, 401, invalid},
		{"vendor: empty key", vendors, []string{"X-JFrog-Art-Api", ""}, 401, invalid},
		{"vendor: two ways at once", vendors, append(bearer(text), "X-JFrog-Art-Api", text), 401, invalid},
		{"vendor: none", vendors, nil, 401, `Bearer realm="jetpost"`},
	} {
		w := ask(tt.handler, tt.header...)
		if w.Code != tt.status || w.Header().Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: got %d, %q: %s", tt.name, w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
		}
		if tt.status == http.StatusOK {
			continue
		}
		var p struct {
			Title, Detail string
			Status        int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != tt.status || p.Title == "" || p.Detail == "" ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: not a problem document: %s", tt.name, w.Body)
		}
		if w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s: the request has no name", tt.name)
		}
	}
	noSecrets(t, f, text, bootstrap)
}

// noSecrets checks that no line of the log shows a token.
func noSecrets(t *testing.T, f *fixture, texts ...string) {
	t.Helper()
	for _, entry := range f.logs.All() {
		line := entry.Message + fmt.Sprint(entry.ContextMap())
		for _, text := range texts {
			if strings.Contains(line, text[len(text)-43:]) {
				t.Errorf("the log shows a token: %s", line)
			}
		}
	}
}

// The handler knows the principal, its address and its name; and so does the
// client.
func TestPrincipal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	made, text := f.make(f.store(live), access.Token{Role: access.Auditor, Name: "nightly export"})
	guard := f.guard(access.GuardConfig{Bootstrap: bootstrap}, live)
	var got access.Principal
	h := guard.Protect(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = access.PrincipalOf(r.Context()) }), access.Routes{})
	ask(h, append(bearer(text), "X-Request-Id", "mine-1")...)
	want := access.Principal{ID: made.ID, Name: "nightly export", Role: access.Auditor, Address: "192.0.2.7", RequestID: "mine-1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w := askFrom("[2001:db8::1]:80", h, append(bearer(bootstrap), "X-Request-Id", "not\tusable")...)
	if got.Address != "2001:db8::1" || got.ID != access.BootstrapID || got.Role != access.Admin {
		t.Errorf("got %+v", got)
	}
	if id := w.Header().Get("X-Request-Id"); id != got.RequestID || len(id) < 16 {
		t.Errorf("the client got %q, the handler %q", id, got.RequestID)
	}
}

// A refusal is written as the API wants it that was asked, its headers are the same
// everywhere.
func TestRefuse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	store := f.store(live)
	_, auditor := f.make(store, access.Token{Role: access.Auditor, Rate: 0.01})
	guard := f.guard(access.GuardConfig{}, live)
	h := guard.Protect(http.HandlerFunc(whoami), access.Routes{
		Need: func(*http.Request) access.Need { return access.NeedOperate },
		Refuse: func(w http.ResponseWriter, status int, code, text string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "%s: %s", code, text)
		},
	})
	for _, tt := range []struct {
		header []string
		status int
		body   string
	}{
		{nil, 401, "token_missing: "},
		{bearer("jp_wrong"), 401, "token_invalid: "},
		{bearer(auditor), 403, "forbidden: a token with the role auditor may not do this: use one with the role admin or operator"},
		{bearer(auditor), 429, "too_many_requests: this token makes more requests than 0.01 per second: wait and try again"},
	} {
		w := ask(h, tt.header...)
		if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.body) {
			t.Errorf("got %d, %s; want %d, %s", w.Code, w.Body, tt.status, tt.body)
		}
		if waits := w.Header().Get("Retry-After"); (tt.status == 429) != (waits != "") {
			t.Errorf("%d comes with Retry-After %q", tt.status, waits)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	store := f.store(live)
	_, usual := f.make(store, access.Token{Role: access.Admin})
	_, own := f.make(store, access.Token{Role: access.Admin, Rate: 0.01})
	guard := f.guard(access.GuardConfig{Rate: 0.02, Bootstrap: bootstrap}, live) // one at once, the next in 50 s
	h := guard.Protect(http.HandlerFunc(whoami), access.Routes{})
	free := guard.Protect(http.HandlerFunc(whoami), access.Routes{Unbounded: true})
	unlimited := f.guard(access.GuardConfig{}, f.replica()).Protect(http.HandlerFunc(whoami), access.Routes{})
	for i, tt := range []struct {
		handler http.Handler
		token   string
		status  int
	}{
		{h, usual, 200},
		{h, usual, 429},
		{free, usual, 200}, // publishing is not bounded
		{free, usual, 200},
		{h, bootstrap, 200}, // each token for itself
		{h, bootstrap, 429},
		{free, own, 200}, // but for a token with a rate of its own
		{free, own, 429},
		{h, own, 429},
		{unlimited, usual, 200},
		{unlimited, usual, 200},
		{unlimited, usual, 200},
		{unlimited, own, 200}, // each process counts by itself
		{unlimited, own, 429},
	} {
		if w := ask(tt.handler, bearer(tt.token)...); w.Code != tt.status {
			t.Errorf("request %d: got %d, want %d: %s", i, w.Code, tt.status, w.Body)
		}
	}
}

// Who brings one wrong token after the other is answered 429, and cannot find the
// server's own token in that time if a person has chosen it. Tokens that were made
// cannot be guessed, so their holders do not suffer.
func TestGuessing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	_, text := f.make(f.store(live), access.Token{Role: access.Admin})
	if err := live.Sync(t.Context()); err != nil { // for an address that guesses nothing is looked up
		t.Fatal(err)
	}
	const madeUp = "swordfish-swordfish"
	cfg := access.GuardConfig{Bootstrap: madeUp, WrongRate: 1e-6}
	h := f.guard(cfg, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	cfg.Bootstrap = bootstrap
	random := f.guard(cfg, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	for _, handler := range []http.Handler{h, random} {
		for i := range 61 {
			want := http.StatusUnauthorized
			if i == 60 {
				want = http.StatusTooManyRequests
			}
			if w := ask(handler, bearer(fmt.Sprintf("swordfish-%d-swordfish", i))...); w.Code != want {
				t.Fatalf("wrong token %d: got %d, want %d", i, w.Code, want)
			}
		}
	}
	for _, tt := range []struct {
		what    string
		address string
		handler http.Handler
		token   string
		status  int
	}{
		{"the made-up one", "192.0.2.7:1", h, madeUp, 429},
		{"the made-up one, from elsewhere", "192.0.2.8:1", h, madeUp, 200},
		{"the random one", "192.0.2.7:1", random, bootstrap, 200},
		{"one that was made", "192.0.2.7:1", h, text, 200},
		{"another secret", "192.0.2.7:1", h, text[:len(text)-43] + strings.Repeat("x", 43), 429},
		{"an unknown id", "192.0.2.7:1", h, "jp_abcdefghijkl_" + strings.Repeat("x", 43), 429},
	} {
		if w := askFrom(tt.address, tt.handler, bearer(tt.token)...); w.Code != tt.status {
			t.Errorf("%s: got %d, want %d: %s", tt.what, w.Code, tt.status, w.Body)
		}
	}
}

// Of many addresses with wrong tokens, those that are too many to remember share a
// limit; an IPv6 network is one.
func TestGuessingFromMany(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.guard(access.GuardConfig{WrongRate: 1e-6}, f.replica()).Protect(http.HandlerFunc(whoami), access.Routes{})
	refused := 0
	for i := range 61 {
		if askFrom(fmt.Sprintf("[2001:db8::%x]:1", i), h, bearer("jp_wrong")...).Code == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("of 61 wrong tokens from one network %d were too many", refused)
	}
	refused = 0
	for i := range 10_000 + 100 {
		if askFrom(fmt.Sprintf("10.1.%d.%d:1", i/256, i%256), h, bearer("jp_wrong")...).Code == http.StatusTooManyRequests {
			refused++
		}
	}
	if want := 101 - 60; refused != want { // one network was there before
		t.Errorf("of 10,100 addresses %d were refused, want %d", refused, want)
	}
}

func TestNewGuardRefuses(t *testing.T) {
	t.Parallel()
	for _, cfg := range []access.GuardConfig{{Rate: -1}, {WrongRate: -1}} {
		if _, err := access.NewGuard(cfg, nil, nil, prometheus.NewRegistry()); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

// Who may do what: the table of docs/tokens.md.
func TestRoles(t *testing.T) {
	t.Parallel()
	got := map[access.Need]string{}
	for _, need := range access.Needs() {
		got[need] = strings.Join(access.RolesThatMay(need), " ")
	}
	want := map[access.Need]string{
		access.NeedToken:   "admin operator auditor publisher",
		access.NeedPublish: "admin operator publisher",
		access.NeedEvents:  "admin operator auditor publisher",
		access.NeedRead:    "admin operator auditor",
		access.NeedSecrets: "admin operator",
		access.NeedOperate: "admin operator",
		access.NeedTokens:  "admin",
		access.NeedMove:    "admin",
		access.NeedLosses:  "admin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, role := range append(access.Roles(), "", "root") {
		if p := (access.Principal{Role: role}); p.May("anything") || p.May("") {
			t.Errorf("%s may do what no rule names", role)
		}
	}
	if (access.Principal{}).May(access.NeedToken) {
		t.Error("without a role one may do something")
	}
	for _, tt := range []struct {
		p      access.Principal
		domain string
		want   bool
	}{
		{access.Principal{Role: access.Publisher, Domains: []string{"orders"}}, "orders", true},
		{access.Principal{Role: access.Publisher, Domains: []string{"orders"}}, "order", false},
		{access.Principal{Role: access.Publisher, Domains: []string{"orders"}}, stream.OperationalDomain, false},
		{access.Principal{Role: access.Publisher}, "orders", true},
		{access.Principal{Role: access.Publisher}, stream.OperationalDomain, false},
		{access.Principal{Role: access.Auditor}, stream.OperationalDomain, true},
		{access.Principal{}, "orders", true},
	} {
		if got := tt.p.Sees(tt.domain); got != tt.want {
			t.Errorf("%+v sees %s: got %t", tt.p, tt.domain, got)
		}
	}
	if access.NeedOf("GET") != access.NeedRead || access.NeedOf("DELETE") != access.NeedOperate || access.NeedOf("BREW") != access.NeedOperate {
		t.Error("a method that may change something is taken for reading")
	}
}

// A request that lasts ends with its token.
func TestWhileValid(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	store := f.store(live)
	began := make(chan struct{}, 2)
	h := f.guard(access.GuardConfig{}, live).Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := access.WhileValid(r.Context())
		defer cancel()
		began <- struct{}{}
		if testkit.Pause(ctx, patience) {
			w.WriteHeader(http.StatusGatewayTimeout)
		}
	}), access.Routes{})
	first, firstText := f.make(store, access.Token{Role: access.Auditor})
	second, secondText := f.make(store, access.Token{Role: access.Auditor})
	codes := make(chan int, 2)
	for _, text := range []string{firstText, secondText} {
		go func() { codes <- ask(h, bearer(text)...).Code }()
		<-began
	}
	read := func(id string) access.Token {
		t.Helper()
		token, err := store.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	renamed := read(first.ID)
	renamed.Name = "another name" // ends nothing
	if _, err := store.Replace(t.Context(), renamed); err != nil {
		t.Fatal(err)
	}
	if err := store.Revoke(t.Context(), read(first.ID)); err != nil {
		t.Fatal(err)
	}
	if code := <-codes; code != http.StatusOK {
		t.Error("a revoked token's request went on")
	}
	ending := read(second.ID)
	ending.ExpiresAt = time.Now().Add(50 * time.Millisecond)
	if _, err := store.Replace(t.Context(), ending); err != nil {
		t.Fatal(err)
	}
	if code := <-codes; code != http.StatusOK {
		t.Error("an expired token's request went on")
	}
}
