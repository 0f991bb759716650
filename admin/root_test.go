package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A client that opens the address of a process learns what there is, and of a path that there
// is nothing.
func TestRoot(t *testing.T) {
	t.Parallel()
	with, without := http.NewServeMux(), http.NewServeMux()
	MountRoot(with, true)
	MountRoot(without, false)
	for _, c := range []struct {
		mux                       *http.ServeMux
		method, path              string
		status                    int
		contentType, has, hasNone string
	}{
		{with, "GET", "/", http.StatusOK, "text/plain; charset=utf-8", "/docs ", "\x00"},
		{without, "GET", "/", http.StatusOK, "text/plain; charset=utf-8", "/v1/events ", "/docs"},
		{with, "GET", "/api/v1", http.StatusNotFound, "application/problem+json", "nothing at this path: /docs", "\x00"},
		{without, "GET", "/v1/subscriptions", http.StatusNotFound, "application/problem+json", "/readyz", "/docs"},
		{with, "POST", "/", http.StatusMethodNotAllowed, "application/problem+json", "this path takes GET", "\x00"},
		{with, "DELETE", "/livez", http.StatusMethodNotAllowed, "application/problem+json", "this path takes GET", "\x00"},
	} {
		w := httptest.NewRecorder()
		c.mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil))
		body := w.Body.String()
		if w.Code != c.status || w.Header().Get("Content-Type") != c.contentType || !strings.Contains(body, c.has) || strings.Contains(body, c.hasNone) {
			t.Errorf("%s %s: got %d %s %s", c.method, c.path, w.Code, w.Header(), body)
		}
	}
}
