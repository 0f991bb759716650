package sender

import (
	"net/url"
	"strings"

	"github.com/jetpost/jetpost/subscription"
)

// minRedacted is the shortest text that counts as a secret of its own: shorter
// parts of a query or a header would black out ordinary words.
const minRedacted = 6

// newRedactor blacks out a subscription's secrets in what its receiver answers:
// some echo the request, and the answer is kept in the attempt log. Signing secrets
// are among them, since a profile may send them as they are.
func newRedactor(sub *subscription.Subscription) *strings.Replacer {
	var pairs []string
	hide := func(text string) {
		if len(text) >= minRedacted {
			pairs = append(pairs, text, subscription.Placeholder)
		}
	}
	e := &sub.Endpoint
	if query := e.Query.Reveal(); query != "" {
		hide(query)
		for part := range strings.SplitSeq(query, "&") {
			_, value, found := strings.Cut(part, "=")
			if !found {
				value = part
			}
			hide(value)
			if plain, err := url.QueryUnescape(value); err == nil && plain != value {
				hide(plain)
			}
		}
	}
	hideWords := func(value string) {
		hide(value)
		for word := range strings.FieldsSeq(value) { // Bearer …, Basic …
			if word != value {
				hide(word)
			}
		}
	}
	for _, header := range e.SecretHeaders {
		hideWords(header.Reveal())
	}
	for name, value := range e.Headers {
		if strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "Cookie") { // a profile may take them there
			hideWords(value)
		}
	}
	for _, key := range sub.Secrets {
		hide(key.Secret.Reveal())
	}
	for _, secret := range sub.Template.Secrets {
		hideWords(secret.Reveal())
	}
	return strings.NewReplacer(pairs...)
}
