package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/breaker"
)

// comeback says what happens when a receiver that was down is back, and many
// deliveries have waited for it.
type comeback struct {
	Waiting int `json:"waiting"`             // deliveries, when the receiver came back
	Arrived int `json:"arrived"`             // different ones, in the end
	Repeats int `json:"repeats"`             // that arrived more than once
	Refused int `json:"refused_while_down"`  // requests made while it was down
	Limit   int `json:"requests_per_second"` // the rate of the subscription
	Most    int `json:"most_in_a_second"`    // requests in any second
	// Before is the live heap of the whole process, with the embedded NATS server,
	// when they waited; Largest while they were delivered.
	Before   int `json:"live_heap_before_bytes"`
	Largest  int `json:"live_heap_largest_bytes"`
	Draining time.Duration
}

// comebackRate is the subscription's, in requests per second: well below what the
// machine can do, so that it is the limit which is seen.
const comebackRate = 2000

// benchProbes are when open breakers probe: soon, since a receiver that comes
// back should not be waited for here.
var benchProbes = breaker.Timing{Min: time.Second, Max: 2 * time.Second} //nolint:gochecknoglobals // never changes

// measureComeback lets deliveries pile up before a receiver that refuses them, and
// watches what happens when it accepts them.
func (b *bench) measureComeback(ctx context.Context) (comeback, error) {
	r := comeback{Waiting: b.Waiting, Limit: comebackRate}
	var down atomic.Bool
	var mu sync.Mutex
	seen := make(map[string]int, b.Waiting)
	times := make([]time.Time, 0, b.Waiting)
	done := make(chan struct{})
	down.Store(true)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		now := time.Now()
		_, _ = io.Copy(io.Discard, req.Body)
		mu.Lock()
		defer mu.Unlock()
		if down.Load() {
			r.Refused++
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		times = append(times, now)
		if seen[req.Header.Get("Webhook-Id")]++; len(seen) == b.Waiting && len(times) == b.Waiting+r.Repeats {
			close(done)
		} else if seen[req.Header.Get("Webhook-Id")] > 1 {
			r.Repeats++
		}
	}))
	defer receiver.Close()

	subs := b.subscriptions(1, receiver.URL)
	subs[0].Delivery.Rate = comebackRate
	subs[0].Delivery.Retry = append(subscription.Schedule{0}, slices.Repeat(subscription.Schedule{subscription.Duration(time.Second)}, 49)...)
	p, err := b.open(ctx, subs)
	if err != nil {
		return comeback{}, err
	}
	defer p.close()
	if err := b.publishAll(ctx, p, b.Waiting); err != nil {
		return comeback{}, err
	}
	if err := p.awaitQueued(ctx, subs[0], b.Waiting); err != nil {
		return comeback{}, err
	}
	runtime.GC()
	r.Before = liveHeap()
	fmt.Fprintf(b.progress, "%d deliveries wait, after %d refused requests; the receiver is available again\n", b.Waiting, r.Refused)
	began := time.Now()
	down.Store(false)
	sample := time.NewTicker(100 * time.Millisecond)
	defer sample.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return comeback{}, ctx.Err()
		case <-done:
			waiting = false
		case <-sample.C:
			r.Largest = max(r.Largest, liveHeap())
		}
	}
	mu.Lock()
	defer mu.Unlock()
	r.Draining, r.Arrived, r.Most = times[len(times)-1].Sub(began), len(seen), mostInASecond(times)
	return r, nil
}

// publishAll publishes n events as fast as the event log takes them.
func (b *bench) publishAll(ctx context.Context, p *pipeline, n int) error {
	var g errgroup.Group
	g.SetLimit(1024)
	for i := range n {
		receipt, err := p.producer.PublishAsync(ctx, b.event(i))
		if err != nil {
			return err
		}
		g.Go(func() error {
			_, err := receipt.Wait(ctx)
			return err
		})
	}
	return g.Wait()
}

// awaitQueued waits until n deliveries are on a subscription's queue.
func (p *pipeline) awaitQueued(ctx context.Context, s *subscription.Subscription, n int) error {
	for {
		queue, err := p.js.Stream(ctx, s.Queue.Stream)
		if err != nil {
			return err
		}
		// What has been tried may be a retry timer at the moment.
		if queue.CachedInfo().State.LastSeq >= uint64(n) { //nolint:gosec // not negative
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// mostInASecond is the largest number of times that lie within one second.
func mostInASecond(times []time.Time) int {
	slices.SortFunc(times, time.Time.Compare)
	most, first := 0, 0
	for i, t := range times {
		for t.Sub(times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// liveHeap is what the last collection of garbage has found in use, in bytes.
func liveHeap() int {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64()) //nolint:gosec // far less than an exabyte
}
