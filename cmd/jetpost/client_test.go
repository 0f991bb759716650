package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
)

// livez is a server that answers only that it is there.
func livez(tb testing.TB) *httptest.Server {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/livez" {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	tb.Cleanup(server.Close)
	return server
}

// A dead server is an address at which nothing answers.
func deadServer(tb testing.TB) string {
	tb.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	return server.URL
}

func dataDir(tb testing.TB, address, token string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, content := range map[string]string{serverURLFile: address, tokenFile: token} {
		if content == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content+"\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func TestResolve(t *testing.T) {
	t.Parallel()
	one, two := livez(t), livez(t)
	data := dataDir(t, one.URL, "jp_one")
	killed := dataDir(t, deadServer(t), "jp_killed")
	other := dataDir(t, two.URL, "jp_two")
	pointer := tempFile(t, "server.json", `{"url":"`+two.URL+`","token_file":"`+filepath.Join(other, tokenFile)+`"}`)
	given := tempFile(t, "token", "jp_given\n")
	tests := []struct {
		name   string
		flags  apiFlags
		places places
		want   target
	}{
		{"data directory", apiFlags{}, places{dataDirs: []string{data}, pointer: pointer}, target{one.URL, "jp_one", filepath.Join(data, tokenFile)}},
		{"first of two data directories", apiFlags{}, places{dataDirs: []string{other, data}}, target{two.URL, "jp_two", filepath.Join(other, tokenFile)}},
		{"pointer", apiFlags{}, places{dataDirs: []string{t.TempDir()}, pointer: pointer}, target{two.URL, "jp_two", filepath.Join(other, tokenFile)}},
		{"left over from a server that was killed", apiFlags{}, places{dataDirs: []string{killed}, pointer: pointer}, target{two.URL, "jp_two", filepath.Join(other, tokenFile)}},
		{"token given", apiFlags{Token: "jp_flag"}, places{dataDirs: []string{data}}, target{one.URL, "jp_flag", ""}},
		{"token file given", apiFlags{TokenFile: given}, places{dataDirs: []string{data}}, target{one.URL, "jp_given", given}},
		{"server given, its token found", apiFlags{Server: two.URL + "/"}, places{dataDirs: []string{data}, pointer: pointer}, target{two.URL, "jp_two", filepath.Join(other, tokenFile)}},
		{"server given, nothing known of it", apiFlags{Server: "https://jetpost.example.com"}, places{dataDirs: []string{data}}, target{"https://jetpost.example.com", "", ""}},
		{"both given", apiFlags{Server: "https://jetpost.example.com", Token: "jp_flag"}, places{}, target{"https://jetpost.example.com", "jp_flag", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			flags := tt.flags
			flags.places = &tt.places
			got, err := flags.resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(target{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestResolveFails(t *testing.T) {
	t.Parallel()
	dead := deadServer(t)
	if _, err := firstAnswering(t.Context(), []discovered{{URL: dead}, {URL: dead}}); !errors.Is(err, errNoServer) ||
		strings.Count(err.Error(), dead) != 1 || !strings.Contains(err.Error(), "jetpost serve") {
		t.Errorf("got %v", err)
	}
	for _, bad := range []string{"jetpost.example.com", "ftp://x", "http://", "://"} {
		flags := apiFlags{Server: bad, places: &places{}}
		if _, err := flags.resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "--server") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
	flags := apiFlags{TokenFile: filepath.Join(t.TempDir(), "none"), Server: "http://127.0.0.1:1", places: &places{}}
	if _, err := flags.resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "JETPOST_TOKEN") {
		t.Errorf("got %v", err)
	}
}

// The two files that a server writes are what clients read. It sets an
// environment variable, so it cannot run beside others.
func TestDiscoveryFiles(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("JETPOST_DATA", "")
	data, later := t.TempDir(), t.TempDir()
	if err := writeDiscovery(data, "http://[::]:8080"); err != nil {
		t.Fatal(err)
	}
	p := usualPlaces()
	p.dataDirs = []string{data}
	want := []discovered{
		{"http://[::1]:8080", filepath.Join(data, tokenFile)},
		{"http://[::1]:8080", filepath.Join(data, tokenFile)},
		{defaultServer, ""},
	}
	if diff := cmp.Diff(want, p.servers()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, path := range []string{filepath.Join(data, serverURLFile), p.pointer} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	// A server that was started later stays known when this one ends.
	if err := writeDiscovery(later, "http://0.0.0.0:9090"); err != nil {
		t.Fatal(err)
	}
	removeDiscovery(data)
	want = []discovered{{"http://127.0.0.1:9090", filepath.Join(later, tokenFile)}, {defaultServer, ""}}
	if diff := cmp.Diff(want, p.servers()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	removeDiscovery(later)
	if got := p.servers(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if err := writeDiscovery(filepath.Join(data, "missing"), "http://127.0.0.1:1"); err == nil {
		t.Error("a data directory that does not exist is no error")
	}
	t.Setenv("JETPOST_DATA", later)
	if got := usualPlaces().dataDirs; !slices.Equal(got, []string{later, defaultData}) {
		t.Errorf("got %v", got)
	}
	// A container may have no home.
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	if err := writeDiscovery(later, "http://127.0.0.1:1"); err != nil {
		t.Error(err)
	}
}

func TestClientErrors(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	r := cliResult{tb: t}
	runWith := func(args ...string) cliResult {
		r.err = run(&env{ctx: t.Context(), stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard}, args)
		return r
	}
	runWith("subscription", "list", "--server", s.url, "--token", "jp_wrong-swordfish-jp_wrong").fails("does not accept the token that was given", "JETPOST_TOKEN")
	if strings.Contains(r.err.Error(), "swordfish") {
		t.Error("the error shows the token")
	}
	file := tempFile(t, "token", "jp_wrong-jp_wrong-jp_wrong")
	runWith("subscription", "list", "--server", s.url, "--token-file", file).fails("does not accept the token in " + file)
	runWith("subscription", "list", "--server", s.url).fails("asks for a token", "--token")
	dead := deadServer(t)
	runWith("subscription", "list", "--server", dead, "--token", apiToken).fails("no server answers at "+dead, "jetpost serve")
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer page.Close()
	runWith("subscription", "list", "--server", page.URL, "--token", apiToken).fails("does not answer like a jetpost server")

	s.cli("subscription", "get", "nope").fails("not found")
	s.cli("subscription", "create", "--id", "No", "--types", "git.pusch", "--url", "https://10.0.0.1/").
		fails("3 things are wrong", "\n  id: ", "\n  types[0]: ", "did you mean", "\n  endpoint.url: ")
	s.setIntercept(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "\x1b[31mproxy\x07 says no")
	})
	err := s.cli("subscription", "list").fails("proxy").err
	if strings.ContainsAny(err.Error(), "\x1b\x07") {
		t.Errorf("control characters reach the terminal: %q", err)
	}
}

func TestFollowGoesOn(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch connections.Add(1) {
		case 1:
			_, _ = io.WriteString(w, "{\"sequence\":1}\n\n{\"sequence\":2}\n")
		case 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3:
			if got := r.URL.Query().Get("from_seq"); got != "3" {
				t.Errorf("went on from %q", got)
			}
			_, _ = io.WriteString(w, "{\"sequence\":3}\n")
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer server.Close()
	flags := apiFlags{Server: server.URL, Token: apiToken, places: &places{}}
	c, err := flags.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	open := func(ctx context.Context) func(client.Option) iter.Seq2[*v1.Attempt, error] {
		return func(o client.Option) iter.Seq2[*v1.Attempt, error] {
			return c.Attempts.Follow(ctx, "", uint64(len(lines)+1), o)
		}
	}
	err = keepFollowing(t.Context(), io.Discard, open(t.Context()), func(a *v1.Attempt, line json.RawMessage) error {
		lines = append(lines, string(line))
		if a.Sequence != uint64(len(lines)) {
			t.Errorf("got the sequence %d of %s", a.Sequence, line)
		}
		return nil
	})
	if refused, ok := errors.AsType[*v1.Problem](err); !ok || refused.Status != http.StatusForbidden {
		t.Errorf("ended with %v", err)
	}
	if diff := cmp.Diff([]string{`{"sequence":1}`, `{"sequence":2}`, `{"sequence":3}`}, lines); diff != "" {
		t.Error(diff)
	}
	// What reading a line ends with ends it all, and so does the context.
	connections.Store(0)
	failure := errors.New("full")
	if err := keepFollowing(t.Context(), io.Discard, open(t.Context()), func(*v1.Attempt, json.RawMessage) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	connections.Store(0)
	if err := keepFollowing(ctx, io.Discard, open(ctx), func(*v1.Attempt, json.RawMessage) error { cancel(); return nil }); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestSecretSource(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	created := s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook").ok().stdout
	flags := apiFlags{Server: s.url, Token: apiToken}
	source := flags.secretSource()
	got, err := source(t.Context(), "ci")
	if err != nil || len(got) != 1 || !strings.Contains(created, got[0]) {
		t.Errorf("got %d secrets, %v", len(got), err)
	}
	for _, id := range []string{"nope", "", "../../v1/events", "a b", strings.Repeat("x", 10_000)} {
		if got, err := source(t.Context(), id); err == nil {
			t.Errorf("%q: got %d secrets and no error", id, len(got))
		}
	}
}
