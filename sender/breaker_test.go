package sender_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
	"github.com/jetpost/jetpost/internal/testkit"
	"github.com/jetpost/jetpost/sender"
)

// guarded is a subscription with a breaker that opens after some failures, few
// requests in flight, and more retries than any test needs.
func guarded(id, url string, failures int) *subscription.Subscription {
	sub := to(id, url, slices.Concat([]time.Duration{0}, slices.Repeat([]time.Duration{20 * time.Millisecond}, 49))...)
	sub.Delivery.MaxInFlight = 4
	sub.Delivery.Breaker = subscription.Breaker{Mode: subscription.BreakerOn, Failures: failures}
	return sub
}

// byTest leaves it to the test when there is a probe: see probe.
func byTest(c *sender.Config) { c.Probes = breaker.Timing{Min: time.Hour, Max: time.Hour} }

// soon makes probes come quickly.
func soon(c *sender.Config) {
	c.Probes = breaker.Timing{Min: 20 * time.Millisecond, Max: 20 * time.Millisecond}
}

// broken is a receiver that is down until the test repairs it.
type broken struct {
	*receiver
	up atomic.Bool
}

func receiveBroken(t *testing.T, status int) *broken {
	t.Helper()
	b := &broken{}
	b.receiver = receive(t, func(w http.ResponseWriter, _ *request) {
		if b.up.Load() {
			w.WriteHeader(http.StatusNoContent)
		} else {
			w.WriteHeader(status)
		}
	})
	return b
}

func (r *rig) state() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.js.KeyValue(r.t.Context(), r.layout.StateBucket())
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

// awaitBreaker waits until a breaker is as wanted.
func (r *rig) awaitBreaker(id, what string, wanted func(breaker.Record) bool) breaker.Record {
	r.t.Helper()
	kv := r.state()
	var got breaker.Record
	eventually(r.t, func() (bool, string) {
		var err error
		if got, _, err = breaker.Read(r.t.Context(), kv, id); err != nil {
			return false, err.Error()
		}
		return wanted(got), fmt.Sprintf("the breaker of %s is not %s: %+v", id, what, got)
	})
	return got
}

func (r *rig) awaitState(id string, want breaker.State) breaker.Record {
	r.t.Helper()
	return r.awaitBreaker(id, string(want), func(got breaker.Record) bool { return got.State == want })
}

// changeBreaker changes it from outside.
func (r *rig) changeBreaker(id string, change func(breaker.Record) breaker.Record) {
	r.t.Helper()
	if _, err := breaker.Change(r.t.Context(), r.state(), id, func(b breaker.Record) (breaker.Record, bool) { return change(b), true }); err != nil {
		r.t.Fatal(err)
	}
}

// open opens the breaker of a subscription.
func (r *rig) open(sub *subscription.Subscription) {
	r.t.Helper()
	r.changeBreaker(sub.ID, func(b breaker.Record) breaker.Record {
		return b.Trip(time.Now(), breaker.TargetOf(sub), "the test says so", 1, breaker.Cause{Status: 503}, breaker.Timing{Min: time.Hour})
	})
}

// probe makes it time for a probe.
func (r *rig) probe(id string) {
	r.t.Helper()
	r.changeBreaker(id, func(b breaker.Record) breaker.Record { b.NextProbe = time.Now(); return b })
}

// quiet waits until all that the receiver was sent is recorded, and returns how much
// that is.
func (r *rig) quiet(rc *receiver, sub *subscription.Subscription) int {
	r.t.Helper()
	n := 0
	eventually(r.t, func() (bool, string) {
		n = len(rc.all())
		recorded := len(r.attempts(sub))
		return recorded == n, fmt.Sprintf("%d requests are recorded, want %d", recorded, n)
	})
	return n
}

// awaitDelivered waits until n deliveries have succeeded, each of them once. Some may
// be on their way back to the queue meanwhile.
func (r *rig) awaitDelivered(sub *subscription.Subscription, n int) {
	r.t.Helper()
	eventually(r.t, func() (bool, string) {
		delivered := make(map[string]int)
		for _, a := range r.attempts(sub) {
			if a.Outcome == delivery.Delivered {
				delivered[a.DeliveryID]++
			}
		}
		for id, times := range delivered {
			if times > 1 {
				r.t.Errorf("%s was delivered %d times", id, times)
			}
		}
		return len(delivered) == n, fmt.Sprintf("%d deliveries have succeeded, want %d", len(delivered), n)
	})
	r.awaitSettled(sub)
}

