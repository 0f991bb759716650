package admin

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// readyTimeout bounds each check of /readyz. Orchestrators ask every few seconds.
const readyTimeout = 2 * time.Second

// MountHealth adds what orchestrators and monitoring ask, without a token:
//
//	/livez    the process answers
//	/readyz   and reaches NATS, JetStream and the subscriptions, and more passes: 200, or 503 and why
//	/metrics  Prometheus
func MountHealth(mux *http.ServeMux, nc *nats.Conn, view *subscription.View, metrics prometheus.Gatherer, more ...Check) {
	mountLive(mux, metrics)
	mux.Handle("GET /readyz", readyz(append([]Check{
		{"nats", func(context.Context) error { return checkConnection(nc) }},
		{"jetstream", func(ctx context.Context) error { return checkJetStream(ctx, nc) }},
		{"subscriptions", func(ctx context.Context) error {
			_, err := view.Sync(ctx)
			return err
		}},
	}, more...)))
}

// MountStarting adds the same for a process that cannot work yet, because of why.
func MountStarting(mux *http.ServeMux, why func() error, metrics prometheus.Gatherer) {
	mountLive(mux, metrics)
	mux.Handle("GET /readyz", readyz([]Check{{"start", func(context.Context) error { return why() }}}))
}

func mountLive(mux *http.ServeMux, metrics prometheus.Gatherer) {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		httpapi.WriteJSON(w, http.StatusOK, "application/json", health{Status: "ok"})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}

// A Check is one thing without which a process cannot work.
type Check struct {
	// Name is what the answer to /readyz calls it.
	Name string
	// Run returns nil, or says what is wrong and what to do about it, to anybody who
	// asks. It has readyTimeout.
	Run func(context.Context) error
}

// health is the answer to /livez and /readyz. Checks has "ok" or the reason.
type health struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

// readyz runs the checks side by side, so that the answer comes in time whatever
// of them hangs.
func readyz(checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		results := make([]string, len(checks))
		var running sync.WaitGroup
		for i, c := range checks {
			running.Go(func() {
				results[i] = "ok"
				if err := c.Run(ctx); err != nil {
					results[i] = err.Error()
				}
			})
		}
		running.Wait()
		answer := health{Status: "ok", Checks: make(map[string]string, len(checks))}
		status := http.StatusOK
		for i, c := range checks {
			answer.Checks[c.Name] = results[i]
			if results[i] != "ok" {
				answer.Status, status = "not ready", http.StatusServiceUnavailable
			}
		}
		httpapi.WriteJSON(w, status, "application/json", answer)
	})
}

func checkConnection(nc *nats.Conn) error {
	if nc.IsConnected() {
		return nil
	}
	return errors.New("not connected: " + nc.Status().String())
}

func checkJetStream(ctx context.Context, nc *nats.Conn) error {
	if !nc.IsConnected() { // a request would wait for its timeout
		return errors.New("NATS is not connected")
	}
	js, err := stream.JetStream(nc)
	if err != nil {
		return err
	}
	_, err = js.AccountInfo(ctx)
	return err
}
