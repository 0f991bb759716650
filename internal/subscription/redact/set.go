package redact

import (
	"crypto/ed25519"
	"encoding/base64"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxNeedle is how many bytes are looked for at a time: a longer secret is found, and
	// struck out, in pieces. It bounds how far beyond the end of what is kept a text has
	// to be looked at.
	maxNeedle = 64
	// minPlain is the shortest secret that is struck out wherever it stands. A shorter
	// one is struck out as a word, or it would black out parts of ordinary ones.
	minPlain = 6
	// minPart is the shortest part of a header or a query that counts as a secret of its
	// own.
	minPart = 3
	// minBase64 is the shortest part that is taken for base64, in characters.
	minBase64 = 8
)

// A Set has the secrets to strike out.
type Set struct {
	needles []needle
}

// Add puts in a secret, and what it decodes to: receivers answer "user:password" to
// "Basic dXNlcjpwYXNzd29yZA==".
func (s *Set) Add(secret string) {
	s.add(secret)
	if decoded := unpercent(secret); decoded != secret {
		s.add(decoded)
	}
	decoded, ok := fromBase64(secret)
	if !ok {
		return
	}
	if bare := strings.TrimRight(secret, "="); bare != secret {
		s.add(bare)
	}
	if isText(decoded) {
		s.add(decoded)
		s.addCredentials(decoded)
	}
}

// addCredentials puts in a user name and a password (RFC 7617).
func (s *Set) addCredentials(text string) {
	if user, password, ok := strings.Cut(text, ":"); ok {
		s.addPart(user)
		s.Add(password)
	}
}

// AddKey puts in a signing secret: all of it, and where it is one of Standard Webhooks,
// a prefix and base64, the bytes that it stands for.
func (s *Set) AddKey(key string) {
	s.Add(key)
	_, encoded, _ := strings.Cut(key, "_")
	decoded, ok := fromBase64(encoded)
	if !ok {
		return
	}
	s.Add(encoded)
	s.add(decoded)
	if len(decoded) == ed25519.PrivateKeySize { // the other half is the public key
		s.add(decoded[:ed25519.SeedSize])
	}
}

// AddHeader puts in the value of a header and its parts: tokens, credentials, the values
// of cookies and parameters. The name of a scheme of authentication is no secret.
func (s *Set) AddHeader(value string) {
	s.Add(value)
	words := strings.FieldsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || r == ',' || r == ';' })
	if len(words) > 1 && isScheme(words[0]) {
		if decoded, ok := fromBase64(words[1]); ok && strings.EqualFold(words[0], "basic") {
			s.add(decoded)
			s.addCredentials(decoded) // in whatever encoding
		}
		words = words[1:]
	}
	for _, word := range words {
		if _, encoded := fromBase64(word); !encoded {
			if name, parameter, ok := strings.Cut(word, "="); ok && name != "" {
				s.addPart(strings.Trim(parameter, `"`))
				continue
			}
		}
		s.addPart(strings.Trim(word, `"`))
	}
}

// AddQuery puts in a query and the values of its parameters. One that is too short to
// be a secret is one together with its name.
func (s *Set) AddQuery(query string) {
	s.Add(query)
	for part := range strings.SplitSeq(query, "&") {
		_, value, found := strings.Cut(part, "=")
		if !found {
			value = part
		}
		s.addPart(value)
		if found && len(value) < minPart && value != "" {
			s.Add(part)
		}
	}
}

func (s *Set) addPart(part string) {
	if len(part) >= minPart && !slices.Contains([]string{"true", "false", "null"}, part) {
		s.Add(part)
	}
}

func (s *Set) add(text string) {
	if text == "" {
		return
	}
	for len(text) > maxNeedle {
		s.needles = append(s.needles, needle{text: text[:maxNeedle]})
		text = text[min(maxNeedle, len(text)-maxNeedle):] // the last piece is as long as the others
	}
	s.needles = append(s.needles, needle{text, len(text) < minPlain})
}

func (s *Set) index() *index {
	if len(s.needles) == 0 {
		return nil
	}
	return newIndex(s.needles)
}

// fromBase64 decodes a text that is base64 as a whole, of either alphabet, with or
// without padding.
func fromBase64(text string) (decoded string, ok bool) {
	if len(text) < minBase64 {
		return "", false
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	b, err := base64.RawStdEncoding.DecodeString(text)
	return string(b), err == nil
}

func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// isScheme reports whether a word is the name of a scheme of authentication (registry
// of IANA, and those that are in use without it).
func isScheme(word string) bool {
	return slices.Contains([]string{
		"basic", "bearer", "digest", "hmac", "token", "apikey", "api-key", "key", "negotiate", "dpop", "signature", "splunk", "geniekey",
		"aws4-hmac-sha256", "sharedkey", "sharedaccesssignature", "hawk", "oauth", "mutual", "vapid", "privatetoken",
	}, strings.ToLower(word))
}
