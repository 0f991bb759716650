package jfrog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

// stored is what the subscription of the first handler keeps as its Managed.Document,
// sealed. It is all that is needed to make the subscriptions of the other handlers
// anew.
type stored struct {
	// Generation is another one with every write. The others have that of the one
	// that they were made for as their Document.
	Generation string `json:"generation"`
	// Document is what the client sent, in the form in which it is read: without the
	// secrets. What it says of enabled is what the client asked for last.
	Document json.RawMessage `json:"document"`
	// Secrets are those of the handlers. Those of the first one are fields of its
	// subscription, and not here.
	Secrets []handlerSecrets `json:"secrets,omitempty"`
}

// handlerSecrets are those of one handler, in clear text.
type handlerSecrets struct {
	Secret string            `json:"secret,omitempty"` // predefined
	Named  map[string]string `json:"named,omitempty"`  // custom
}

// A state is what is stored of a key.
type state struct {
	generation string
	document   *document
	secrets    []handlerSecrets // one for each handler
}

// errDocument is for a record that only this API writes.
var errDocument = errors.New("the stored document cannot be read")

// stateOf reads what the subscription of the first handler keeps.
func stateOf(first *subscription.Subscription) (*state, error) {
	var s stored
	if err := json.Unmarshal([]byte(first.Managed.Document.Reveal()), &s); err != nil { // it could quote the document
		return nil, fmt.Errorf("subscription %s: %w", first.ID, errDocument)
	}
	var found problems
	d := parse(s.Document, first.Managed.Name, &found)
	if found.err() != nil || len(s.Secrets) > len(d.handlers) {
		return nil, fmt.Errorf("subscription %s: %w", first.ID, errDocument)
	}
	secrets := make([]handlerSecrets, len(d.handlers))
	copy(secrets, s.Secrets)
	secrets[0] = secretsOf(first)
	return &state{s.Generation, d, secrets}, nil
}

func secretsOf(sub *subscription.Subscription) handlerSecrets {
	var s handlerSecrets
	if len(sub.Secrets) > 0 {
		s.Secret = sub.Secrets[0].Secret.Reveal()
	}
	if sub.Template.Secrets != nil {
		s.Named = make(map[string]string)
		for name, secret := range sub.Template.Secrets {
			s.Named[name] = secret.Reveal()
		}
	}
	return s
}

// encoded is what stateOf reads.
func (s *state) encoded() keyring.Secret {
	others := make([]handlerSecrets, len(s.secrets))
	copy(others[1:], s.secrets[1:])
	return keyring.NewSecret(string(encode(stored{s.generation, s.document.show(s.document.enabled), others})))
}

// resolve finds the secrets of a document that a client has sent: those in it, and
// for a mask or a name without a value those of before, which may be nil. Handlers are
// the same when they have the same URL, or else the same place.
func (d *document) resolve(before *state, found *problems) []handlerSecrets {
	secrets := make([]handlerSecrets, len(d.handlers))
	same := d.match(before)
	for n := range d.handlers {
		h, old := &d.handlers[n], handlerSecrets{}
		if same[n] >= 0 {
			old = before.secrets[same[n]]
		}
		switch {
		case h.custom:
			secrets[n].Named = h.resolveNamed(old.Named, handlerField(n)+"secrets.", found)
		case h.secret == nil:
		case *h.secret != mask:
			secrets[n].Secret = *h.secret
		case old.Secret == "":
			found.add(handlerField(n)+"secret", mask+" stands for a secret that is stored, and there is none: give the secret")
		default:
			secrets[n].Secret = old.Secret
		}
	}
	return secrets
}

func (h *handler) resolveNamed(old map[string]string, field string, found *problems) map[string]string {
	named := make(map[string]string, len(h.secrets))
	for _, s := range h.secrets {
		if s.value != nil && *s.value != mask {
			named[s.name] = *s.value
			continue
		}
		kept, known := old[s.name]
		if !known {
			found.add(field+s.name, "has no value, and none is stored: give the secret")
		}
		named[s.name] = kept
	}
	return named
}

// match tells for each handler which one of before it is, -1: none.
func (d *document) match(before *state) []int {
	same := make([]int, len(d.handlers))
	taken := make(map[int]bool)
	take := func(n int, fits func(old *handler, i int) bool) {
		if same[n] >= 0 || before == nil {
			return
		}
		for i := range before.document.handlers {
			if old := &before.document.handlers[i]; !taken[i] && old.custom == d.handlers[n].custom && fits(old, i) {
				same[n], taken[i] = i, true
				return
			}
		}
	}
	for n := range same {
		same[n] = -1
	}
	for n := range same { // the one in its place first, where several have one URL
		take(n, func(old *handler, i int) bool { return i == n && old.url == d.handlers[n].url })
	}
	for n := range same {
		take(n, func(old *handler, _ int) bool { return old.url == d.handlers[n].url })
	}
	for n := range same {
		take(n, func(_ *handler, i int) bool { return i == n })
	}
	return same
}

// isJSONHeader reports whether a header says what the platform's body is anyway.
func isJSONHeader(h header) bool {
	return strings.EqualFold(h.name, "Content-Type") && strings.EqualFold(strings.TrimSpace(h.value), "application/json")
}
