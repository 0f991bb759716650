package sender_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// What waits for a retry holds no place in flight: five times as many deliveries as may
// be in flight fail, and all that are behind them are made before the first of them is
// made again.
func TestRetryHoldsNoPlace(t *testing.T) {
	t.Parallel()
	const limit, failing, others = 8, 40, 200
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, got *request) {
		if n, _ := strconv.Atoi(got.note()); n < failing && got.Header.Get("Jetpost-Attempt") == "1" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	sub := to("hook", rc.URL, 0, 10*time.Second)
	sub.Delivery.MaxInFlight = limit
	sub = r.subscribe(sub)
	r.queue(sub, 0, failing+others)
	r.send()
	for _, got := range rc.await(failing + others)[:failing+others] {
		if attempt := got.Header.Get("Jetpost-Attempt"); attempt != "1" {
			t.Fatalf("note %s was attempted again (%s) before all others were attempted once", got.note(), attempt)
		}
	}
	r.awaitSettled(sub)
	eventually(t, func() (bool, string) {
		info, err := r.consumer(sub)
		if err != nil {
			return false, err.Error()
		}
		return info.NumAckPending == 0, fmt.Sprintf("%d places are held, want none while retries wait", info.NumAckPending)
	})
}

// A receiver that refuses every tenth delivery once gets them again at their time, and
// never more at once than its limit, whatever the delay.
func TestFlakyReceiver(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 100 * time.Millisecond, time.Second, 5 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			const limit, all = 8, 300
			r := newRig(t)
			rc := receive(t, func(w http.ResponseWriter, got *request) {
				if n, _ := strconv.Atoi(got.note()); n%10 == 0 && got.Header.Get("Jetpost-Attempt") == "1" {
					w.WriteHeader(http.StatusForbidden)
				}
			})
			sub := to("hook", rc.URL, 0, delay)
			sub.Delivery.MaxInFlight = limit
			sub = r.subscribe(sub)
			r.send()
			r.queue(sub, 0, all)
			attempts := r.awaitAttempts(sub, all+all/10)
			due := make(map[string]time.Time)
			for i := range attempts {
				switch a := &attempts[i]; {
				case a.Redelivered:
					t.Errorf("note %s, attempt %d: it is recorded as handed out again", a.Event.ID, a.Attempt)
				case a.Outcome == delivery.Retry:
					due[a.Event.ID] = *a.NextAttempt
				case a.Attempt == 2:
					if early := due[a.Event.ID].Sub(a.At); early > 0 {
						t.Errorf("note %s was made again %s before its time", a.Event.ID, early)
					}
				}
			}
			if len(due) != all/10 || len(rc.all()) != all+all/10 {
				t.Errorf("%d deliveries have failed, %d requests were made, want %d and %d", len(due), len(rc.all()), all/10, all+all/10)
			}
			r.awaitSettled(sub)
			rc.mu.Lock()
			defer rc.mu.Unlock()
			if rc.most > limit {
				t.Errorf("%d requests were made at a time, want at most %d", rc.most, limit)
			}
		})
	}
}

// An attempt that a person has asked for, and that succeeds, ends the retry that waits,
// also where that is due soon.
func TestManualSuccessCancelsShortRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var status atomic.Int32
	status.Store(http.StatusForbidden)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(int(status.Load())) })
	sub := r.subscribe(to("hook", rc.URL, 0, 10*time.Second))
	r.send()
	r.queue(sub, 1, 1)
	r.awaitAttempts(sub, 1)
	r.awaitSettled(sub)
	if got := r.timers(sub); got != 1 {
		t.Fatalf("%d retries wait, want one", got)
	}
	status.Store(http.StatusNoContent)
	r.manual(sub, newEvent(1))
	if a := r.awaitAttempts(sub, 2)[1]; !a.Manual || a.Outcome != delivery.Delivered {
		t.Fatalf("got %+v, want a manual attempt that delivered", a)
	}
	r.awaitSettled(sub)
	if got := r.timers(sub); got != 0 {
		t.Errorf("%d retries wait, want none: the delivery was made", got)
	}
}

// An earlier version handed a delivery that had failed back to its queue, where it
// waited for its retry. It goes on where it was.
func TestHandedBackByEarlierVersion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rc := receive(t, func(w http.ResponseWriter, _ *request) { w.WriteHeader(http.StatusForbidden) })
	sub := r.subscribe(to("hook", rc.URL, 0, 50*time.Millisecond, 50*time.Millisecond))
	r.queue(sub, 1, 1)
	c, err := r.js.Consumer(t.Context(), sub.Queue.Stream, sub.Queue.Consumer)
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		t.Fatal(err)
	}
	d, err := delivery.FromMessage(sub.ID, m.Headers(), m.Data())
	if err != nil {
		t.Fatal(err)
	}
	first := &delivery.Attempt{DeliveryID: d.ID, SubscriptionID: sub.ID, Event: delivery.RefOf(d), Attempt: 1, At: time.Now().UTC(), Outcome: delivery.Retry}
	if err := delivery.NewLog(r.js, r.layout).Record(t.Context(), first, d.Chain(), func(*delivery.Attempt) {}); err != nil {
		t.Fatal(err)
	}
	if err := m.NakWithDelay(100 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	r.send()
	deadLetter := r.awaitDeadLetters(sub.ID, 1)[0]
	if deadLetter.Attempts != 3 || len(rc.all()) != 2 {
		t.Errorf("given up after %d attempts, %d of them here, want 3 and 2", deadLetter.Attempts, len(rc.all()))
	}
	for i, a := range r.attempts(sub) {
		if a.Attempt != i+1 {
			t.Errorf("attempt in place %d is number %d", i+1, a.Attempt)
		}
	}
	r.awaitSettled(sub)
}

