package jfrog_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// The capture of a real instance, and what it signed it with.
const (
	vectorBody      = `{"domain":"artifact","event_type":"deployed","data":{"repo_key":"example-repo-local","path":"some.log","name":"some.log","sha256":"069092736c73613a25917f582f8a2621b8495cb723914c85dc570761ce0846f8","size":353178},"subscription_key":"test","source":"jfrog/jfrt@01h9mspg5atsp402qqxm071zjv"}`
	vectorSecret    = "tell no one"
	vectorSignature = "1e33f6e9e40690dff399800aad5789c4719079b345a30cf13adc0db94ecffd8d"
	vectorSource    = "jfrog/jfrt@01h9mspg5atsp402qqxm071zjv"
)

func vectorEvent() *event.Event {
	return &event.Event{
		ID: "1", Source: vectorSource, Type: "artifact.deployed", DataContentType: "application/json",
		Data: []byte(`{"repo_key":"example-repo-local","path":"some.log","name":"some.log","sha256":"069092736c73613a25917f582f8a2621b8495cb723914c85dc570761ce0846f8","size":353178}`),
	}
}

// render makes the request of p for one event of sub.
func render(t *testing.T, p wire.Profile, sub *subscription.Subscription, e *event.Event, secrets ...string) (http.Header, []byte, error) {
	t.Helper()
	renderer, err := p.Prepare(sub)
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{"User-Agent": {"jetpost"}, wire.HeaderSubscription: {"test"}, wire.HeaderAttempt: {"1"}}
	for name, value := range sub.Endpoint.Headers {
		h.Set(name, value)
	}
	for name, value := range sub.Endpoint.SecretHeaders {
		h.Set(name, value.Reveal())
	}
	method := sub.Endpoint.Method
	if method == "" {
		method = http.MethodPost
	}
	body, err := renderer.Render(&wire.Request{
		Header: h, Method: method, Host: "example.com", Path: "/", Secrets: secrets, Now: time.Unix(1772364605, 0),
		Delivery: &delivery.Delivery{ID: delivery.ID(sub.ID, e.Source, e.ID), SubscriptionID: sub.ID, Event: e, Attempt: 1},
	})
	return h, body, err
}

func TestVector(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, sign string
		secrets    []string
		want       http.Header
	}{
		{"signed", "true", []string{vectorSecret}, http.Header{"X-JFrog-Event-Auth": {vectorSignature}}},
		{"signed by the newest secret", "true", []string{vectorSecret, "older"}, http.Header{"X-JFrog-Event-Auth": {vectorSignature}}},
		{"the secret itself", "false", []string{vectorSecret}, http.Header{"X-JFrog-Event-Auth": {vectorSecret}}},
		{"the secret itself by default", "", []string{vectorSecret}, http.Header{"X-JFrog-Event-Auth": {vectorSecret}}},
		{"no secret", "true", nil, http.Header{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sub := &subscription.Subscription{ID: "test", Settings: map[string]string{jfrog.SettingSign: tt.sign}}
			h, body, err := render(t, jfrog.Webhook{}, sub, vectorEvent(), tt.secrets...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(vectorBody, string(body)); diff != "" {
				t.Errorf("body differs (-want +got):\n%s", diff)
			}
			tt.want["Content-Type"], tt.want["User-Agent"] = []string{"application/json"}, []string{"jetpost"}
			if diff := cmp.Diff(tt.want, h); diff != "" {
				t.Errorf("headers differ (-want +got):\n%s", diff)
			}
		})
	}
}

// Every payload that the vendor or a capture shows comes out byte for byte, of the
// data and the settings that it shows.
func TestPublishedPayloads(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "schemas", "testdata", "facts", "jfrog_examples.json"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct{ Payload json.RawMessage }
	if err := json.Unmarshal(text, &entries); err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		var want struct {
			Domain      string          `json:"domain"`
			EventType   string          `json:"event_type"`
			Data        json.RawMessage `json:"data"`
			Key         string          `json:"subscription_key"`
			Origin      string          `json:"jpd_origin"`
			Source      string          `json:"source"`
			UserContext *struct {
				ID      string `json:"id"`
				IsToken bool   `json:"isToken"`
				Realm   string `json:"realm"`
			} `json:"userContext"`
		}
		if err := json.Unmarshal(entry.Payload, &want); err != nil {
			t.Fatal(err)
		}
		settings := map[string]string{
			jfrog.SettingSubscriptionKey: want.Key, jfrog.SettingOrigin: want.Origin, jfrog.SettingUserContext: strconv.FormatBool(want.UserContext != nil),
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, want.Data, "\r", "\t "); err != nil {
			t.Fatal(err)
		}
		e := &event.Event{ID: "1", Source: want.Source, Type: want.Domain + "." + want.EventType, Data: indented.Bytes()}
		if want.UserContext != nil {
			e.Extensions = []event.Attribute{{Name: "authid", Value: want.UserContext.ID}, {Name: "authtype", Value: "user"}}
			settings[jfrog.SettingUserRealm] = want.UserContext.Realm
		}
		sub := &subscription.Subscription{ID: "hook", Types: []string{e.Type}, Settings: settings}
		if found := (jfrog.Webhook{}).Traits().Check(sub); len(found) > 0 {
			t.Errorf("%s: %v", e.Type, found)
		}
		_, got, err := render(t, jfrog.Webhook{}, sub, e)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(entry.Payload), string(got)); diff != "" {
			t.Errorf("%s: body differs (-want +got):\n%s", e.Type, diff)
		}
	}
	if len(entries) != 72 {
		t.Errorf("%d payloads, want 72", len(entries))
	}
}

