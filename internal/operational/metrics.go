package operational

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Values of the label outcome.
const (
	outcomeStored    = "stored"
	outcomeDuplicate = "duplicate" // another process has noticed the same
	outcomeDropped   = "dropped"   // too many waited, or the process has ended
	outcomeRefused   = "refused"   // the event log does not take it
)

type metrics struct {
	events *prometheus.CounterVec
}

// newMetrics registers them, or finds them registered by another Publisher of the
// process.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{events: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jetpost_operational_events_total", Help: "Events of the domain jetpost that this process had to publish, by what came of them.",
	}, []string{"type", "outcome"})}
	err := reg.Register(m.events)
	if existing, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if counters, ok := existing.ExistingCollector.(*prometheus.CounterVec); ok {
			return &metrics{events: counters}, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("register metrics of operational events: %w", err)
	}
	return m, nil
}

func (m *metrics) count(e *Event, outcome string) {
	m.events.WithLabelValues(typePrefix+e.kind, outcome).Inc()
}
