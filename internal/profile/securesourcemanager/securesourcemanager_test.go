package securesourcemanager_test

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The vector of Gitea's signature, which the profile uses.
const (
	vectorSecret    = "tell no one"
	vectorBody      = `{"ref":"refs/heads/main"}`
	vectorSignature = "91f393d3a71959486cf4397b32f56554c9e563cf97e50cbd6a938c6c9af2e582"
)

func render(t *testing.T, e *event.Event, secrets ...string) (http.Header, []byte, error) {
	t.Helper()
	renderer, err := securesourcemanager.Webhook{}.Prepare(&subscription.Subscription{ID: "hook"})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{
		"User-Agent": {"jetpost"}, wire.HeaderSubscription: {"hook"}, wire.HeaderAttempt: {"1"},
		"X-Securesourcemanager-Event": {"set by the user"},
	}
	body, err := renderer.Render(&wire.Request{
		Header: h, Secrets: secrets, Now: time.Now(),
		Delivery: &delivery.Delivery{ID: "dlv_0", Event: e},
	})
	return h, body, err
}

func TestRequest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		eventType, event, signature string
		secrets                     []string
	}{
		{"git.push", "push", "", nil},
		{"git.push", "push", vectorSignature, []string{vectorSecret}},
		{"git.push", "push", vectorSignature, []string{vectorSecret, "older"}},
		{"git.pull_request", "pull_request", "", nil},
		{"git.pull_request_comment", "pull_request_comment", "", nil},
	} {
		h, body, err := render(t, &event.Event{Type: tt.eventType, Data: []byte(vectorBody)}, tt.secrets...)
		if err != nil {
			t.Fatal(err)
		}
		if string(body) != vectorBody {
			t.Errorf("got body %q, want %q", body, vectorBody)
		}
		want := http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"jetpost"},
			"X-SecureSourceManager-Delivery":  {"6f64a6db-e2c0-46da-8809-b85196520263"},
			"X-SecureSourceManager-Event":     {tt.event},
			"X-SecureSourceManager-Signature": {tt.signature},
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("headers differ (-want +got):\n%s", diff)
		}
	}
}

// The vendor's samples arrive as they were published.
func TestPublishedPayloads(t *testing.T) {
	t.Parallel()
	for name, eventType := range map[string]string{"ssm_push.json": "git.push", "ssm_pull_request.json": "git.pull_request"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "..", "schemas", "testdata", "facts", name))
		if err != nil {
			t.Fatal(err)
		}
		_, body, err := render(t, &event.Event{Type: eventType, DataContentType: "application/json", Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(body)); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", name, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*event.Event{
		"another type": {Type: "artifact.deployed", Data: []byte(`{}`)},
		"tag_pushed":   {Type: "git.tag_pushed", Data: []byte(`{}`)},
		"no data":      {Type: "git.push"},
	} {
		if _, body, err := render(t, e); err == nil || body != nil {
			t.Errorf("%s: got %q, %v, want an error", name, body, err)
		}
	}
	for name, e := range map[string]*event.Event{
		"text":     {Type: "git.push", DataContentType: "text/plain", Data: []byte(`{}`)},
		"bytes":    {Type: "git.push", DataContentType: "application/octet-stream", Data: []byte{0xff}},
		"not JSON": {Type: "git.push", Data: []byte(`{`)},
	} {
		if _, body, err := render(t, e); !errors.Is(err, wire.ErrNotJSON) || body != nil {
			t.Errorf("%s: got %q, %v, want ErrNotJSON", name, body, err)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	rules := subscription.Rules{Traits: func(string) (subscription.Traits, bool) { return securesourcemanager.Webhook{}.Traits(), true }}
	for _, tt := range []struct {
		types []string
		want  []string
	}{
		{[]string{"git.push", "git.pull_request", "git.pull_request_comment"}, nil},
		{[]string{"git.*"}, nil},
		{[]string{"git.push", "artifact.*", "git.tag"}, []string{"types[1]", "types[2]"}},
	} {
		sub := &subscription.Subscription{Types: tt.types, Endpoint: subscription.Endpoint{URL: "https://example.com?token=1"}, Profile: "secure-source-manager"}
		sub.SetDefaultsOf(securesourcemanager.Webhook{}.Traits(), time.Now())
		if len(sub.Secrets) != 0 || sub.Endpoint.Timeout != subscription.Duration(subscription.DefaultTimeout) || len(sub.Delivery.Retry) != len(subscription.DefaultSchedule()) {
			t.Errorf("defaults are not the standard ones: %+v", sub)
		}
		var got []string
		if invalid, ok := errors.AsType[*subscription.ValidationError](sub.Validate(rules)); ok {
			for _, p := range invalid.Problems {
				got = append(got, p.Field)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%v: problems differ (-want +got):\n%s", tt.types, diff)
		}
	}
}

func TestJoinQuery(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ target, sensitive, want string }{
		{"https://example.com", "", "https://example.com"},
		{"https://example.com", "key=a&secret=b", "https://example.com?key=a&secret=b"},
		{"https://example.com/h?x=1", "key=a", "https://example.com/h?x=1&key=a"},
		{"https://example.com/h?", "?key=a%2Fb", "https://example.com/h?key=a%2Fb"},
		{"https://example.com/h?x=1&", "&key=a", "https://example.com/h?x=1&key=a"},
		{"https://example.com/h", "??key=a", "https://example.com/h??key=a"},
		{"https://example.com/h?x", "", "https://example.com/h?x"},
		{"https://example.com/h", "?", "https://example.com/h"},
		{"https://example.com/h", "b=2&a=1&a=%zz", "https://example.com/h?b=2&a=1&a=%zz"},
	} {
		got, err := securesourcemanager.JoinQuery(tt.target, tt.sensitive)
		if err != nil || got != tt.want {
			t.Errorf("%s and %s: got %s, %v, want %s", tt.target, tt.sensitive, got, err, tt.want)
			continue
		}
		if tt.target[len(tt.target)-1] == '?' && got == tt.target {
			continue
		}
		// The model keeps the same query apart, and the sender calls the same URL, but for
		// what RFC 3986 does not allow in it.
		sub := &subscription.Subscription{Endpoint: subscription.Endpoint{URL: got}}
		sub.SetDefaults(time.Now())
		if called := sub.Endpoint.RequestURL(); called != strings.Replace(got, "%zz", "%25zz", 1) {
			t.Errorf("%s is called as %s", got, called)
		}
		if strings.Contains(sub.Endpoint.URL, "?") {
			t.Errorf("%s shows its query", sub.Endpoint.URL)
		}
		parsed, err := url.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		if _, query, _ := strings.Cut(got, "?"); parsed.RawQuery != query {
			t.Errorf("%s goes out with the query %s", got, parsed.RawQuery)
		}
	}
	for _, sensitive := range []string{"a=b#c", "a= b", "a=\tb", "a=\r\nb", "a=\u00fc", "a=\x7f"} {
		if got, err := securesourcemanager.JoinQuery("https://example.com", sensitive); !errors.Is(err, securesourcemanager.ErrQuery) || got != "" {
			t.Errorf("%q: got %q, %v, want ErrQuery", sensitive, got, err)
		}
	}
}
