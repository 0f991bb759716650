package admin

import (
	"io"
	"net/http"

	"github.com/jetpost/jetpost/admin/httpapi"
)

// MountRoot says at / what a process answers, to a client that opens its address, and at paths
// that nothing else answers that there is nothing. api tells whether the process has the
// API of an admin. Both need no token and tell nothing that the documentation does not.
func MountRoot(mux *http.ServeMux, api bool) {
	about, hint := "jetpost turns CloudEvents into signed webhooks.\n\n", "this process answers /v1/events (POST), /livez, /readyz and /metrics"
	if api {
		about += "/docs           the API, for people\n/openapi.json   the API, for programs\n/v1/            the API itself, with a token\n"
		hint = "/docs describes the API for people, /openapi.json for programs"
	} else {
		about += "/v1/events      takes events (POST), with a token, where this process is a producer\n"
	}
	about += "/livez          whether the process lives\n/readyz         whether it can do its work\n/metrics        for Prometheus\n"
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, about)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/", "/livez", "/readyz", "/metrics": // another method than theirs
			w.Header().Set("Allow", "GET, HEAD")
			httpapi.WriteProblem(w, httpapi.NewProblem(http.StatusMethodNotAllowed, "this path takes GET, HEAD"))
		default:
			httpapi.WriteProblem(w, httpapi.NewProblem(http.StatusNotFound, "there is nothing at this path: "+hint))
		}
	})
}