// An endpoint that is down is left alone but for probes; when it is back all that
// waits is delivered, and no faster than it may be. Others do not notice.
func TestBreaker(t *testing.T) {
	t.Parallel()
	const n, failures = 60, 5
	r := newRig(t)
	rc, other := receiveBroken(t, http.StatusServiceUnavailable), receive(t, nil)
	sub, healthy := r.subscribe(guarded("hook", rc.URL, failures)), r.subscribe(guarded("healthy", other.URL, failures))
	service := r.send(byTest)
	r.queue(sub, 0, n)
	record := r.awaitState("hook", breaker.Open)
	if record.Opened != 1 || record.Failures < failures || record.LastStatus != 503 || record.DownSince.IsZero() {
		t.Errorf("got %+v", record)
	}
	r.queue(healthy, 0, n)
	r.awaitSettled(healthy)
	sent := r.quiet(rc.receiver, sub)
	if most := failures + 2*sub.Delivery.MaxInFlight; sent > most {
		t.Errorf("%d requests were made before the breaker opened, want at most %d", sent, most)
	}
	for i := range 3 { // each probe is one request
		r.probe("hook")
		r.awaitBreaker("hook", "probed", func(b breaker.Record) bool { return b.Failures == record.Failures+i+1 })
		if i == 0 { // by now those that were in hand when it opened have been made as well
			sent = r.quiet(rc.receiver, sub)
			continue
		}
		if sent++; r.quiet(rc.receiver, sub) != sent {
			t.Errorf("after %d probes there were %d requests, want %d", i+1, len(rc.all()), sent)
		}
	}
	rc.up.Store(true)
	r.probe("hook")
	r.awaitDelivered(sub, n)
	if rc.most > sub.Delivery.MaxInFlight {
		t.Errorf("%d requests were made at a time, want at most %d", rc.most, sub.Delivery.MaxInFlight)
	}
	if got := r.awaitState("hook", breaker.Closed); got.Opened != 1 {
		t.Errorf("it has opened %d times", got.Opened)
	}
	for message, want := range map[string]int{"breaker opened": 1, "breaker stays open": 3, "breaker is half-open": 1, "breaker is closed": 1} {
		if got := r.logged.FilterMessage(message).FilterFieldKey("subscription_id").Len(); got != want {
			t.Errorf("%q is logged %d times, want %d", message, got, want)
		}
	}
	const transitions = "jetpost_sender_breaker_transitions_total"
	for _, state := range []string{"open", "half-open", "closed"} {
		if got := counter(t, service.reg, transitions, state); got != 1 {
			t.Errorf("%v transitions to %s, want 1", got, state)
		}
	}
	other.wantOnce(0, n)
}

