package endpoint_test

import (
	"testing"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/sender/endpoint"
)

func TestRedactor(t *testing.T) {
	t.Parallel()
	redact := endpoint.NewRedactor(&subscription.Subscription{
		Endpoint: subscription.Endpoint{
			Query: keyring.NewSecret("key=s3cr3t%2Fkey&v=1&flag-of-mine&raw={tell|none}"),
			SecretHeaders: map[string]keyring.Secret{
				"X-Auth": keyring.NewSecret("Bearer t0ken-value"),
				"X-Pin":  keyring.NewSecret("1234"),
			},
			Headers: map[string]string{"authorization": "Basic dXNlcjpwYXNz", "X-Team": "release-engineering"},
		},
		Secrets:  []subscription.SigningKey{{Secret: keyring.NewSecret("tell no one")}},
		Template: subscription.Template{Secrets: map[string]keyring.Secret{"token": keyring.NewSecret("t3mplate")}},
	}, "0ne-time")
	for _, tt := range []struct{ name, in, want string }{
		{"the whole query", "GET /?key=s3cr3t%2Fkey&v=1&flag-of-mine&raw={tell|none}", "GET /?[secret]"},
		{"the whole query, as it is sent", "GET /?key=s3cr3t%2Fkey&v=1&flag-of-mine&raw=%7Btell%7Cnone%7D", "GET /?[secret]"},
		{"a value of it, as it is sent", "raw: %7Btell%7Cnone%7D", "raw: [secret]"},
		{"a value of it", `{"key":"s3cr3t%2Fkey"}`, `{"key":"[secret]"}`},
		{"a value of it, decoded", `{"key":"s3cr3t/key","flag-of-mine":1}`, `{"key":"[secret]","[secret]":1}`},
		{"a header", "authorization: Bearer t0ken-value", "authorization: [secret]"},
		{"a token without its scheme", "token=t0ken-value;", "token=[secret];"},
		{"a secret that a profile sends as it is", "X-JFrog-Event-Auth: tell no one", "X-JFrog-Event-Auth: [secret]"},
		{"a secret of a template", `{"token":"t3mplate"}`, `{"token":"[secret]"}`},
		{"credentials among the plain headers", "Basic dXNlcjpwYXNz / dXNlcjpwYXNz", "[secret] / [secret]"},
		{"another plain header", "release-engineering", "release-engineering"},
		{"short secrets, as words", "v=1, 1234 ok, not 12345", "[secret], [secret] ok, not 12345"},
		{"user and password", `{"user":"user","password":"pass"}`, `{"[secret]":"[secret]","password":"[secret]"}`},
		{"what is decoded twice", `{"got":"Bearer \u0074%30ken-value"}`, `{"got":"[secret]"}`},
		{"a token of one request", "/v1/handshakes/hook/0ne-time", "/v1/handshakes/hook/[secret]"},
		{"ordinary text", "1 of 2 ok", "1 of 2 ok"},
	} {
		if got := redact.Strike(tt.in, len(tt.in)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
