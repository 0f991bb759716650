package access_test

import (
	"errors"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/testkit"
)

// What is stored of a token does not let anybody in.
func TestTokenIsStoredHashed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store := f.store(f.replica())
	made, text := f.make(store, access.Token{Name: "shop", Role: access.Publisher, Domains: []string{"orders"}, CreatedBy: "bootstrap"})
	if !regexp.MustCompile(`^jp_[a-z2-7]{12}_[A-Za-z0-9_-]{43}$`).MatchString(text) || !strings.HasPrefix(text, "jp_"+made.ID+"_") {
		t.Errorf("the token of %s is of another form", made.ID)
	}
	found := 0
	for r, err := range stream.Read(t.Context(), f.js, f.layout.TokensStream(), stream.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		found++
		if strings.Contains(string(r.Data), text[len(text)-43:]) {
			t.Error("the bucket has the token")
		}
		got := regexp.MustCompile(`[0-9a-f]{64}|20[0-9-]+T[0-9:.]+Z`).ReplaceAllString(string(r.Data), "…")
		if want := `{"name":"shop","role":"publisher","domains":["orders"],"sha256":"…","created_at":"…","created_by":"bootstrap"}`; got != want {
			t.Errorf("got the record %s", got)
		}
	}
	if found != 1 {
		t.Errorf("there are %d records", found)
	}
	noSecrets(t, f, text)
}

func TestStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	store, other := f.store(f.replica()), f.store(f.replica())
	ctx := t.Context()
	first, _ := f.make(store, access.Token{Name: "first", Role: access.Admin, ExpiresAt: time.Now().Add(time.Hour)})
	second, _ := f.make(store, access.Token{Name: "second", Role: access.Publisher, Domains: []string{"orders", "git"}, Rate: 5})
	got, err := other.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]access.Token{first, second}, got, cmpopts.IgnoreUnexported(access.Token{}), cmpopts.SortSlices(func(a, b access.Token) bool { return a.Name < b.Name })); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	mine, err := store.Get(ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.Get(ctx, first.ID)
	if err != nil {
		t.Fatal(err)
	}
	mine.Name = "renamed"
	if _, err := store.Replace(ctx, mine); err != nil {
		t.Fatal(err)
	}
	theirs.Name = "at the same time"
	if _, err := other.Replace(ctx, theirs); !errors.Is(err, access.ErrConflict) {
		t.Errorf("got error %v", err)
	}
	if err := other.Revoke(ctx, theirs); !errors.Is(err, access.ErrConflict) {
		t.Errorf("got error %v", err)
	}
	if theirs, err = other.Get(ctx, first.ID); err != nil || theirs.Name != "renamed" {
		t.Errorf("got %q, %v", theirs.Name, err)
	}
	theirs.Name = ""
	if _, err := other.Replace(ctx, theirs); err == nil {
		t.Error("a token may lose its name")
	}
	if err := other.Revoke(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(ctx, first.ID); !errors.Is(err, access.ErrNotFound) {
		t.Errorf("got error %v", err)
	}
	if _, err := store.Replace(ctx, mine); !errors.Is(err, access.ErrConflict) {
		t.Errorf("got error %v for a change of what was revoked", err)
	}
}

// A token works at once on processes that have not received it, and stops working on
// all of them.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	here, there := f.replica(), f.replica()
	store := f.store(here)
	h := f.guard(access.GuardConfig{WrongRate: 1e6}, there).Protect(http.HandlerFunc(whoami), access.Routes{})
	for range 20 { // often enough to come before the watch brings it
		made, text := f.make(store, access.Token{Role: access.Auditor})
		if w := ask(h, bearer(text)...); w.Code != http.StatusOK || w.Header().Get("Id") != made.ID {
			t.Fatalf("a token that was just made: got %d, %s", w.Code, w.Body)
		}
		token, err := store.Get(t.Context(), made.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Revoke(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "it is revoked there, too", func() bool { return ask(h, bearer(text)...).Code == http.StatusUnauthorized })
	}
	made, text := f.make(store, access.Token{Role: access.Auditor})
	token, err := store.Get(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	token.ExpiresAt = time.Now().Add(-time.Second)
	if _, err := store.Replace(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "it has expired there, too", func() bool {
		w := ask(h, bearer(text)...)
		return w.Code == http.StatusUnauthorized && strings.Contains(w.Body.String(), "has expired at")
	})
}

// Unknown tokens do not cause requests to NATS without bound, and a
// known token does not notice.
func TestUnknownTokensAreBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	_, text := f.make(f.store(live), access.Token{Role: access.Auditor})
	h := f.guard(access.GuardConfig{WrongRate: 1e6}, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	unknown := func(n int) string {
		id := []byte("abcdefghijkl")
		for i := range id {
			id[i] = "abcdefghijklmnopqrstuvwxyz234567"[n>>(5*i)&31]
		}
		return "jp_" + string(id) + "_" + strings.Repeat("x", 43)
	}
	refused := false
	for n := 0; !refused && n < 1_000_000; n++ {
		switch w := ask(h, bearer(unknown(n))...); {
		case w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "":
			refused = true
		case w.Code != http.StatusUnauthorized:
			t.Fatalf("got %d", w.Code)
		}
	}
	if !refused {
		t.Error("a million unknown tokens were all looked up")
	}
	if w := ask(h, bearer(text)...); w.Code != http.StatusOK {
		t.Errorf("a known token gets %d meanwhile", w.Code)
	}
	// One that was looked up is remembered, and asks for nothing.
	if w := ask(h, bearer(unknown(0))...); w.Code != http.StatusUnauthorized {
		t.Errorf("got %d for a token that was found unknown before", w.Code)
	}
}

// While NATS is away, known tokens go on working, and of others it is said that
// nothing is known.
func TestNATSIsAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	_, text := f.make(f.store(live), access.Token{Role: access.Auditor})
	h := f.guard(access.GuardConfig{Bootstrap: bootstrap}, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	f.nats.Stop()
	for _, tt := range []struct {
		token string
		code  int
	}{{text, 200}, {bootstrap, 200}, {"jp_abcdefghijkl_" + strings.Repeat("x", 43), 503}} {
		if w := ask(h, bearer(tt.token)...); w.Code != tt.code {
			t.Errorf("got %d, want %d: %s", w.Code, tt.code, w.Body)
		}
	}
	f.nats.Start()
	testkit.Eventually(t, "it is known again that there is no such token", func() bool {
		return ask(h, bearer("jp_abcdefghijkl_"+strings.Repeat("x", 43))...).Code == http.StatusUnauthorized
	})
}

func TestLastUsed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	store := f.store(live)
	made, text := f.make(store, access.Token{Role: access.Auditor})
	h := f.guard(access.GuardConfig{Bootstrap: bootstrap}, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	used := func() map[string]time.Time {
		t.Helper()
		got, err := store.LastUsed(t.Context(), access.EveryToken)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := used(); len(got) != 0 {
		t.Errorf("before any use: %v", got)
	}
	ask(h, bearer(text[:len(text)-1]+"!")...) // a wrong one is no use
	ask(h, bearer(bootstrap)...)
	for range 100 {
		ask(h, bearer(text)...)
	}
	testkit.Eventually(t, "its use was noted", func() bool { return len(used()) == 1 })
	f.make(store, access.Token{Role: access.Auditor})
	for id, want := range map[string]int{made.ID: 1, "aaaaaaaaaaaa": 0, ">": 0, "": 0} {
		if got, err := store.LastUsed(t.Context(), id); err != nil || len(got) != want {
			t.Errorf("%q: got %v and error %v", id, got, err)
		}
	}
	if at := used()[made.ID]; time.Since(at) > patience || time.Since(at) < 0 {
		t.Errorf("last used %v", at)
	}
	info, err := f.js.Stream(t.Context(), f.layout.StateStream())
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().State.LastSeq; n > 2 { // two only at the turn of a minute
		t.Errorf("100 uses were written %d times", n)
	}
	token, err := store.Get(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Revoke(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if got := used(); len(got) != 0 {
		t.Errorf("of a revoked token there is left: %v", got)
	}
}

func TestMakeRefuses(t *testing.T) {
	t.Parallel()
	store := access.NewStore(nil, stream.Layout{}, nil, newFixture(t).log)
	for _, tt := range []struct {
		field string
		token access.Token
	}{
		{"name", access.Token{Role: access.Admin}},
		{"name", access.Token{Name: " ", Role: access.Admin}},
		{"name", access.Token{Name: strings.Repeat("ü", 101), Role: access.Admin}},
		{"name", access.Token{Name: "a\x00b", Role: access.Admin}},
		{"name", access.Token{Name: "a\xff", Role: access.Admin}},
		{"role", access.Token{Name: "x"}},
		{"role", access.Token{Name: "x", Role: "root"}},
		{"rate", access.Token{Name: "x", Role: access.Admin, Rate: -1}},
		{"rate", access.Token{Name: "x", Role: access.Admin, Rate: math.NaN()}},
		{"rate", access.Token{Name: "x", Role: access.Admin, Rate: math.Inf(1)}},
		{"expires_at", access.Token{Name: "x", Role: access.Admin, ExpiresAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{"domains", access.Token{Name: "x", Role: access.Operator, Domains: []string{"orders"}}},
		{"domains", access.Token{Name: "x", Role: access.Publisher}},
		{"domains", access.Token{Name: "x", Role: access.Publisher, Domains: slices.Repeat([]string{"a"}, 101)}},
		{"domains[0]", access.Token{Name: "x", Role: access.Publisher, Domains: []string{"Orders"}}},
		{"domains[1]", access.Token{Name: "x", Role: access.Publisher, Domains: []string{"orders", "orders"}}},
		{"domains[1]", access.Token{Name: "x", Role: access.Publisher, Domains: []string{"orders", "*"}}},
		{"domains[0]", access.Token{Name: "x", Role: access.Publisher, Domains: []string{"jetpost"}}},
	} {
		_, _, err := store.Make(tt.token)
		if wrong, ok := errors.AsType[*access.FieldError](err); !ok || wrong.Field != tt.field {
			t.Errorf("%+v: got %v, want something about %s", tt.token, err, tt.field)
		}
	}
	if _, _, err := store.Make(access.Token{Name: strings.Repeat("ü", 100), Role: access.Publisher, Domains: []string{"*"}}); err != nil {
		t.Error(err)
	}
}

// A record that could not have been written by us is refused.
func TestForgedRecords(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	live := f.replica()
	kv, err := f.js.KeyValue(t.Context(), f.layout.TokensBucket())
	if err != nil {
		t.Fatal(err)
	}
	const id = "abcdefghijkl"
	text := "jp_" + id + "_" + strings.Repeat("x", 43)
	h := f.guard(access.GuardConfig{WrongRate: 1e6}, live).Protect(http.HandlerFunc(whoami), access.Routes{})
	store := f.store(live)
	const sum = `"sha256":"` + `0000000000000000000000000000000000000000000000000000000000000000"`
	for i, value := range []string{
		`{`, `{}`, `null`, `{"name":"x","role":"admin"}`, `{"name":"x","role":"admin","sha256":"00"}`,
		`{"name":"x","role":"root",` + sum + `}`, `{"name":"x","role":"publisher",` + sum + `}`, `{"name":"x","role":["admin"],` + sum + `}`,
	} {
		if _, err := kv.Put(t.Context(), id, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Get(t.Context(), id); !errors.Is(err, access.ErrNotFound) {
			t.Errorf("%s: got error %v", value, err)
		}
		if w := ask(h, bearer(text)...); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: got %d", value, w.Code)
		}
		if got := f.logs.FilterMessage("token cannot be used").Len(); got != i+1 {
			t.Errorf("%s: the log has it %d times", value, got)
		}
	}
	if _, err := kv.Put(t.Context(), id, []byte(`{"name":"x","role":"admin",`+sum+`}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get(t.Context(), id); err != nil {
		t.Errorf("a record that is right: %v", err)
	}
}

func FuzzText(f *testing.F) {
	f.Add("jp_abcdefghijkl_" + strings.Repeat("x", 43))
	f.Add(bootstrap)
	f.Add("")
	fixture := newFixture(f)
	live := fixture.replica()
	_, text := fixture.make(fixture.store(live), access.Token{Role: access.Admin})
	h := fixture.guard(access.GuardConfig{Bootstrap: bootstrap, WrongRate: 1e9}, live).Protect(http.HandlerFunc(whoami), access.Routes{Vendors: true})
	f.Fuzz(func(t *testing.T, given string) {
		for _, header := range []string{"Authorization", "X-JFrog-Art-Api"} {
			w := ask(h, header, given)
			isToken := strings.HasSuffix(given, text) || strings.HasSuffix(given, bootstrap)
			if w.Code == http.StatusOK && !isToken {
				t.Errorf("%s %q is accepted", header, given)
			}
		}
	})
}

func TestCheckBootstrap(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{"": false, "swordfish": false, "sword fish sword fish": false, "swordfish-swordfish\n": false, "swordfish-swordfish": true} {
		if err := access.CheckBootstrap(text); (err == nil) != ok || err != nil && text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A token that a person has written into the file is the same from every editor.
func TestLoadBootstrapAsEditorsSaveIt(t *testing.T) {
	t.Parallel()
	const token = "jp_of-our-own-making"
	path := filepath.Join(t.TempDir(), "admin.token")
	for _, content := range []string{token, token + "\n", "\ufeff" + token + "\r\n", "  " + token + "\t\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, created, err := access.LoadBootstrap(path); got != token || created || err != nil {
			t.Errorf("%q: got %q, %v", content, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("\xff\xfej\x00p\x00_\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := access.LoadBootstrap(path); err == nil || !strings.Contains(err.Error(), "save it as UTF-8") {
		t.Errorf("got %v", err)
	}
}

func TestLoadBootstrap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.token")
	tokens := make([]string, 8)
	var running sync.WaitGroup
	for i := range tokens {
		running.Go(func() {
			var err error
			if tokens[i], _, err = access.LoadBootstrap(path); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	slices.Sort(tokens)
	if len(slices.Compact(tokens)) != 1 || !strings.HasPrefix(tokens[0], "jp_") || len(tokens[0]) != len("jp_")+43 {
		t.Errorf("got %d tokens of %d characters", len(slices.Compact(tokens)), len(tokens[0]))
	}
	if _, created, err := access.LoadBootstrap(path); created || err != nil {
		t.Errorf("it was made again: %t, %v", created, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	for content, mode := range map[string]os.FileMode{
		"":                          0o600,
		"short":                     0o600,
		"two words of some length":  0o600,
		"swordfish-swordfish-sword": 0o644,
	} {
		bad := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(bad, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := access.LoadBootstrap(bad); err == nil || !strings.Contains(err.Error(), bad) || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%q with mode %v: %v", content, mode, err)
		}
	}
	if _, _, err := access.LoadBootstrap(filepath.Join(t.TempDir(), "no", "token")); err == nil {
		t.Error("a folder that does not exist is no error")
	}
}
