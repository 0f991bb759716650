package connect

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
	"github.com/jetpost/jetpost/internal/testkit"
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
	for name, content := range map[string]string{serverURLFile: address, TokenFile: token} {
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
	pointer := testkit.File(t, "server.json", `{"url":"`+two.URL+`","token_file":"`+filepath.Join(other, TokenFile)+`"}`)
	given := testkit.File(t, "token", "jp_given\n")
	tests := []struct {
		name   string
		flags  Flags
		places places
		want   Target
	}{
		{"data directory", Flags{}, places{dataDirs: []string{data}, pointer: pointer}, Target{one.URL, "jp_one", filepath.Join(data, TokenFile)}},
		{"first of two data directories", Flags{}, places{dataDirs: []string{other, data}}, Target{two.URL, "jp_two", filepath.Join(other, TokenFile)}},
		{"pointer", Flags{}, places{dataDirs: []string{t.TempDir()}, pointer: pointer}, Target{two.URL, "jp_two", filepath.Join(other, TokenFile)}},
		{"left over from a server that was killed", Flags{}, places{dataDirs: []string{killed}, pointer: pointer}, Target{two.URL, "jp_two", filepath.Join(other, TokenFile)}},
		{"token given", Flags{Token: "jp_flag"}, places{dataDirs: []string{data}}, Target{one.URL, "jp_flag", ""}},
		{"token file given", Flags{TokenFile: given}, places{dataDirs: []string{data}}, Target{one.URL, "jp_given", given}},
		{"server given, its token found", Flags{Server: two.URL + "/"}, places{dataDirs: []string{data}, pointer: pointer}, Target{two.URL, "jp_two", filepath.Join(other, TokenFile)}},
		{"server given, nothing known of it", Flags{Server: "https://jetpost.example.com"}, places{dataDirs: []string{data}}, Target{"https://jetpost.example.com", "", ""}},
		{"both given", Flags{Server: "https://jetpost.example.com", Token: "jp_flag"}, places{}, Target{"https://jetpost.example.com", "jp_flag", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			flags := tt.flags
			flags.places = &tt.places
			got, err := flags.Resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(Target{})); diff != "" {
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
		flags := Flags{Server: bad, places: &places{}}
		if _, err := flags.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "--server") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
	flags := Flags{TokenFile: filepath.Join(t.TempDir(), "none"), Server: "http://127.0.0.1:1", places: &places{}}
	if _, err := flags.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "JETPOST_TOKEN") {
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
	if err := WriteDiscovery(data, "http://[::]:8080"); err != nil {
		t.Fatal(err)
	}
	p := usualPlaces()
	p.dataDirs = []string{data}
	want := []discovered{
		{"http://[::1]:8080", filepath.Join(data, TokenFile)},
		{"http://[::1]:8080", filepath.Join(data, TokenFile)},
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
	if err := WriteDiscovery(later, "http://0.0.0.0:9090"); err != nil {
		t.Fatal(err)
	}
	RemoveDiscovery(data)
	want = []discovered{{"http://127.0.0.1:9090", filepath.Join(later, TokenFile)}, {defaultServer, ""}}
	if diff := cmp.Diff(want, p.servers()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	RemoveDiscovery(later)
	if got := p.servers(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if err := WriteDiscovery(filepath.Join(data, "missing"), "http://127.0.0.1:1"); err == nil {
		t.Error("a data directory that does not exist is no error")
	}
	t.Setenv("JETPOST_DATA", later)
	if got := usualPlaces().dataDirs; !slices.Equal(got, []string{later, defaultData}) {
		t.Errorf("got %v", got)
	}
	// A container may have no home.
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	if err := WriteDiscovery(later, "http://127.0.0.1:1"); err != nil {
		t.Error(err)
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
	flags := Flags{Server: server.URL, Token: "jp_test", places: &places{}}
	c, err := flags.Client(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	open := func(ctx context.Context) func(client.Option) iter.Seq2[*v1.Attempt, error] {
		return func(o client.Option) iter.Seq2[*v1.Attempt, error] {
			return c.Attempts.Follow(ctx, "", uint64(len(lines)+1), o)
		}
	}
	err = KeepFollowing(t.Context(), io.Discard, open(t.Context()), func(a *v1.Attempt, line json.RawMessage) error {
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
	if err := KeepFollowing(t.Context(), io.Discard, open(t.Context()), func(*v1.Attempt, json.RawMessage) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	connections.Store(0)
	if err := KeepFollowing(ctx, io.Discard, open(ctx), func(*v1.Attempt, json.RawMessage) error { cancel(); return nil }); err != nil {
		t.Errorf("got %v", err)
	}
}
