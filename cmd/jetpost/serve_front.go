package main

import (
	"errors"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/admin"
)

// A frontHandler answers requests from the first moment on, while the rest of the process
// waits for: that it lives, and what it waits for. Then it passes on to what is there.
type frontHandler struct {
	handler atomic.Pointer[http.Handler]
	waiting atomic.Pointer[error]
	done    chan struct{} // closed when no request is answered any more
}

// errStarting is why a process is not ready before anything else is known.
var errStarting = errors.New("it is starting")

func newFront(metrics prometheus.Gatherer) *frontHandler {
	f := &frontHandler{done: make(chan struct{})}
	f.waitFor(errStarting)
	f.serve(f.mux(metrics, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "jetpost is not ready: "+f.why().Error(), http.StatusServiceUnavailable)
	})))
	return f
}

// mux answers what orchestrators ask, and leaves the rest to another handler.
func (f *frontHandler) mux(metrics prometheus.Gatherer, rest http.Handler) http.Handler {
	mux := http.NewServeMux()
	admin.MountStarting(mux, f.why, metrics)
	mux.Handle("/", rest)
	return mux
}

// waitFor records why the process waits.
func (f *frontHandler) waitFor(err error) { f.waiting.Store(&err) }

func (f *frontHandler) why() error { return *f.waiting.Load() }

// serve has requests answered by h from now on.
func (f *frontHandler) serve(h http.Handler) { f.handler.Store(&h) }

func (f *frontHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*f.handler.Load()).ServeHTTP(w, r)
}
