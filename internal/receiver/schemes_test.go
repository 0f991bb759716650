package receiver

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The vectors of the vendors and of Standard Webhooks.
func TestVerifySchemes(t *testing.T) {
	t.Parallel()
	const (
		jfrogBody = `{"domain":"artifact","event_type":"deployed","data":{"repo_key":"example-repo-local","path":"some.log","name":"some.log","sha256":"069092736c73613a25917f582f8a2621b8495cb723914c85dc570761ce0846f8","size":353178},"subscription_key":"test","source":"jfrog/jfrt@01h9mspg5atsp402qqxm071zjv"}`
		jfrogMAC  = "1e33f6e9e40690dff399800aad5789c4719079b345a30cf13adc0db94ecffd8d"
		ssmBody   = `{"ref":"refs/heads/main"}`
		ssmMAC    = "91f393d3a71959486cf4397b32f56554c9e563cf97e50cbd6a938c6c9af2e582"
		v1aSecret = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
		v1aPublic = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
		v1aMade   = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
		secret    = "tell no one"
		none      = "no secret matches"
	)
	standard := map[string]string{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330", "webhook-signature": v1aMade}
	for _, tt := range []struct {
		name   string
		header map[string]string
		body   string
		secret string
		want   string
	}{
		{"JFrog, signed", map[string]string{"X-JFrog-Event-Auth": jfrogMAC}, jfrogBody, secret, ""},
		{"JFrog, the secret itself", map[string]string{"X-JFrog-Event-Auth": secret}, jfrogBody, secret, ""},
		{"JFrog, another body", map[string]string{"X-JFrog-Event-Auth": jfrogMAC}, jfrogBody + " ", secret, none},
		{"JFrog, another secret", map[string]string{"X-JFrog-Event-Auth": "tell everyone"}, jfrogBody, secret, none},
		{"SSM, signed", map[string]string{"X-SecureSourceManager-Signature": ssmMAC}, ssmBody, secret, ""},
		{"SSM, another secret", map[string]string{"X-SecureSourceManager-Signature": ssmMAC}, ssmBody, "tell someone", none},
		{"SSM, empty", map[string]string{"X-SecureSourceManager-Signature": ""}, ssmBody, secret, "the x-securesourcemanager-signature header is empty: the subscription has no secret"},
		{"GitHub", map[string]string{"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, "Hello, World!", "It's a Secret to Everybody", ""},
		{"GitHub, without its prefix", map[string]string{"X-Hub-Signature-256": "757107"}, "Hello, World!", "It's a Secret to Everybody", "the x-hub-signature-256 header does not begin with sha256="},
		{"GitHub, another body", map[string]string{"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}, "Hello", "It's a Secret to Everybody", none},
		{"Ed25519, by the secret", standard, `{"test": 2432232314}`, v1aSecret, ""},
		{"Ed25519, by the public key", standard, `{"test": 2432232314}`, v1aPublic, ""},
		{"Ed25519, another body", standard, `{"test": 2432232315}`, v1aPublic, none},
		{"Ed25519, by an HMAC secret", standard, `{"test": 2432232314}`, testSecret, none},
		{"nothing", nil, "{}", secret, "the webhook-id header is missing, and so is any other that has to do with a signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			keys, err := DecodeSecrets([]string{otherSecret, tt.secret})
			if err != nil {
				t.Fatal(err)
			}
			h := http.Header{}
			for name, value := range tt.header {
				h.Set(name, value)
			}
			got := ""
			if err := VerifySignature(h, []byte(tt.body), keys, time.Unix(1614265330, 0)); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// What a vendor's request is about is printed, though it has no CloudEvent.
func TestReceiverReadsVendorBodies(t *testing.T) {
	t.Parallel()
	r := startReceiver(t, nil, "--no-verify")
	send := func(body string, header ...string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/hook", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		if status, _ := r.send(t, request); status != http.StatusOK {
			t.Errorf("status is %d", status)
		}
	}
	send(`{"domain":"artifact","event_type":"deployed","data":{"repo_key":"libs","path":"a/b.jar","name":"b.jar","sha256":"0690","size":2048},"subscription_key":"ci","source":"jfrog/jfrt@01h9mspg5atsp402qqxm071zjv"}`)
	r.until(t, "deployed  libs/a/b.jar  2.0 KiB  sha256 0690")
	send(`{"secret":"","ref":"refs/heads/main","before":"0000000","after":"1234567","commits":[]}`,
		"X-SecureSourceManager-Event", "push", "X-SecureSourceManager-Delivery", "6546af81-25c6-46d9-aa41-70c00dc67752")
	r.until(t, "refs/heads/main  new at 1234567  0 commits")
}

// A receiver that is asked for its consent gives it, or not.
func TestReceiverConsent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args               []string
		rate               string
		status             int
		wantRate, wantText string
	}{
		{nil, "120", http.StatusOK, "120", "asked for consent by hooks.example.com: given, rate 120  OPTIONS /hook"},
		{nil, "", http.StatusOK, "*", "given, rate *"},
		{[]string{"--allowed-rate", "6"}, "120", http.StatusOK, "6", "given, rate 6"},
		{[]string{"--refuse-consent"}, "120", http.StatusForbidden, "", ": refused"},
	} {
		r := startReceiver(t, nil, append([]string{"--no-verify"}, tt.args...)...)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, r.url+"/hook", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("WebHook-Request-Origin", "hooks.example.com")
		if tt.rate != "" {
			request.Header.Set("WebHook-Request-Rate", tt.rate)
		}
		response, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		origin := response.Header.Get("WebHook-Allowed-Origin")
		if response.StatusCode != tt.status || response.Header.Get("WebHook-Allowed-Rate") != tt.wantRate || (origin == "hooks.example.com") != (tt.wantRate != "") {
			t.Errorf("%v: got %d with %v", tt.args, response.StatusCode, response.Header)
		}
		r.until(t, tt.wantText)
	}
	if err := (&Cmd{Status: 200, AllowedRate: -1}).Validate(); err == nil {
		t.Error("a negative rate is accepted")
	}
}
