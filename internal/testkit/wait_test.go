package testkit_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetpost/jetpost/internal/testkit"
)

// Waits end with the fact, and not before.
func TestWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		later := func() bool { return time.Since(began) >= time.Second }
		testkit.Eventually(t, "a second passes", later)
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("a fact that holds after 1 s was seen after %s", took)
		}
		if testkit.HoldsWithin(t.Context(), time.Second, func() bool { return false }) {
			t.Error("what never holds holds")
		}
		tries := 0
		testkit.Succeeds(t, "three tries", func() error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if tries != 3 {
			t.Errorf("tried %d times", tries)
		}
	})
}

// A metric is the sum of the series with the label values.
func TestMetric(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "events_total", Help: "Events."}, []string{"domain", "outcome"})
	reg.MustRegister(c)
	c.WithLabelValues("git", "stored").Add(2)
	c.WithLabelValues("git", "refused").Add(3)
	c.WithLabelValues("artifact", "stored").Add(5)
	for want, values := range map[float64][]string{10: nil, 5: {"git"}, 7: {"stored"}, 3: {"git", "refused"}, 0: {"none"}} {
		if got := testkit.Metric(t, reg, "events_total", values...); got != want {
			t.Errorf("%q: got %v, want %v", values, got, want)
		}
	}
}
