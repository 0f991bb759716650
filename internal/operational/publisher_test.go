package operational_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/jetpost/jetpost/internal/operational"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/testkit"
)

// A rig is a server with the log of the domain, and a publisher on it.
type rig struct {
	t      *testing.T
	server *streamtest.Server
	reg    *prometheus.Registry
	logged *observer.ObservedLogs
	*operational.Publisher
}

func newRig(t *testing.T, cfg operational.Config) *rig {
	t.Helper()
	r := &rig{t: t, server: streamtest.New(t), reg: prometheus.NewRegistry()}
	r.ensure()
	core, logged := observer.New(zap.InfoLevel)
	r.logged = logged
	r.Publisher = r.another(cfg, zap.New(core))
	return r
}

func (r *rig) ensure() {
	r.t.Helper()
	if err := r.server.Layout.EnsureEventLog(r.t.Context(), r.server.JS(), stream.OperationalDomain); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) another(cfg operational.Config, log *zap.Logger) *operational.Publisher {
	r.t.Helper()
	js, err := stream.JetStream(r.server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := operational.NewPublisher(cfg, js, r.server.Layout, log, r.reg)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// run runs a publisher until stop is called.
func (r *rig) run(p *operational.Publisher) (stop func()) {
	r.t.Helper()
	return testkit.Run(r.t, "publisher", p.Run)
}

func (r *rig) count(outcome string) float64 {
	r.t.Helper()
	return testkit.Metric(r.t, r.reg, "jetpost_operational_events_total", outcome)
}

func (r *rig) await(outcome string, n float64) {
	r.t.Helper()
	testkit.Until(r.t, func() (bool, string) {
		got := r.count(outcome)
		return got >= n, fmt.Sprintf("%v events are %s, want %v", got, outcome, n)
	})
}

func created(n int) operational.Event {
	return operational.Created(&subscription.Subscription{
		ID: fmt.Sprintf("s%d", n), Types: []string{"git.push"}, Profile: "standard", State: subscription.Active, Revision: 1,
		Endpoint: subscription.Endpoint{URL: "https://example.com/hook"},
	}, operational.Admin)
}

// wantLog checks that exactly these events are in the log, once each and in order.
func (r *rig) wantLog(first, n int) {
	r.t.Helper()
	events := r.server.Events(stream.OperationalDomain)
	if len(events) != n {
		r.t.Errorf("%d events are in the log, want %d", len(events), n)
	}
	for i, e := range events {
		if want := fmt.Sprintf("subscription.created/s%d/1", first+i); e.ID != want || e.Type != "jetpost.subscription.created" || e.Source != "/jetpost" {
			r.t.Errorf("event %d is %s of %s, want %s", i, e.ID, e.Source, want)
		}
	}
}

// Events are stored in their order, and what two processes notice is stored once.
func TestPublished(t *testing.T) {
	t.Parallel()
	const n = 200
	r := newRig(t, operational.Config{})
	r.Publish(operational.Event{}) // nothing
	for i := range n {
		r.Publish(created(i))
	}
	stop := r.run(r.Publisher)
	r.await("stored", n)
	second := r.another(operational.Config{}, zap.NewNop())
	second.Publish(created(0), created(1))
	stopSecond := r.run(second)
	r.await("duplicate", 2)
	stop()
	stopSecond()
	r.wantLog(0, n)
	if dropped := r.count("dropped"); dropped != 0 || r.logged.Len() > 0 {
		t.Errorf("%v are dropped, logged: %v", dropped, r.logged.All())
	}
	var none *operational.Publisher
	none.Publish(created(1)) // as in a process that has none
}

// What does not fit is dropped and counted, and that is said once, until there was
// room for all again.
func TestBufferFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, operational.Config{Buffer: 10})
	for burst := 1; burst <= 2; burst++ {
		for i := range 15 {
			r.Publish(created((burst-1)*10 + i))
		}
		if got := r.count("dropped"); got != float64(5*burst) {
			t.Errorf("%v are dropped, want %d", got, 5*burst)
		}
		if got := r.logged.FilterMessageSnippet("dropped").Len(); got != burst {
			t.Errorf("it was said %d times, want %d", got, burst)
		}
		stop := r.run(r.Publisher)
		r.await("stored", float64(10*burst))
		stop()
	}
	r.wantLog(0, 20)
}

// Events reported while NATS is away are published when it is back; no caller waits for it.
func TestNATSAwayAndBack(t *testing.T) {
	t.Parallel()
	const n = 150
	r := newRig(t, operational.Config{Patience: time.Second})
	stop := r.run(r.Publisher)
	r.Publish(created(0))
	r.await("stored", 1)
	r.server.Stop()
	for i := 1; i < n; i++ {
		r.Publish(created(i))
	}
	r.server.Start()
	r.await("stored", n)
	stop()
	r.wantLog(0, n)
}

// A log that is not there yet is waited for: that of a server whose admin is of an
// older version.
func TestLogIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, operational.Config{})
	if err := r.server.JS().DeleteStream(t.Context(), r.server.Layout.EventLog(stream.OperationalDomain)); err != nil {
		t.Fatal(err)
	}
	stop := r.run(r.Publisher)
	r.Publish(created(0))
	testkit.Eventually(t, "the failure is logged", func() bool { return r.logged.FilterMessageSnippet("will keep trying").Len() > 0 })
	r.ensure()
	r.await("stored", 1)
	stop()
	r.wantLog(0, 1)
}

// An event that the log will never take does not hold up the others.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, operational.Config{})
	cfg := r.server.Layout.EventLogConfig(stream.OperationalDomain)
	cfg.MaxMsgSize = 1000
	if _, err := r.server.JS().UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	large := &subscription.Subscription{ID: "large", Types: make([]string, 1000), State: subscription.Active}
	r.Publish(operational.Created(large, operational.Admin), created(0))
	stop := r.run(r.Publisher)
	r.await("refused", 1)
	r.await("stored", 1)
	stop()
	r.wantLog(0, 1)
}

// Who is stopped publishes what waits, or gives it up in time when NATS is away.
func TestStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t, operational.Config{Grace: 100 * time.Millisecond})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r.Publish(created(0))
	if err := r.Run(ended); err != nil {
		t.Fatal(err)
	}
	r.wantLog(0, 1)
	r.server.Stop()
	r.Publish(created(1))
	if err := r.Run(ended); err != nil {
		t.Fatal(err)
	}
	if got := r.count("dropped"); got != 1 {
		t.Errorf("%v are dropped, want 1", got)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if _, err := operational.NewPublisher(operational.Config{Buffer: -1}, jetstream.JetStream(nil), stream.Layout{}, zap.NewNop(), prometheus.NewRegistry()); err == nil {
		t.Error("a negative buffer is accepted")
	}
}
