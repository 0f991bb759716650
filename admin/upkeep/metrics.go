package upkeep

import "github.com/prometheus/client_golang/prometheus"

// newResets counts consumers that were set back.
func newResets(reg prometheus.Registerer) (prometheus.Counter, error) {
	resets := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "jetpost_admin_consumer_resets_total", Help: "Consumers that were ahead of their streams, which have lost messages, and were set back.",
	})
	return resets, reg.Register(resets)
}
