package sender

import (
	"testing"

	"github.com/jetpost/jetpost/subscription"
)

func TestRedactor(t *testing.T) {
	t.Parallel()
	redact := newRedactor(&subscription.Endpoint{
		Query: subscription.NewSecret("key=s3cr3t%2Fkey&v=1&flag-of-mine"),
		SecretHeaders: map[string]subscription.Secret{
			"Authorization": subscription.NewSecret("Bearer t0ken-value"),
			"X-Pin":         subscription.NewSecret("1234"),
		},
	})
	for _, tt := range []struct{ name, in, want string }{
		{"the whole query", "GET /?key=s3cr3t%2Fkey&v=1&flag-of-mine", "GET /?[secret]"},
		{"a value of it", `{"key":"s3cr3t%2Fkey"}`, `{"key":"[secret]"}`},
		{"a value of it, decoded", `{"key":"s3cr3t/key","flag-of-mine":1}`, `{"key":"[secret]","[secret]":1}`},
		{"a header", "authorization: Bearer t0ken-value", "authorization: [secret]"},
		{"a token without its scheme", "token=t0ken-value;", "token=[secret];"},
		{"ordinary text, with short values in it", "v=1, 1234 ok", "v=1, 1234 ok"},
	} {
		if got := redact.Replace(tt.in); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
