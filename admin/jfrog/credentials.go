package jfrog

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// secretWords are in the names of credentials, as repositories have them.
func secretWords() []string {
	return []string{"password", "passphrase", "secret", "token", "apikey", "api_key", "privatekey", "private_key", "credential"}
}

// maxSecretDepth is how deep documents of repositories are looked through. No client
// writes deeper ones.
const maxSecretDepth = 32

// withoutSecrets takes the credentials out of a document that was read before, however
// deep they are in it: jetpost has no use for them, and the registry is not sealed.
// Clients do not look at what comes back of them. A document without any stays as it
// is.
func withoutSecrets(raw json.RawMessage, depth int) json.RawMessage {
	raw = compact(raw)
	isArray := bytes.HasPrefix(raw, []byte("["))
	if !isArray && !bytes.HasPrefix(raw, []byte("{")) || !mayHaveSecret(raw) {
		return raw
	}
	if depth > maxSecretDepth {
		return json.RawMessage("null")
	}
	if isArray {
		elements := list(raw, "", &problems{})
		for i := range elements {
			elements[i] = withoutSecrets(elements[i], depth+1)
		}
		return array(elements)
	}
	ms, err := members(raw, nil)
	if err != nil { // one of them comes twice: who knows which one counts
		return json.RawMessage("null")
	}
	ms = slices.DeleteFunc(ms, isSecret)
	for i := range ms {
		ms[i].Value = withoutSecrets(ms[i].Value, depth+1)
	}
	return object(ms)
}

// mayHaveSecret is quick. Names can be written with escapes, which are not read here.
func mayHaveSecret(raw []byte) bool {
	lower := bytes.ToLower(raw)
	return bytes.IndexByte(raw, '\\') >= 0 || slices.ContainsFunc(secretWords(), func(word string) bool { return bytes.Contains(lower, []byte(word)) })
}

// isSecret reports whether a member is a credential.
func isSecret(m member) bool {
	name := strings.ToLower(m.Name)
	return bytes.HasPrefix(compact(m.Value), []byte(`"`)) && slices.ContainsFunc(secretWords(), func(word string) bool { return strings.Contains(name, word) })
}

// hasUser reports whether a URL, which may be none, has a user name.
func hasUser(address string) bool {
	u, err := url.Parse(address)
	if err != nil { // it need not be one of ours: clients write what they like
		return strings.Contains(address, "@")
	}
	return u.User != nil
}
