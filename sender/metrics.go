package sender

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/internal/delivery"
)

type metrics struct {
	attempts    *prometheus.CounterVec
	byOutcome   map[delivery.Outcome]prometheus.Counter
	seconds     prometheus.Histogram
	endToEnd    prometheus.Histogram
	deadLetters *prometheus.CounterVec
	workers     prometheus.Gauge
	handshakes  *prometheus.CounterVec
	breakers    prometheus.Gauge
	transitions *prometheus.CounterVec
	members     prometheus.Gauge
	ownership   *prometheus.CounterVec
	gained      prometheus.Counter
	lost        prometheus.Counter
	oldest      prometheus.Gauge
	clockSet    prometheus.Counter
	held        *prometheus.CounterVec

	repeatsAvoided prometheus.Counter
	rearmed        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_sender_attempts_total", Help: "Requests made, by how they were judged.",
		}, []string{"outcome"}),
		byOutcome: make(map[delivery.Outcome]prometheus.Counter),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "jetpost_sender_attempt_seconds", Help: "How long requests took, to the end of the answer.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12),
		}),
		endToEnd: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "jetpost_sender_first_delivery_seconds", Help: "From the event being stored to the answer of a first attempt that delivered it.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 14),
		}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetpost_sender_dead_letters_total", Help: "Deliveries given up, by reason.",
		}, []string{"reason"}),
		workers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "jetpost_sender_subscriptions", Help: "Subscriptions whose queues this sender pulls from.",
		}),
	}
	m.handshakes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jetpost_sender_handshakes_total", Help: "Receivers asked for their consent, by what came of it.",
	}, []string{"result"})
	m.breakers = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "jetpost_sender_breakers_open", Help: "Active subscriptions whose breaker is not closed, the same on every sender.",
	})
	m.transitions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jetpost_sender_breaker_transitions_total", Help: "Changes of breakers that this sender has made, by the state they led to.",
	}, []string{"to"})
	m.members = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "jetpost_sender_members", Help: "Senders that share the subscriptions, as this one sees them. 0: it cannot, and pulls from all queues.",
	})
	m.ownership = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jetpost_sender_ownership_changes_total", Help: "Subscriptions that this sender has taken over from another one, or left to one.",
	}, []string{"change"})
	m.gained, m.lost = m.ownership.WithLabelValues("gained"), m.ownership.WithLabelValues("lost")
	m.oldest = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "jetpost_sender_oldest_waiting_seconds", Help: "How long the oldest delivery has been in its queue, over all queues of this sender, when they were last looked at.",
	})
	m.rearmed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "jetpost_sender_timers_rearmed_total", Help: "Retry timers that were due and that the NATS server had not fired, stored again.",
	})
	m.repeatsAvoided = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "jetpost_sender_repeats_avoided_total", Help: "Deliveries that were queued again after a crash of NATS, and were not made again: the attempt log had them.",
	})
	m.clockSet = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "jetpost_sender_clock_set_total", Help: "How often this sender has noticed that the clock of the NATS server was set.",
	})
	m.held = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "jetpost_sender_held_total", Help: "Requests that this machine could not make, by what it has run out of. They are made later, and are no attempts.",
	}, []string{"cause"})
	for _, o := range delivery.Outcomes() {
		m.byOutcome[o] = m.attempts.WithLabelValues(o.String())
	}
	for _, c := range []prometheus.Collector{m.attempts, m.seconds, m.endToEnd, m.deadLetters, m.workers, m.handshakes, m.breakers, m.transitions, m.members, m.ownership, m.oldest, m.clockSet, m.held, m.repeatsAvoided, m.rearmed} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
