package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

const (
	tokenPrefix   = "jp_"
	minTokenBytes = 16 // of a token that somebody else made
)

// LoadToken reads the admin token in the file at path. A file that does not exist
// is made, with mode 0600 and 256 random bits; of several processes that do so at
// once, all use the same one. A file that everybody on the machine can read is
// refused; the group may, since that is how orchestrators mount secrets.
func LoadToken(path string) (string, error) {
	token, err := readToken(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createToken(path); err == nil {
			token, err = readToken(path)
		}
	}
	if err != nil {
		return "", fmt.Errorf("load admin token %s: %w", path, err)
	}
	return token, nil
}

func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("everybody on this machine can get at it (mode %s): chmod 600 it", info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minTokenBytes || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", fmt.Errorf("it does not hold a token: one line of at least %d characters without spaces; delete it to have one made", minTokenBytes)
	}
	return token, nil
}

// createToken writes the file completely or not at all, and never over another.
func createToken(path string) error {
	random := make([]byte, 32)
	_, _ = rand.Read(random)                                  // never fails (crypto/rand)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".token-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(tokenPrefix + base64.RawURLEncoding.EncodeToString(random) + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// RequireToken lets through to next only requests with the header
// "Authorization: Bearer <token>". Others are answered with 401; their bodies are
// not read. An empty token lets nobody through.
//
// Hashes are compared, so that the time says nothing about the token, not even its
// length.
func RequireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, present := bearer(r.Header)
		got := sha256.Sum256([]byte(given))
		if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && given != "" {
			next.ServeHTTP(w, r)
			return
		}
		challenge := `Bearer realm="jetpost"`
		detail := `the request has no token: send it as the header "Authorization: Bearer <token>"`
		if present {
			challenge += `, error="invalid_token"`
			detail = "the token is not the one of this server"
		}
		w.Header().Set("WWW-Authenticate", challenge)
		writeProblem(w, newProblem(http.StatusUnauthorized, detail))
	})
}

// bearer takes the token from the header (RFC 6750, section 2.1). A second header
// makes it unclear who is asking, so that counts as none.
func bearer(h http.Header) (token string, present bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", len(values) > 1
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", true
	}
	return strings.TrimSpace(token), true
}
