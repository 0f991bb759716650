package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/jetpost/jetpost/internal/access"
)

// unreadBody is a body that must not be read.
type unreadBody struct{ t *testing.T }

func (b unreadBody) Read([]byte) (int, error) {
	b.t.Error("the body of a request that is not let in was read")
	return 0, io.ErrUnexpectedEOF
}

// Who may not use a route fills neither the memory with bodies, of which those of
// domains are large, nor the bucket of answers that are kept.
func TestNothingIsReadOfWhatIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, role := range []access.Role{access.Auditor, access.Publisher} {
		for _, route := range []struct{ method, path string }{
			{http.MethodPut, "/v1/domains/large"},
			{http.MethodPost, "/v1/subscriptions"},
			{http.MethodPost, "/v1/subscriptions/ci/rotate-secret"},
			{http.MethodPost, "/v1/tokens"},
			{http.MethodPatch, "/v1/subscriptions/ci"},
		} {
			r := httptest.NewRequest(route.method, route.path, unreadBody{t})
			r.Header.Set("Idempotency-Key", "k")
			w := httptest.NewRecorder()
			f.admin.Handler().ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{ID: "t", Role: role})))
			if w.Code != http.StatusForbidden || w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s by %s: got %d %s", route.method, route.path, role, w.Code, w.Body)
			}
		}
	}
	s, err := f.js.Stream(t.Context(), f.layout.IdempotencyStream())
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.LastSeq != 0 {
		t.Errorf("%d records of keys were written", info.State.LastSeq)
	}
}
