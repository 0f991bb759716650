package admin

import (
	"net/http"
	"strings"
	"testing"
)

// Which secrets a subscription has is for its profile to say.
func TestSecretsByProfile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	type answer struct {
		Secret    string `json:"secret"`
		PublicKey string `json:"public_key"`
		Secrets   []struct {
			PublicKey string `json:"public_key"`
		} `json:"secrets"`
	}
	create := func(id, members string) (got answer) {
		t.Helper()
		f.do("POST", "/v1/subscriptions", `{"id":"`+id+`","types":["git.push"],"endpoint":{"url":"https://example.com/"},`+members+`}`).want(http.StatusCreated).into(&got)
		return got
	}
	rotate := func(id, body string) *answer {
		t.Helper()
		var got answer
		f.do("POST", "/v1/subscriptions/"+id+"/rotate-secret", body).want(http.StatusOK).into(&got)
		return &got
	}

	signed := create("signed", `"settings":{"signature":"v1a"}`)
	if !strings.HasPrefix(signed.Secret, "whsk_") || len(signed.Secrets) != 1 || !strings.HasPrefix(signed.Secrets[0].PublicKey, "whpk_") {
		t.Errorf("created with %d keys, the first %q", len(signed.Secrets), signed.Secrets)
	}
	next := rotate("signed", "")
	if !strings.HasPrefix(next.Secret, "whsk_") || !strings.HasPrefix(next.PublicKey, "whpk_") || next.PublicKey == signed.Secrets[0].PublicKey {
		t.Errorf("rotated to the public key %q", next.PublicKey)
	}
	var shown answer
	f.do("GET", "/v1/subscriptions/signed", "").want(http.StatusOK).mustNotContain("whsk_").into(&shown)
	if len(shown.Secrets) != 2 || shown.Secrets[0].PublicKey != next.PublicKey || shown.Secrets[1].PublicKey != signed.Secrets[0].PublicKey {
		t.Errorf("shown with %+v", shown.Secrets)
	}
	f.do("POST", "/v1/subscriptions", `{"types":["git.push"],"endpoint":{"url":"https://example.com/"},"settings":{"signature":"v2"}}`).
		want(http.StatusUnprocessableEntity).mustContain("settings.signature")

	if got := create("open", `"profile":"jfrog"`); got.Secret != "" || len(got.Secrets) != 0 {
		t.Error("a secret was made for a profile that does without")
	}
	if got := create("shared", `"profile":"jfrog","secret":"swordfish"`); got.Secret != "swordfish" {
		t.Errorf("got %d secrets", len(got.Secrets))
	}
	f.do("POST", "/v1/subscriptions/shared/rotate-secret", "").want(http.StatusUnprocessableEntity).mustContain(`"field":"secret"`)
	f.do("POST", "/v1/subscriptions/shared/rotate-secret", `{"secret":"marlin","overlap":"1h"}`).want(http.StatusUnprocessableEntity).mustContain(`"field":"overlap"`).mustNotContain("marlin")
	if got := rotate("shared", `{"secret":"marlin"}`); got.Secret != "marlin" {
		t.Error("rotated to something else")
	}
	var secrets struct {
		Secrets []string `json:"secrets"`
	}
	f.do("GET", "/v1/subscriptions/shared/secret", "").want(http.StatusOK).into(&secrets)
	if len(secrets.Secrets) != 1 || secrets.Secrets[0] != "marlin" {
		t.Errorf("%d secrets are in use, want the new one", len(secrets.Secrets))
	}
	f.do("PATCH", "/v1/subscriptions/shared", `{"profile":"standard"}`).want(http.StatusUnprocessableEntity).mustContain("secrets[0].secret").mustNotContain("marlin")
	f.do("PATCH", "/v1/subscriptions/shared", `{"handshake":{"mode":"required","consent":"allowed","allowed_rate":9}}`).
		want(http.StatusOK).mustContain(`"consent":"pending"`).mustNotContain("allowed_rate")
}
