package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/internal/testkit"
)

// withBreaker are the delivery options of a subscription whose breaker opens soon.
func withBreaker(failures int) object {
	delivery := retrying(0, "0s", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms", "100ms")
	delivery["breaker"] = object{"mode": "on", "failures": failures}
	delivery["max_in_flight"] = 4
	return object{"delivery": delivery, "endpoint": object{"timeout": "2s"}}
}

// The sender that probes an endpoint is killed. Another one takes over when the lease
// is over, soon, however long the request may take; and everything is delivered.
func TestProberIsKilled(t *testing.T) {
	t.Parallel()
	sp := startSplit(t)
	var open, back atomic.Bool
	probing := make(chan struct{}, 100)
	c := startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
		switch {
		case back.Load():
			w.WriteHeader(http.StatusOK)
		case open.Load():
			probing <- struct{}{}
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	more := withBreaker(5)
	more["endpoint"] = object{"timeout": "30s"}
	sp.subscribe(t, "hook", c.URL, []string{"artifact.*"}, more)
	for _, id := range numbered("event", 30) {
		sp.publish(t, deployed(id, "libs"))
	}
	state := func() v1.BreakerState {
		var b v1.BreakerState
		sp.call(t, http.MethodGet, "/v1/subscriptions/hook/breaker", nil, &b)
		return b
	}
	eventually(t, "the breaker opens", func() bool { return state().State == string(breaker.Open) })
	open.Store(true)
	testkit.Receive(t, probing, "probe of a sender")
	eventually(t, "the API shows the probe", func() bool { return state().Probing })
	second := sp.join(t, "sender")
	back.Store(true)
	sp.sender.kill()
	killed, before := time.Now(), c.count()
	kv, err := sp.jetStream(t).KeyValue(t.Context(), "state")
	if err != nil {
		t.Fatal(err)
	}
	left, _, err := breaker.Read(t.Context(), kv, "hook")
	if err != nil {
		t.Fatal(err)
	}
	if holds := left.Lease.Until.Sub(killed); left.Lease.By == "" || holds > 10*time.Second {
		t.Errorf("the sender that was killed has left the lease %+v, for %s", left.Lease, holds)
	}
	if !holdsWithin(t.Context(), comesAgain, func() bool { return c.count() > before }) {
		t.Errorf("no sender has probed %s after the prober was killed", comesAgain)
	}
	eventuallyWithin(t, 2*factDeadline, "everything arrives", func() bool { return len(eventIDs(t, c.arrivals())) >= 30 && state().State == string(breaker.Closed) })
	eventually(t, "each is delivered", func() bool {
		delivered := make(map[string]bool)
		for _, a := range sp.attempts(t, "hook") {
			if a.Status == http.StatusOK {
				delivered[a.DeliveryID] = true
			}
		}
		return len(delivered) == 30
	})
	// Lines of the log come a moment later.
	eventually(t, "the second sender says that it has closed the breaker", func() bool { return len(second.stderr.lines(`"msg":"breaker is closed"`)) == 1 })
}

// What a person sees and does about it.
func TestBreakerByHand(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	var up atomic.Bool
	c := startCatcher(t, func(w http.ResponseWriter, _ *http.Request, _ *arrival) {
		if up.Load() {
			w.WriteHeader(http.StatusOK)
			return
		}
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	more := withBreaker(1)
	more["delivery"].(object)["max_in_flight"] = 1
	s.subscribe(t, "hook", c.URL, []string{"artifact.*"}, more)
	s.cli(t, "subscription", "show", "hook").ok("closed; opens after 1 failures in a row, the subscription is disabled after 120h")
	s.publish(t, deployed("first", "libs"))
	eventually(t, "the breaker opens", func() bool { return strings.Contains(s.cli(t, "subscription", "breaker", "hook").ok().stdout, "open") })
	for _, id := range numbered("event", 9) {
		s.publish(t, deployed(id, "libs"))
	}
	s.cli(t, "subscription", "breaker", "hook").ok("1 requests in a row have failed", "status 503", "next probe", "1 times")
	s.cli(t, "subscription", "show", "hook").ok("open since", "status 503", "next probe at")
	s.cli(t, "subscription", "breaker", "hook", "-o", "json").ok(`"state": "open"`)
	if n := c.count(); n != 1 {
		t.Errorf("%d requests were made, want 1", n)
	}
	up.Store(true)
	s.cli(t, "subscription", "breaker", "hook", "--reset").ok("closed", "closed by hand")
	eventually(t, "the others arrive", func() bool { return c.count() >= 10 })
}