func TestEnvelope(t *testing.T) {
	t.Parallel()
	const synthetic = "jfrog/jfrt@7wfm2n4eesbmtwjfkqcz5fgg5p" // must not change: receivers have seen it
	user := []event.Attribute{{Name: "authid", Value: `jo"hn`}, {Name: "authtype", Value: "api_key"}}
	for _, tt := range []struct {
		name     string
		event    event.Event
		settings map[string]string
		want     string
	}{
		{
			name:  "bytes of the data stay",
			event: event.Event{Source: vectorSource, Type: "a.b", Data: []byte(" {\"z\" : 12345678901234567890.10 ,\n\t\"a\":[1 , 2],\"s\":\" a \\\" \\u00e9\\/<&> ü \\\\\" , \"t\":\"\"}\r\n")},
			want:  `{"domain":"a","event_type":"b","data":{"z":12345678901234567890.10,"a":[1,2],"s":" a \" \u00e9\/<&> ü \\","t":""},"subscription_key":"hook","source":"` + vectorSource + `"}`,
		},
		{
			name:  "a user's own domain, without data, from a source of another form",
			event: event.Event{Source: "/orders", Type: "com.example.orders.created"},
			want:  `{"domain":"com.example.orders","event_type":"created","data":{},"subscription_key":"hook","source":"` + synthetic + `"}`,
		},
		{
			name:     "all settings",
			event:    event.Event{Source: "/orders", Type: "a.b", Data: []byte(`[]`), Extensions: user},
			settings: map[string]string{"subscription_key": "k", "jpd_origin": "https://acme.jfrog.io", "source": "jfrog/jfds@01", "user_context": "true", "user_context_realm": "ldap", "user_context_id": "x"},
			want:     `{"domain":"a","event_type":"b","data":[],"subscription_key":"k","jpd_origin":"https://acme.jfrog.io","source":"jfrog/jfds@01","userContext":{"id":"jo\"hn","isToken":true,"realm":"ldap"}}`,
		},
		{
			name:     "a user by setting",
			event:    event.Event{Source: vectorSource, Type: "a.b", Data: []byte(`1`)},
			settings: map[string]string{"user_context": "true", "user_context_id": "ci", "source": "jfrog/jfds@01"},
			want:     `{"domain":"a","event_type":"b","data":1,"subscription_key":"hook","source":"` + vectorSource + `","userContext":{"id":"ci","isToken":false,"realm":"internal"}}`,
		},
		{
			name:     "no user",
			event:    event.Event{Source: vectorSource, Type: "a.b", Data: []byte(`1`)},
			settings: map[string]string{"user_context": "true"},
			want:     `{"domain":"a","event_type":"b","data":1,"subscription_key":"hook","source":"` + vectorSource + `"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sub := &subscription.Subscription{ID: "hook", Types: []string{tt.event.Type}, Settings: tt.settings}
			if found := (jfrog.Webhook{}).Traits().Check(sub); len(found) > 0 {
				t.Errorf("the subscription has problems: %v", found)
			}
			_, got, err := render(t, jfrog.Webhook{}, sub, &tt.event)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("body differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*event.Event{
		"text":     {Type: "a.b", DataContentType: "text/plain", Data: []byte(`{}`)},
		"bytes":    {Type: "a.b", DataContentType: "application/octet-stream", Data: []byte{0xff}},
		"not JSON": {Type: "a.b", Data: []byte(`{"a":1}}`)},
	} {
		for _, p := range []wire.Profile{jfrog.Webhook{}, jfrog.Custom{}} {
			if _, body, err := render(t, p, &subscription.Subscription{ID: "hook"}, e); !errors.Is(err, wire.ErrNotJSON) || body != nil {
				t.Errorf("%s, %T: got %q, %v, want ErrNotJSON", name, p, body, err)
			}
		}
	}
	if _, _, err := render(t, jfrog.Webhook{}, &subscription.Subscription{ID: "hook"}, &event.Event{Type: "ping"}); err == nil {
		t.Error("a type without a domain is rendered")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field string
		sub   subscription.Subscription
	}{
		{"types[1]", subscription.Subscription{Types: []string{"artifact.*", "ping"}}},
		{"settings.use_secret_for_signing", subscription.Subscription{Settings: map[string]string{"use_secret_for_signing": "yes"}}},
		{"settings.user_context", subscription.Subscription{Settings: map[string]string{"user_context": "1"}}},
		{"settings.jpd_origin", subscription.Subscription{Settings: map[string]string{"jpd_origin": "acme.jfrog.io"}}},
		{"settings.jpd_origin", subscription.Subscription{Settings: map[string]string{"jpd_origin": "https://me:secret@acme.jfrog.io"}}},
		{"settings.source", subscription.Subscription{Settings: map[string]string{"source": "jfrog/jfrt"}}},
		{"settings.source", subscription.Subscription{Settings: map[string]string{"source": "jfrog/@1"}}},
		{"secrets[0].secret", subscription.Subscription{Secrets: []subscription.SigningKey{{Secret: keyring.NewSecret("secret ")}}}},
		{"filters[0].exact.datacontenttype", subscription.Subscription{Filters: []filter.Filter{filter.Exact(map[string]string{"datacontenttype": "text/csv"})}}},
	} {
		got := (jfrog.Webhook{}).Traits().Check(&tt.sub)
		if len(got) != 1 || got[0].Field != tt.field {
			t.Errorf("got %v, want one problem with %s", got, tt.field)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for status := 100; status <= 999; status++ {
		want := delivery.Rejected
		switch {
		case status >= 200 && status <= 299:
			want = delivery.Delivered
		case status >= 500:
			want = delivery.Retry
		}
		for _, p := range []wire.Profile{jfrog.Webhook{}, jfrog.Custom{}} {
			if got := p.Judge(status); got != want {
				t.Errorf("%T: status %d is %s, want %s", p, status, got, want)
			}
		}
	}
}

// A subscription without wishes gets the platform's defaults.
func TestDefaults(t *testing.T) {
	t.Parallel()
	for _, p := range []wire.Profile{jfrog.Webhook{}, jfrog.Custom{}} {
		sub := &subscription.Subscription{Types: []string{"artifact.*"}, Endpoint: subscription.Endpoint{URL: "https://example.com"}, Profile: "jfrog"}
		sub.SetDefaultsOf(p.Traits(), time.Now())
		rules := subscription.Rules{Traits: func(string) (subscription.Traits, bool) { return p.Traits(), true }}
		if err := sub.Validate(rules); err != nil {
			t.Errorf("%T: %v", p, err)
		}
		wait := subscription.Duration(10 * time.Second)
		want := subscription.Retrying{Retry: subscription.Schedule{0, wait, wait, wait, wait}}
		if diff := cmp.Diff(want, sub.Delivery.Retrying); diff != "" || sub.Endpoint.Timeout != subscription.Duration(30*time.Second) || len(sub.Secrets) != 0 {
			t.Errorf("%T: got timeout %s, %d secrets, retrying (-want +got):\n%s", p, sub.Endpoint.Timeout, len(sub.Secrets), diff)
		}
	}
}

func BenchmarkWebhook(b *testing.B) {
	renderer, err := jfrog.Webhook{}.Prepare(&subscription.Subscription{ID: "test", Settings: map[string]string{jfrog.SettingSign: "true"}})
	if err != nil {
		b.Fatal(err)
	}
	d := &delivery.Delivery{ID: "dlv_0", Event: vectorEvent()}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := renderer.Render(&wire.Request{Header: make(http.Header, 8), Delivery: d, Secrets: []string{vectorSecret}}); err != nil {
			b.Fatal(err)
		}
	}
}

// Compacting must change nothing but white space.
func FuzzData(f *testing.F) {
	f.Add([]byte(` { "a\\" : "\" b" , "c":[ 1, 2e1 ,null ] } `))
	f.Add([]byte("\"\\u2028 \\\\\""))
	renderer, err := jfrog.Webhook{}.Prepare(&subscription.Subscription{ID: "test"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e := &event.Event{Source: vectorSource, Type: "a.b", Data: data}
		body, err := renderer.Render(&wire.Request{Header: http.Header{}, Delivery: &delivery.Delivery{Event: e}})
		if err != nil {
			return
		}
		var want bytes.Buffer
		if len(data) == 0 {
			data = []byte("{}")
		}
		if json.Compact(&want, data) != nil {
			return // nested too deep for the standard library
		}
		got := bytes.TrimSuffix(bytes.TrimPrefix(body, []byte(`{"domain":"a","event_type":"b","data":`)), []byte(`,"subscription_key":"test","source":"`+vectorSource+`"}`))
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got %q, want %q", got, want.Bytes())
		}
	})
}

// A receiver checks the signature over the bytes it gets, as the documentation says.
func TestSignatureOverExactBytes(t *testing.T) {
	t.Parallel()
	sub := &subscription.Subscription{ID: "test", Settings: map[string]string{jfrog.SettingSign: "true"}}
	e := vectorEvent()
	e.Data = []byte(`{ "message": "ü <&> \u00fc" }`)
	h, body, err := render(t, jfrog.Webhook{}, sub, e, "s€cret")
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte("s€cret"))
	mac.Write(body)
	want := http.Header{"X-JFrog-Event-Auth": {hex.EncodeToString(mac.Sum(nil))}, "Content-Type": {"application/json"}, "User-Agent": {"jetpost"}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
}
