package httpsignature_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile/httpsignature"
	"github.com/jetpost/jetpost/internal/profile/standard"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

const (
	sharedSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	privateSecret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)

func render(t *testing.T, sub *subscription.Subscription, host string) (http.Header, []byte) {
	t.Helper()
	renderer, err := httpsignature.Webhook{}.Prepare(sub)
	if err != nil {
		t.Fatal(err)
	}
	h := make(http.Header)
	r := &wire.Request{
		Header: h, Method: http.MethodPost, Host: host, Path: "/hook", Now: time.Unix(1614265330, 0),
		Delivery: &delivery.Delivery{ID: "msg_1", Event: &event.Event{
			ID: "1", Source: "/s", Type: "a.b", DataContentType: "application/json", Data: []byte(`{"test": 2432232314}`),
		}},
	}
	for _, key := range sub.Secrets {
		r.Secrets = append(r.Secrets, key.Secret.Reveal())
	}
	body, err := renderer.Render(r)
	if err != nil {
		t.Fatal(err)
	}
	return h, body
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	keys := []subscription.SigningKey{{ID: "key_2", Secret: keyring.NewSecret(privateSecret)}, {ID: "key_1", Secret: keyring.NewSecret(sharedSecret)}}
	const fixed = `("@method" "@authority" "@path" "content-type" "content-digest" "webhook-id" "webhook-timestamp"`
	for _, tt := range []struct {
		name     string
		settings map[string]string
		keys     []subscription.SigningKey
		want     string
	}{
		{"one key", nil, keys[:1], `sig1=` + fixed + ` "ce-id" "ce-source" "ce-specversion" "ce-type");created=1614265330;keyid="key_2";alg="ed25519"`},
		{
			"two keys",
			map[string]string{"mode": "structured"},
			keys,
			`sig1=` + fixed + `);created=1614265330;keyid="key_2";alg="ed25519", sig2=` + fixed + `);created=1614265330;keyid="key_1";alg="hmac-sha256"`,
		},
		{
			"a name for both",
			map[string]string{"mode": "structured", "keyid": "harbor"},
			keys,
			`sig1=` + fixed + `);created=1614265330;keyid="harbor";alg="ed25519", sig2=` + fixed + `);created=1614265330;keyid="harbor";alg="hmac-sha256"`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h, body := render(t, &subscription.Subscription{ID: "hook", Settings: tt.settings, Secrets: tt.keys}, "example.com")
			if got := h.Get("Signature-Input"); got != tt.want {
				t.Errorf("got input\n%s, want\n%s", got, tt.want)
			}
			if got := strings.Count(h.Get("Signature"), "sig"); got != len(tt.keys) || !strings.HasSuffix(h.Get("Signature"), "=:") {
				t.Errorf("got %s, want %d signatures", h.Get("Signature"), len(tt.keys))
			}
			if err := standard.Verify(h, body, time.Unix(1614265330, 0), []string{privateSecret}); err != nil {
				t.Errorf("by Standard Webhooks: %v", err)
			}
			if tt.settings == nil && h.Get("Content-Digest") != "sha-256=:roWJMfZ4h+gVDW+Wyf4DBiwd82tEZMTdyOACwITV0Zg=:" {
				t.Errorf("got digest %s", h.Get("Content-Digest"))
			}
		})
	}
}

// A receiver leaves the default port out of the authority, and writes it in lower
// case (RFC 9421, section 2.2.3).
func TestAuthority(t *testing.T) {
	t.Parallel()
	signatures := make(map[string]string)
	for _, target := range []string{"https://example.com", "https://EXAMPLE.com:443", "http://example.com:80", "https://example.com:80", "http://example.com:443"} {
		sub := &subscription.Subscription{ID: "hook", Endpoint: subscription.Endpoint{URL: target}, Secrets: []subscription.SigningKey{{Secret: keyring.NewSecret(sharedSecret)}}}
		_, host, _ := strings.Cut(target, "://")
		h, _ := render(t, sub, host)
		signatures[target] = h.Get("Signature")
	}
	same := signatures["https://example.com"]
	if signatures["https://EXAMPLE.com:443"] != same || signatures["http://example.com:80"] != same {
		t.Error("the default port or the letter case of the host changes the signature")
	}
	if signatures["https://example.com:80"] == same || signatures["http://example.com:443"] == same {
		t.Error("another port does not change the signature")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		field string
		sub   subscription.Subscription
	}{
		{"settings.mode", subscription.Subscription{Settings: map[string]string{"mode": "batched"}}},
		{"settings.keyid", subscription.Subscription{Settings: map[string]string{"keyid": `a"b`}}},
		{"settings.keyid", subscription.Subscription{Settings: map[string]string{"keyid": "a\nb"}}},
		{"endpoint.headers.content-digest", subscription.Subscription{Endpoint: subscription.Endpoint{Headers: map[string]string{"content-digest": "x"}}}},
		{"endpoint.secret_headers.Signature", subscription.Subscription{Endpoint: subscription.Endpoint{SecretHeaders: map[string]keyring.Secret{"Signature": {}}}}},
	} {
		if got := (httpsignature.Webhook{}).Traits().Check(&tt.sub); len(got) != 1 || got[0].Field != tt.field {
			t.Errorf("got %v, want one problem with %s", got, tt.field)
		}
	}
}