// However many senders there are, one of them probes at a time.
func TestBreakerOfTwoSenders(t *testing.T) {
	t.Parallel()
	const n, probes = 40, 20
	r := newRig(t)
	var up, counting atomic.Bool
	var now, most atomic.Int32
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if up.Load() {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if counting.Load() {
			under := now.Add(1)
			defer now.Add(-1)
			for seen := most.Load(); under > seen && !most.CompareAndSwap(seen, under); seen = most.Load() {
			}
			testkit.Pause(t.Context(), 20*time.Millisecond) // others have the time to come
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	sub := r.subscribe(guarded("hook", rc.URL, 3))
	r.send(soon)
	r.send(soon)
	r.queue(sub, 0, n)
	r.awaitState("hook", breaker.Open)
	r.awaitBreaker("hook", "probed", func(b breaker.Record) bool { return b.Failures > 5 })
	counting.Store(true)
	record, _, err := breaker.Read(t.Context(), r.state(), "hook")
	if err != nil {
		t.Fatal(err)
	}
	r.awaitBreaker("hook", "probed often", func(b breaker.Record) bool { return b.Failures > record.Failures+probes })
	if got := most.Load(); got != 1 {
		t.Errorf("%d probes were made at a time, want 1", got)
	}
	up.Store(true)
	r.awaitDelivered(sub, n)
}

// It stays open over a restart of the sender, and of the server.
func TestBreakerOverRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc, other := receiveBroken(t, http.StatusBadGateway), receive(t, nil)
	sub, healthy := r.subscribe(guarded("hook", rc.URL, 3)), r.subscribe(guarded("healthy", other.URL, 3))
	// The server may forget with its end what was handed back just before.
	cfg := r.layout.SenderConsumerConfig(sub.Delivery.MaxInFlight)
	cfg.AckWait = 2 * time.Second
	if _, err := r.js.UpdateConsumer(t.Context(), sub.Queue.Stream, cfg); err != nil {
		t.Fatal(err)
	}
	first := r.send(byTest)
	r.queue(sub, 0, 10)
	r.awaitState("hook", breaker.Open)
	first.stop() // with it all requests have ended
	sent := r.quiet(rc.receiver, sub)
	r.server.Restart()
	eventually(t, func() (bool, string) {
		_, err := r.js.KeyValue(t.Context(), r.layout.StateBucket())
		return err == nil, "the server does not come back"
	})
	r.send(byTest)
	r.queue(healthy, 0, 10)
	r.awaitSettled(healthy)
	r.awaitState("hook", breaker.Open)
	r.probe("hook")
	r.awaitBreaker("hook", "probed", func(b breaker.Record) bool { return b.Reason == "a probe has failed" })
	if got := r.quiet(rc.receiver, sub); got != sent+1 {
		t.Errorf("%d requests were made after the restart, want one", got-sent)
	}
	rc.up.Store(true)
	r.probe("hook")
	r.awaitSettled(sub)
	r.awaitState("hook", breaker.Closed)
}

// A sender that dies while it probes leaves its lease, and another one takes over
// when that is over.
func TestBreakerOfDeadSender(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, nil)
	sub := r.subscribe(guarded("hook", rc.URL, 3))
	r.open(sub)
	until := time.Now().Add(2 * time.Second)
	r.changeBreaker("hook", func(b breaker.Record) breaker.Record {
		b.NextProbe, b.Lease = time.Now(), breaker.Lease{By: "a sender that died", Until: until}
		return b
	})
	r.send(byTest)
	r.queue(sub, 0, 20)
	r.awaitSettled(sub)
	r.awaitState("hook", breaker.Closed)
	rc.wantOnce(0, 20)
	if first := rc.all()[0].at; first.Before(until.Add(-100 * time.Millisecond)) { // the server's clock is read over the network
		t.Errorf("the first probe was made %s too early", until.Sub(first))
	}
}

// A lease is short, and renewed for as long as its request takes: meanwhile no other sender
// probes.
func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		<-held
		w.WriteHeader(http.StatusNoContent)
	})
	t.Cleanup(release)
	sub := guarded("hook", rc.URL, 3)
	sub.Delivery.Senders = 2
	sub.Endpoint.Timeout = subscription.Duration(30 * time.Second)
	sub = r.subscribe(sub)
	r.open(sub)
	r.send(byTest)
	r.send(byTest)
	r.queue(sub, 0, 20)
	r.probe("hook")
	rc.await(1)
	first := r.awaitBreaker("hook", "leased", func(b breaker.Record) bool { return b.Lease.By != "" })
	if length := time.Until(first.Lease.Until); length > 10*time.Second {
		t.Errorf("the lease is for %s, want at most 10s", length)
	}
	second := r.awaitBreaker("hook", "leased for longer than at first", func(b breaker.Record) bool {
		return b.Lease.Until.After(first.Lease.Until.Add(time.Second))
	})
	if second.Lease.By != first.Lease.By {
		t.Errorf("%s has the lease of %s", second.Lease.By, first.Lease.By)
	}
	// By the end of the first lease another sender would have probed.
	third := r.awaitBreaker("hook", "renewed after the first lease", func(b breaker.Record) bool {
		return time.Now().After(first.Lease.Until) && b.Lease.Until.After(second.Lease.Until)
	})
	if got := len(rc.all()); got != 1 || third.Lease.By != first.Lease.By {
		t.Errorf("%d probes are under way, the lease is of %s; want one, of %s", got, third.Lease.By, first.Lease.By)
	}
	release()
	r.awaitSettled(sub)
	r.awaitState("hook", breaker.Closed)
	rc.wantOnce(0, 20)
}

