package sender

import (
	"net/url"
	"strings"

	"github.com/jetpost/jetpost/subscription"
)

// minRedacted is the shortest text that counts as a secret of its own: shorter
// parts of a query or a header would black out ordinary words.
const minRedacted = 6

// newRedactor blacks out an endpoint's secrets in what its receiver answers: some
// echo the request, and the answer is kept in the attempt log. Signing secrets are
// not among them, since they are never sent.
func newRedactor(e *subscription.Endpoint) *strings.Replacer {
	var pairs []string
	hide := func(text string) {
		if len(text) >= minRedacted {
			pairs = append(pairs, text, subscription.Placeholder)
		}
	}
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
	for _, header := range e.SecretHeaders {
		value := header.Reveal()
		hide(value)
		for word := range strings.FieldsSeq(value) { // Bearer …, Basic …
			if word != value {
				hide(word)
			}
		}
	}
	return strings.NewReplacer(pairs...)
}
