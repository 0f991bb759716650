package bench

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/producer"
)

// flaky says what a receiver that refuses one delivery in ten once costs the others.
type flaky struct {
	Delay time.Duration `json:"retry_delay_ns"`
	// Well and Flaky are how many deliveries per second are attempted for the first time,
	// when none is refused and when some are.
	Well  float64 `json:"deliveries_per_second_well"`
	Flaky float64 `json:"deliveries_per_second_flaky"`
	Ratio float64 `json:"ratio"`
	// WellCPU and FlakyCPU are what the process has used for each of them until the last one
	// was accepted, with producer and receiver. On a busy machine they say more than the rates.
	WellCPU  time.Duration `json:"cpu_per_delivery_ns_well"`
	FlakyCPU time.Duration `json:"cpu_per_delivery_ns_flaky"`
}

// flakyOneIn is the share of deliveries that are refused once.
const flakyOneIn = 10

// measureFlaky measures in turns, and takes the median ratio of each delay.
func (b *bench) measureFlaky(ctx context.Context) ([]flaky, error) {
	var all []flaky
	for _, delay := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second} {
		var rounds []flaky
		for range b.Rounds {
			f := flaky{Delay: delay}
			var err error
			if f.Well, f.WellCPU, err = b.flakyRate(ctx, delay, false); err != nil {
				return nil, err
			}
			if f.Flaky, f.FlakyCPU, err = b.flakyRate(ctx, delay, true); err != nil {
				return nil, err
			}
			f.Ratio = f.Flaky / f.Well
			fmt.Fprintf(b.progress, "one in %d refused once, again after %s: %.0f of %.0f deliveries/s, ratio %.2f; %s of %s CPU each\n",
				flakyOneIn, delay, f.Flaky, f.Well, f.Ratio, f.FlakyCPU.Round(time.Microsecond), f.WellCPU.Round(time.Microsecond))
			rounds = append(rounds, f)
		}
		slices.SortFunc(rounds, func(a, b flaky) int { return cmp.Compare(a.Ratio, b.Ratio) })
		all = append(all, rounds[len(rounds)/2])
	}
	return all, nil
}

// flakyRate is how many deliveries per second a receiver gets for the first time, and what
// each of them costs until it is accepted.
func (b *bench) flakyRate(ctx context.Context, delay time.Duration, refuses bool) (perSecond float64, each time.Duration, err error) {
	n := int64(b.Events)
	const warm = 1000 // connections and caches
	var first, accepted atomic.Int64
	all := make(chan struct{})
	accept := func() {
		if accepted.Add(1) == warm+n {
			close(all)
		}
	}
	reached := map[int64]chan time.Time{warm: make(chan time.Time, 1), warm + n: make(chan time.Time, 1)}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Jetpost-Attempt") != "1" {
			accept()
			return
		}
		if c := reached[first.Add(1)]; c != nil {
			c <- time.Now()
		}
		h := fnv.New32a()
		_, _ = io.WriteString(h, r.Header.Get("Webhook-Id")) // never fails
		if refuses && h.Sum32()%flakyOneIn == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		accept()
	}))
	defer receiver.Close()
	subs := b.subscriptions(1, receiver.URL)
	subs[0].Delivery.MaxInFlight = subscription.DefaultMaxInFlight
	subs[0].Delivery.Retry = subscription.Schedule{0, subscription.Duration(delay), subscription.Duration(delay)}
	p, err := b.open(ctx, subs)
	if err != nil {
		return 0, 0, err
	}
	defer p.close()
	publish := func(from, n int64) error {
		pending := make(chan *producer.Pending, 1024)
		var g errgroup.Group
		g.Go(func() error {
			var failed error
			for receipt := range pending {
				if _, err := receipt.Wait(ctx); err != nil {
					failed = err
				}
			}
			return failed
		})
		for i := from; i < from+n; i++ {
			receipt, err := p.producer.PublishAsync(ctx, b.event(int(i)))
			if err != nil {
				close(pending)
				return err
			}
			pending <- receipt
		}
		close(pending)
		return g.Wait()
	}
	ctx, stop := endWhenStalled(ctx, func() int64 { return first.Load() + accepted.Load() })
	defer stop()
	await := func(n int64) (time.Time, error) {
		select {
		case at := <-reached[n]:
			return at, nil
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
	if err := publish(0, warm); err != nil {
		return 0, 0, err
	}
	if _, err := await(warm); err != nil {
		return 0, 0, err
	}
	began, cpu := time.Now(), cpuTime()
	if err := publish(warm, n); err != nil {
		return 0, 0, err
	}
	ended, err := await(warm + n)
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-all:
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	return float64(n) / ended.Sub(began).Seconds(), (cpuTime() - cpu) / time.Duration(n), nil
}

// stallLimit is after how long without progress a measurement fails: a delivery became a
// dead letter, or the breaker has opened and does not close.
const stallLimit = time.Minute

var errStalled = fmt.Errorf("no delivery arrived for %s: a dead letter, or an open breaker", stallLimit)

// endWhenStalled returns a context that ends with errStalled when what progress counts has
// not changed for stallLimit.
func endWhenStalled(ctx context.Context, progress func() int64) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		poll := time.NewTicker(stallLimit / 20)
		defer poll.Stop()
		for before, since := progress(), time.Now(); ; {
			select {
			case <-poll.C:
			case <-ctx.Done():
				return
			}
			if now := progress(); now != before {
				before, since = now, time.Now()
			} else if time.Since(since) > stallLimit {
				cancel(errStalled)
				return
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
