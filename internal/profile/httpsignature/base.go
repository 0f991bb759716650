package httpsignature

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/internal/profile/standard"
)

// A message is what is signed of a request. The target URI and the query are not:
// receivers behind a proxy see others, and queries hold tokens.
type message struct {
	method, authority, path string
	header                  http.Header
}

// covered are the components that are signed, in their order: those that every
// request has, and the event's attributes where they are headers, sorted.
func (m *message) covered() []string {
	components := []string{"@method", "@authority", "@path", "content-type", "content-digest", "webhook-id", "webhook-timestamp"}
	fixed := len(components)
	for name := range m.header {
		if strings.HasPrefix(name, "Ce-") {
			components = append(components, strings.ToLower(name))
		}
	}
	slices.Sort(components[fixed:])
	return components
}

// appendLines appends the lines of the components to a signature base (RFC 9421,
// section 2.5).
func (m *message) appendLines(b []byte, components []string) []byte {
	for _, name := range components {
		b = append(append(append(b, '"'), name...), `": `...)
		b = append(append(b, m.value(name)...), '\n')
	}
	return b
}

func (m *message) value(name string) string {
	switch name {
	case "@method":
		return m.method
	case "@authority":
		return m.authority
	case "@path":
		if m.path == "" {
			return "/"
		}
		return m.path
	}
	values := m.header[http.CanonicalHeaderKey(name)]
	trimmed := make([]string, len(values))
	for i, value := range values {
		trimmed[i] = strings.TrimSpace(value)
	}
	return strings.Join(trimmed, ", ")
}

// closeBase returns a signature base with its last line.
func closeBase(lines []byte, params string) []byte {
	b := make([]byte, 0, len(lines)+len(params)+24)
	return append(append(append(b, lines...), `"@signature-params": `...), params...)
}

// A key signs.
type key struct {
	id, algorithm string
	sign          func(base []byte) []byte
}

// newKey makes a key of a secret of Standard Webhooks.
func newKey(secret, id string) (*key, error) {
	if standard.IsPrivate(secret) {
		private, err := standard.PrivateKey(secret)
		if err != nil {
			return nil, err
		}
		return &key{id, "ed25519", func(base []byte) []byte { return ed25519.Sign(private, base) }}, nil
	}
	shared, err := standard.Key(secret)
	if err != nil {
		return nil, err
	}
	return &key{id, "hmac-sha256", func(base []byte) []byte {
		mac := hmac.New(sha256.New, shared)
		mac.Write(base)
		return mac.Sum(nil)
	}}, nil
}

// params are the parameters of a signature (RFC 9421, section 2.3). A key without an
// id has none there either.
func (k *key) params(components []string, created int64) string {
	b := []byte{'('}
	for i, name := range components {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(append(b, '"'), name...), '"')
	}
	b = strconv.AppendInt(append(b, ");created="...), created, 10)
	if k.id != "" {
		b = append(append(append(b, `;keyid="`...), k.id...), '"')
	}
	return string(append(append(append(b, `;alg="`...), k.algorithm...), '"'))
}
