package producer

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Values of the label outcome.
const (
	outcomeStored      = "stored"
	outcomeDuplicate   = "duplicate"
	outcomeInvalid     = "invalid"      // not a CloudEvent, or its data breaks its schema
	outcomeUnknownType = "unknown_type" // not in the catalogue
	outcomeReserved    = "reserved"     // of jetpost's own domain
	outcomeForeign     = "foreign"      // of a domain that the token does not name
	outcomeTooLarge    = "too_large"
	outcomeUnavailable = "unavailable" // not known to be stored
)

type metrics struct {
	events   *prometheus.CounterVec
	warnings *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_producer_events_total",
			Help: "Events offered for publishing, by outcome. The domain is empty where it is not known.",
		}, []string{"domain", "outcome"}),
		warnings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_producer_schema_warnings_total",
			Help: "Events stored although their data breaks their schema, in domains that only warn.",
		}, []string{"domain"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "jetpost_producer_publish_seconds",
			Help:    "Time from sending an event to the server to its acknowledgement, with all tries.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16), // 0.25 ms to 8 s
		}),
	}
	return m, errors.Join(reg.Register(m.events), reg.Register(m.warnings), reg.Register(m.seconds))
}

func (m *metrics) rejected(domain, outcome string) {
	m.events.WithLabelValues(domain, outcome).Inc()
}