// Each probe is made with the delivery that has waited longest, and one that has
// probed goes behind the others.
func TestProbesRotate(t *testing.T) {
	t.Parallel()
	const n = 6
	r := newRig(t)
	rc := receiveBroken(t, http.StatusInternalServerError)
	sub := r.subscribe(guarded("hook", rc.URL, 3))
	r.open(sub)
	r.send(byTest)
	r.queue(sub, 0, n)
	for i := range n {
		r.probe("hook")
		rc.await(i + 1)
		r.awaitBreaker("hook", "probed", func(b breaker.Record) bool { return b.Failures == i+2 })
	}
	rc.wantOnce(0, n)
	for _, a := range r.attempts(sub) {
		if a.Attempt != 1 {
			t.Errorf("got attempt %+v, want the first of each", a)
		}
	}
}

// What a receiver refuses says that it is there.
func TestRefusalsDoNotOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	statuses := []int{400, 401, 403, 404, 409, 415, 422, 302}
	var count atomic.Int32
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(statuses[int(count.Add(1))%len(statuses)]) })
	sub := guarded("hook", rc.URL, 2)
	sub.Delivery.Retry = sub.Delivery.Retry[:2]
	sub = r.subscribe(sub)
	r.send(byTest)
	r.queue(sub, 0, 20)
	r.awaitDeadLetters("hook", 20)
	if record, revision, err := breaker.Read(t.Context(), r.state(), "hook"); err != nil || revision != 0 {
		t.Errorf("got %+v, %v, want none", record, err)
	}
}

// Which answers open it, and what it says then.
func TestFailuresOpen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.send(byTest)
	for _, status := range []int{408, 425, 429, 500, 503, 599, 0} {
		id := "hook-" + strconv.Itoa(status)
		rc := receive(t, func(w http.ResponseWriter, _ *request) {
			if status == 0 {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(status)
		})
		sub := r.subscribe(guarded(id, rc.URL, 1))
		r.queue(sub, 0, 1)
		record := r.awaitState(id, breaker.Open)
		if record.LastStatus != status || (record.LastError != "") != (status == 0) {
			t.Errorf("%d: got %+v", status, record)
		}
		wait := record.NextProbe.Sub(record.Since)
		if asked := status == 429 || status == 503; asked && wait != time.Hour || wait > time.Hour {
			t.Errorf("%d: the first probe is in %s", status, wait)
		}
	}
}

// Four fifths of the requests fail, never two in a row that the limit would see.
func TestShareOpens(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var count atomic.Int32
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if count.Add(1)%8 != 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := guarded("hook", rc.URL, 9)
	sub.Delivery.MaxInFlight = 1 // or successes overtake
	sub = r.subscribe(sub)
	r.send(byTest)
	r.queue(sub, 0, 60)
	if record := r.awaitState("hook", breaker.Open); !strings.Contains(record.Reason, "within 30s") {
		t.Errorf("the reason is %q", record.Reason)
	}
}

// A receiver that comes and goes gets everything in the end.
func TestFlappingReceiver(t *testing.T) {
	t.Parallel()
	const n = 60
	r := newRig(t)
	var count atomic.Int32
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if count.Add(1)%24 >= 16 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := r.subscribe(guarded("hook", rc.URL, 3))
	r.send(soon)
	r.send(soon)
	r.queue(sub, 0, n)
	r.awaitDelivered(sub, n)
	if got := r.awaitBreaker("hook", "known", func(b breaker.Record) bool { return b.Opened > 0 }); got.Opened < 2 {
		t.Errorf("it has opened %d times, want more", got.Opened)
	}
}

