package httpapi

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	followers prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_admin_requests_total", Help: "Requests to the admin API, by route and class of the status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "jetpost_admin_request_seconds", Help: "Time to answer requests to the admin API, those that follow a log excepted.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		followers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "jetpost_admin_followers", Help: "Clients that follow a log.",
		}),
	}
	return m, errors.Join(reg.Register(m.requests), reg.Register(m.seconds), reg.Register(m.followers))
}

// request counts an answer. route is the pattern of the route, never a path: paths
// are chosen by clients.
func (m *metrics) request(route string, status int, took time.Duration, followed bool) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status/100)+"xx").Inc()
	if !followed {
		m.seconds.WithLabelValues(route).Observe(took.Seconds())
	}
}
