package access

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	refusals *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jetpost_access_refusals_total", Help: "Requests that were not let in, by reason.",
	}, []string{"reason"})}
	return m, reg.Register(m.refusals)
}
