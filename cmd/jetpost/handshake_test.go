package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

func TestHandshakeFlags(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		public, origin string
		allowHTTP      bool
		wantPublic     string
		wantOrigin     string
		wantErr        string
	}{
		{"https://hooks.example.com", "", false, "https://hooks.example.com", "hooks.example.com", ""},
		{"https://hooks.example.com:8443/jetpost/", "", false, "https://hooks.example.com:8443/jetpost", "hooks.example.com", ""},
		{"https://hooks.example.com", "events.example.com", false, "https://hooks.example.com", "events.example.com", ""},
		{"", "events.example.com", false, "", "events.example.com", ""},
		{"http://127.0.0.1:8080", "", false, "http://127.0.0.1:8080", "127.0.0.1", ""},
		{"http://hooks.example.com", "", true, "http://hooks.example.com", "hooks.example.com", ""},
		{"http://hooks.example.com", "", false, "", "", "use https"},
		{"ftp://hooks.example.com", "", true, "", "", "use https"},
		{"hooks.example.com", "", false, "", "", "write https://host"},
		{"https://user:swordfish@hooks.example.com", "", false, "", "", "without a user"},
		{"https://hooks.example.com?q", "", false, "", "", "query"},
		{"", "two words", false, "", "", "host name"},
		{"", "a\r\nb", false, "", "", "host name"},
	} {
		f := handshakeFlags{PublicURL: tt.public, WebhookOrigin: tt.origin}
		public, origin, err := f.resolve(tt.allowHTTP)
		switch {
		case tt.wantErr != "":
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "swordfish") {
				t.Errorf("%+v: got error %v", f, err)
			}
		case err != nil || public != tt.wantPublic || origin != tt.wantOrigin:
			t.Errorf("%+v: got %q, %q, %v", f, public, origin, err)
		}
	}
	if _, origin, err := (&handshakeFlags{}).resolve(false); err != nil || origin == "" {
		t.Errorf("got origin %q, %v, want the name of this machine", origin, err)
	}
}

func TestConsentByHand(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--public-url", "https://hooks.example.com/jetpost/")
	callbacks := make(chan string, 10)
	rc := startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
		if r.Method == http.MethodOptions {
			callbacks <- r.Header.Get("WebHook-Request-Callback")
			w.WriteHeader(http.StatusNotFound)
		}
	})
	cli := func(args ...string) (string, error) {
		var out strings.Builder
		err := run(&terminal.Env{Ctx: t.Context(), Stdout: &out, Stderr: &out}, append(args, "--server", s.url, "--token", s.token))
		return out.String(), err
	}
	must := func(wants []string, args ...string) {
		t.Helper()
		out, err := cli(args...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%v: the output lacks %q:\n%s", args, want, out)
			}
		}
	}
	must([]string{"required, pending", "at most 50 requests per second"}, "subscription", "create", "--id", "ci", "--types", "artifact.*", "--url", rc.URL,
		"--handshake", "required", "--handshake-rate", "1200", "--rate", "50")
	s.publish(t, deployed("one", "libs"))
	var callback *url.URL
	select {
	case text := <-callbacks:
		u, err := url.Parse(text)
		if err != nil || !strings.HasPrefix(text, "https://hooks.example.com/jetpost/v1/handshakes/ci/") {
			t.Fatalf("got callback %q, %v", text, err)
		}
		callback = u
	case <-testkit.Timeout():
		t.Fatal("the receiver is not asked")
	}
	eventually(t, "the callback is awaited", func() bool {
		out, _ := cli("subscription", "get", "ci")
		return strings.Contains(out, "pending") && strings.Contains(out, "404 without WebHook-Allowed-Origin, and may still call back")
	})
	if n := rc.count(); n != 1 {
		t.Errorf("%d requests have arrived, want the question only", n)
	}
	get := func(path string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.client.Do(request) // without a token
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	path := strings.TrimPrefix(callback.Path, "/jetpost")
	if wrong, right := get(path[:len(path)-1]), get(path); wrong != http.StatusNotFound || right != http.StatusOK {
		t.Errorf("got %d for a wrong URL, %d for the right one", wrong, right)
	}
	if status := get("/v1/subscriptions/ci"); status != http.StatusUnauthorized {
		t.Errorf("the API answers %d without a token", status)
	}
	got := rc.waitFor(t, 2)[1]
	if origin := got.header.Get("WebHook-Request-Origin"); origin != "hooks.example.com" {
		t.Errorf("the delivery has the origin %q", origin)
	}
	must([]string{"required, allowed for hooks.example.com", "has called back", "at most 20 requests per second, as the receiver allows"}, "subscription", "show", "ci")

	// Asked again it says no.
	out, err := cli("subscription", "handshake", "ci", "--wait", "0s")
	if err != nil || !strings.Contains(out, "required, pending") {
		t.Errorf("got %v\n%s", err, out)
	}
	denier := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		w.Header().Set("WebHook-Allowed-Origin", "other.example.com")
	})
	must(nil, "subscription", "update", "ci", "--url", denier.URL)
	out, err = cli("subscription", "handshake", "ci")
	if err == nil || !strings.Contains(err.Error(), "has not consented") || !strings.Contains(out, `the origin "other.example.com"`) {
		t.Errorf("got %v\n%s", err, out)
	}
	must(nil, "subscription", "update", "ci", "--handshake", "off", "--rate", "0")
	var after subscription.Subscription
	s.call(t, http.MethodGet, "/v1/subscriptions/ci", nil, &after)
	if after.Handshake.Mode != "" && after.Handshake.Mode != subscription.HandshakeOff || after.Delivery.Rate != 0 {
		t.Errorf("got %+v, rate %v", after.Handshake, after.Delivery.Rate)
	}
}