// A receiver that fails one request in five would not open its breaker. After an
// outage it does not stay open because of that either.
func TestFailingNowAndThen(t *testing.T) {
	t.Parallel()
	const n = 40
	r := newRig(t)
	var count atomic.Int32
	rc := receive(t, func(w http.ResponseWriter, _ *request) {
		if count.Add(1)%5 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := r.subscribe(guarded("hook", rc.URL, 5))
	r.open(sub)
	r.send(byTest) // a delay would be an hour
	r.queue(sub, 0, n)
	r.probe("hook")
	r.awaitDelivered(sub, n)
	if got := r.awaitState("hook", breaker.Closed); got.Opened != 1 {
		t.Errorf("it has opened %d times, want once", got.Opened)
	}
}

// Closed by hand, or by a new URL, everything flows.
func TestBreakerClosedByHand(t *testing.T) {
	t.Parallel()
	for name, closeIt := range map[string]func(r *rig, url string){
		"by hand": func(r *rig, _ string) {
			r.changeBreaker("hook", func(b breaker.Record) breaker.Record { return b.Close(time.Now(), "by hand") })
		},
		"by deleting its key": func(r *rig, _ string) {
			if err := r.state().Delete(r.t.Context(), stream.StateBreaker("hook")); err != nil {
				r.t.Fatal(err)
			}
		},
		"by another URL": func(r *rig, url string) {
			r.change("hook", func(s *subscription.Subscription) { s.Endpoint.URL = url + "/other" })
		},
		"by turning it off": func(r *rig, _ string) {
			r.change("hook", func(s *subscription.Subscription) { s.Delivery.Breaker.Mode = subscription.BreakerOff })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			rc := receiveBroken(t, http.StatusInternalServerError)
			sub := r.subscribe(guarded("hook", rc.URL, 3))
			r.send(byTest)
			r.queue(sub, 0, 20)
			r.awaitState("hook", breaker.Open)
			r.quiet(rc.receiver, sub)
			rc.up.Store(true)
			closeIt(r, rc.URL)
			r.awaitSettled(sub)
		})
	}
}

// What waits for longer than it may becomes a dead letter, without a request.
func TestExpiredWhileOpen(t *testing.T) {
	t.Parallel()
	const old, fresh = 100, 3
	r := newRig(t)
	rc := receive(t, nil)
	sub := guarded("hook", rc.URL, 3)
	sub.Delivery.MaxInFlight, sub.Delivery.MaxAge = 64, subscription.Duration(time.Hour)
	sub = r.subscribe(sub)
	r.open(sub)
	for i := range old {
		if _, err := r.js.PublishMsg(t.Context(), queued(sub, newEvent(i), time.Now().Add(-2*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	r.queue(sub, old, fresh)
	r.send(byTest)
	r.probe("hook")
	for _, deadLetter := range r.awaitDeadLetters("hook", old) {
		if deadLetter.Reason != delivery.ReasonExpired {
			t.Errorf("got dead letter %+v, want one that expired", deadLetter)
		}
	}
	r.awaitSettled(sub)
	rc.wantOnce(old, fresh)
}

// An endpoint that has been down for too long is given up, with a reason.
func TestDisabledWhenDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receiveBroken(t, http.StatusBadGateway)
	sub := guarded("hook", rc.URL, 3)
	sub.Delivery.Breaker.DisableAfter = subscription.Duration(time.Hour)
	sub = r.subscribe(sub)
	r.open(sub)
	r.changeBreaker("hook", func(b breaker.Record) breaker.Record {
		b.DownSince, b.NextProbe = time.Now().Add(-2*time.Hour), time.Now()
		return b
	})
	r.send(byTest)
	r.send(byTest)
	r.queue(sub, 0, 5)
	eventually(t, func() (bool, string) {
		now, err := r.store.Get(t.Context(), "hook")
		if err != nil {
			return false, err.Error()
		}
		return now.State == subscription.Disabled && strings.Contains(now.StateReason, "down since") && strings.Contains(now.StateReason, "status 502"),
			fmt.Sprintf("it is %s: %s", now.State, now.StateReason)
	})
	r.awaitState("hook", breaker.Closed)
	if got := r.logged.FilterMessage("subscription disabled").Len(); got != 1 {
		t.Errorf("it is said %d times, want once", got)
	}
	rc.up.Store(true)
	r.change("hook", func(s *subscription.Subscription) { s.State = subscription.Active })
	r.awaitSettled(sub)
}

// An outage that is over does not count: what an older version has left half-open, or a
// success that was days ago, is no reason to give an endpoint up that fails for a moment.
func TestNotDisabledForAnOldOutage(t *testing.T) {
	t.Parallel()
	const days = 6 * 24 * time.Hour
	r := newRig(t)
	rc := receiveBroken(t, http.StatusBadGateway)
	sub := guarded("hook", rc.URL, 3)
	sub.Delivery.Breaker.DisableAfter = subscription.Duration(5 * 24 * time.Hour)
	sub = r.subscribe(sub)
	r.changeBreaker("hook", func(b breaker.Record) breaker.Record { // a short outage on day 0, and one success on each day since
		day0 := time.Now().Add(-days)
		b = b.Trip(day0, breaker.TargetOf(sub), "the test says so", 3, breaker.Cause{Status: 502}, breaker.Timing{})
		for day := range 5 {
			b = b.Succeed(day0.Add(time.Hour+time.Duration(day)*24*time.Hour), 1)
		}
		return b
	})
	r.send(soon)
	r.queue(sub, 0, 8)
	opened := r.awaitBreaker("hook", "open again", func(b breaker.Record) bool { return b.State == breaker.Open && b.Failures > 8 })
	if down := opened.LastFailure.Sub(opened.DownSince); down > time.Hour {
		t.Errorf("it is down since %s ago, want since its first failure of today", down)
	}
	rc.up.Store(true)
	r.awaitDelivered(sub, 8)
	if now, err := r.store.Get(t.Context(), "hook"); err != nil || now.State != subscription.Active {
		t.Errorf("got %+v, %v, want it active", now, err)
	}
	r.awaitState("hook", breaker.Closed)
}

// With fewer deliveries than it takes requests to close it, a breaker closes when what
// has waited is delivered.
func TestBreakerClosesWhenDelivered(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			rc := receiveBroken(t, http.StatusServiceUnavailable)
			sub := r.subscribe(guarded("hook", rc.URL, 3))
			r.open(sub)
			r.send(byTest, r.withEvents())
			r.queue(sub, 0, n)
			rc.up.Store(true)
			r.probe("hook")
			r.awaitDelivered(sub, n)
			if got := r.awaitState("hook", breaker.Closed); got.Reason != "the endpoint is up again" || !got.DownSince.IsZero() {
				t.Errorf("got %+v", got)
			}
			wantKinds(t, r.awaitSaid(1), "breaker.closed")
		})
	}
}

// The rate counts for probes, and when everything flows again.
func TestBreakerWithRate(t *testing.T) {
	t.Parallel()
	const n, rate = 60, 30
	r := newRig(t)
	rc := receiveBroken(t, http.StatusInternalServerError)
	sub := guarded("hook", rc.URL, 3)
	sub.Delivery.Rate = rate
	sub = r.subscribe(sub)
	r.send(soon)
	r.send(soon)
	r.queue(sub, 0, n)
	r.awaitBreaker("hook", "probed", func(b breaker.Record) bool { return b.Failures > 5 })
	rc.up.Store(true)
	r.awaitDelivered(sub, n)
	rc.wantTogether(rate, 2)
}

// While it is closed the bucket is neither read nor written for it, whatever a few requests
// say. Nor does a retry look there whether a manual attempt has made the delivery: the sender
// has a copy.
func TestClosedBreakerCostsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if n, _ := strconv.Atoi(got.note()); n%5 == 0 && strings.HasPrefix(got.Header.Get("Jetpost-Attempt"), "1") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	sub := r.subscribe(guarded("hook", rc.URL, 5))
	r.send(byTest)
	r.queue(sub, 1, 1)
	rc.await(1)
	r.awaitSettled(sub)
	nc := r.server.Connect()
	var seen atomic.Int32
	for _, subject := range []string{
		"$KV." + r.layout.StateBucket() + ".>", "$JS.API.*.*." + r.layout.StateStream(), "$JS.API.*.*." + r.layout.StateStream() + ".>",
	} {
		if _, err := nc.Subscribe(subject, func(m *nats.Msg) {
			if m.Subject != "$JS.API.STREAM.INFO."+r.layout.StateStream() && !strings.HasSuffix(m.Subject, stream.StateClock) { // the clock once, at the start
				seen.Add(1)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	next := 5
	eventually(t, func() (bool, string) { // until the copy is complete
		before := seen.Load()
		r.queue(sub, next, 1)
		next += 5
		r.awaitSettled(sub)
		return nc.Flush() == nil && seen.Load() == before, "each retry reads the bucket"
	})
	before := seen.Load()
	r.queue(sub, next+1, 200)
	r.awaitSettled(sub)
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := seen.Load(); got != before {
		t.Errorf("the bucket was used %d times", got-before)
	}
	if _, revision, err := breaker.Read(t.Context(), r.state(), "hook"); err != nil || revision != 0 {
		t.Errorf("there is a record of revision %d, %v", revision, err)
	}
}