// Retries that their queue does not take hold up no others of their shard: there are
// more of them than a pump may have in hand.
func TestRetriesOfFullQueue(t *testing.T) {
	t.Parallel()
	const inHand, stuck = 4, 20
	for name, breakQueue := range map[string]func(*rig, *subscription.Subscription){
		"full": func(r *rig, sub *subscription.Subscription) {
			cfg := r.layout.QueueConfig(sub.ID, sub.Queue)
			cfg.MaxMsgs = 1
			if _, err := r.js.UpdateStream(r.t.Context(), cfg); err != nil {
				r.t.Fatal(err)
			}
			r.queue(sub, 1000, 1)
		},
		"missing": func(r *rig, sub *subscription.Subscription) {
			if err := r.js.DeleteStream(r.t.Context(), sub.Queue.Stream); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			rc := receive(t, nil)
			broken := to("broken", rc.URL, 0, time.Hour)
			broken.State = subscription.Paused
			broken = r.subscribe(broken)
			healthy := r.subscribe(to(r.sameShard(broken), rc.URL, 0, time.Hour))
			cfg := r.layout.RetryConsumerConfig(broken.Queue.RetryShard)
			cfg.MaxAckPending = inHand
			if _, err := r.js.UpdateConsumer(t.Context(), r.layout.RetryStream(broken.Queue.RetryShard), cfg); err != nil {
				t.Fatal(err)
			}
			breakQueue(r, broken)
			for n := range stuck {
				r.timer(broken, n, 2, time.Now())
			}
			r.stored()
			for n := range 5 {
				r.timer(healthy, n, 2, time.Now())
			}
			r.stored()
			r.send()
			rc.await(5)
			r.awaitSettled(healthy)
			rc.wantOnce(0, 5)
			eventually(t, func() (bool, string) {
				c, err := r.js.Consumer(t.Context(), r.layout.RetryStream(broken.Queue.RetryShard), cfg.Durable)
				if err != nil {
					return false, err.Error()
				}
				n := r.timers(broken)
				return n == stuck && c.CachedInfo().NumAckPending == 0, fmt.Sprintf("%d retries wait, %d are in hand, want %d and none", n, c.CachedInfo().NumAckPending, stuck)
			})
		})
	}
}

// A retry that its queue does not take, as far as its pump can tell, waits for another
// timer; but not in place of the one that a later attempt of the same delivery has left.
func TestLaterTimerIsKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	sub := to("hook", "http://127.0.0.1:1/", 0, time.Hour, time.Hour)
	sub.State = subscription.Paused
	sub = r.subscribe(sub)
	cfg := r.layout.QueueConfig(sub.ID, sub.Queue)
	cfg.MaxMsgs = 1
	if _, err := r.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.queue(sub, 1000, 1)
	m := queued(sub, newEvent(1), time.Now())
	d, err := delivery.FromMessage(sub.ID, m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	shard := sub.Queue.RetryShard
	at, due := r.layout.RetryAt(shard, sub.ID, d.TimerKey()), r.layout.RetryDue(shard, sub.ID)
	d.Attempt, d.FirstAttempt = 3, time.Now()
	r.put(d.Timer(at, due, time.Now().Add(time.Hour)))
	d.Attempt = 2
	r.put(d.Requeued(due, r.layout.RetryStream(shard))) // has fired
	r.send()
	retries, err := r.js.Stream(t.Context(), r.layout.RetryStream(shard))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		info, err := retries.Info(t.Context(), jetstream.WithSubjectFilter(due))
		if err != nil {
			return false, err.Error()
		}
		return len(info.State.Subjects) == 0, "the one that has fired is not settled"
	})
	timer, err := retries.GetLastMsgForSubject(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if got := timer.Header.Get(stream.HeaderAttempt); got != "3" {
		t.Errorf("the timer is for attempt %s, want 3", got)
	}
}

// sameShard is the id of another subscription whose timers are on the same shard.
func (r *rig) sameShard(sub *subscription.Subscription) string {
	for n := 0; ; n++ {
		if id := "hook-" + strconv.Itoa(n); r.layout.QueueFor(id).RetryShard == sub.Queue.RetryShard {
			return id
		}
	}
}
