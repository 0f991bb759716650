package router

import (
	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events      *prometheus.CounterVec
	deliveries  prometheus.Counter
	unmatched   *prometheus.CounterVec
	invalid     *prometheus.CounterVec
	overflowing prometheus.Counter
	unmatchable *prometheus.CounterVec
	waiting     *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_router_events_total", Help: "Events routed: all their deliveries are stored.",
		}, []string{"domain"}),
		deliveries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "jetpost_router_deliveries_total", Help: "Deliveries stored in queues.",
		}),
		unmatched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_router_events_unmatched_total", Help: "Events that no subscription wanted.",
		}, []string{"domain"}),
		invalid: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_router_events_unreadable_total", Help: "Messages on an event log that are not events, kept as dead letters.",
		}, []string{"domain"}),
		overflowing: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "jetpost_router_overflow_total", Help: "Deliveries that found their queue full, kept as dead letters.",
		}),
		unmatchable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_router_match_budget_total", Help: "Deliveries whose filters needed more steps than one event may take, kept as dead letters.",
		}, []string{"domain"}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "jetpost_router_ordered_waiting", Help: "Events with ordered deliveries that wait until those before them are routed.",
		}, []string{"domain"}),
	}
	for _, c := range []prometheus.Collector{m.events, m.deliveries, m.unmatched, m.invalid, m.overflowing, m.unmatchable, m.waiting} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) routed(domain string, deliveries int) {
	m.events.WithLabelValues(domain).Inc()
	m.deliveries.Add(float64(deliveries))
	if deliveries == 0 {
		m.unmatched.WithLabelValues(domain).Inc()
	}
}

func (m *metrics) unreadable(domain string) { m.invalid.WithLabelValues(domain).Inc() }

func (m *metrics) overflow() { m.overflowing.Inc() }

func (m *metrics) undecided(domain string) { m.unmatchable.WithLabelValues(domain).Inc() }
