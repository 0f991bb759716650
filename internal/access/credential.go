package access

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/jetpost/jetpost/client/api"
)

// HeaderRequestID carries the name of a request, from the client or back to it.
const HeaderRequestID = "X-Request-Id"

// headerArtAPI is how older clients of the JFrog Platform give their key.
const headerArtAPI = "X-Jfrog-Art-Api"

// requestIDOf is the name of a request: that of its context if it was let in
// already, that which the client gave it, or a new one.
func requestIDOf(r *http.Request) string {
	if id := r.Header.Get(HeaderRequestID); usableID(id) {
		return id
	}
	return rand.Text()
}

// Named returns r with a name: that of its Principal, that which the client gave it,
// or a new one. PrincipalOf has it from then on.
func Named(r *http.Request) (*http.Request, string) {
	p := PrincipalOf(r.Context())
	if p.RequestID == "" {
		p.RequestID = requestIDOf(r)
		r = r.WithContext(With(r.Context(), p))
	}
	return r, p.RequestID
}

// usableID refuses names that would disturb a log or a header.
func usableID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// credential takes the token from a request (RFC 6750, section 2.1). Where there are
// two it is not clear who is asking, so that is none that can be used.
func credential(r *http.Request, vendors bool) (text string, given, ok bool) {
	values := r.Header.Values("Authorization")
	var keys []string
	if vendors {
		keys = r.Header.Values(headerArtAPI)
	}
	switch {
	case len(values)+len(keys) == 0:
		return "", false, false
	case len(values)+len(keys) > 1:
		return "", true, false
	case len(keys) == 1:
		text = strings.TrimSpace(keys[0])
		return text, true, text != ""
	}
	if vendors {
		if _, password, isBasic := r.BasicAuth(); isBasic {
			return password, true, password != ""
		}
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimSpace(text)
	return text, true, strings.EqualFold(scheme, "Bearer") && text != ""
}

// writeProblem refuses a request as the native API does.
func writeProblem(w http.ResponseWriter, status int, _, text string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	body := json.NewEncoder(w)
	body.SetEscapeHTML(false)                                                                  // people read it
	_ = body.Encode(api.Problem{Title: http.StatusText(status), Status: status, Detail: text}) // strings and numbers always can
}
