package sender

import (
	"strings"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/redact"
)

// keptError bounds the text of an error, before a record clips it.
const keptError = 2 << 10

// newRedactor strikes a subscription's secrets out of what its receiver answers: some
// echo the request, and the answer is kept in the attempt log. Signing secrets are among
// them, since a profile may send them as they are. more are secrets of one request.
func newRedactor(sub *subscription.Subscription, more ...string) *redact.Redactor {
	return redact.New(func(set *redact.Set) {
		e := &sub.Endpoint
		set.AddQuery(e.Query.Reveal())
		for _, header := range e.SecretHeaders {
			set.AddHeader(header.Reveal())
		}
		for name, value := range e.Headers {
			if isCredential(name) { // a profile may take them there
				set.AddHeader(value)
			}
		}
		for _, key := range sub.Secrets {
			set.AddKey(key.Secret.Reveal())
		}
		for _, secret := range sub.Template.Secrets {
			set.AddHeader(secret.Reveal())
		}
		for _, text := range more {
			set.Add(text)
		}
	})
}

func isCredential(header string) bool {
	for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie"} {
		if strings.EqualFold(header, name) {
			return true
		}
	}
	return false
}

// strikeError is the text of an error without the secrets of e.
func (e *endpoint) strikeError(err error) string { return e.redact.Strike(err.Error(), keptError) }
