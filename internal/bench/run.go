package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/stream/consume"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/producer"
)

type bench struct {
	*Cmd
	url      string // of the receiver
	secret   keyring.Secret
	log      *zap.Logger
	progress io.Writer
}

// run measures what was asked for.
func (b *bench) run(ctx context.Context) (*benchReport, error) {
	r := &benchReport{Machine: machineName(), Go: runtime.Version()}
	var err error
	if b.has(measureThroughput) {
		if err = b.measureThroughput(ctx, r); err != nil {
			return nil, err
		}
	}
	if b.has(measureLatency) {
		if r.Latency, err = b.latency(ctx); err != nil {
			return nil, err
		}
	}
	if b.has(measureIsolation) {
		if r.Isolation, err = b.measureIsolation(ctx); err != nil {
			return nil, err
		}
	}
	if b.has(measureFlaky) {
		if r.Flaky, err = b.measureFlaky(ctx); err != nil {
			return nil, err
		}
	}
	r.PeakMemory = peakMemory() // before what is made to fill it
	if b.has(measureComeback) {
		if r.Comeback, err = b.measureComeback(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// measureThroughput measures the bare steps and the pipeline in turns.
func (b *bench) measureThroughput(ctx context.Context, r *benchReport) error {
	var bare []bareHTTP
	measureHTTP := func() (bareHTTP, error) {
		h, err := b.bareHTTP(ctx)
		bare = append(bare, h)
		fmt.Fprintf(b.progress, "bare HTTP: %.0f/s, %s each\n", h.PerSecond, micros(h.CPU))
		return h, err
	}
	before, err := measureHTTP()
	if err != nil {
		return err
	}
	if r.NATS, err = b.bareNATS(ctx); err != nil {
		return err
	}
	for _, fanout := range b.Fanout {
		var rounds []throughput
		for range b.Rounds {
			t, err := b.throughput(ctx, fanout)
			if err != nil {
				return err
			}
			after, err := measureHTTP()
			if err != nil {
				return err
			}
			t.OfHTTP = t.Deliveries / ((before.PerSecond + after.PerSecond) / 2)
			bareCPU := (before.CPU + after.CPU) / 2
			t.OfCPU = float64(t.CPU) / float64(bareCPU)
			// A delivery is one publish, one consume and one request, and its share of
			// the event's own publish and consume.
			steps := float64(bareCPU) + float64(r.NATS.PublishCPU+r.NATS.ConsumeCPU)*(1+1/float64(fanout))
			t.OfParts = float64(t.CPU) / steps
			before = after
			fmt.Fprintf(b.progress, "fan-out %d: %.0f deliveries/s, %.2f of bare HTTP, %s each, %.1f of bare HTTP\n",
				fanout, t.Deliveries, t.OfHTTP, micros(t.CPU), t.OfCPU)
			rounds = append(rounds, t)
		}
		slices.SortFunc(rounds, func(a, b throughput) int { return int(1e6 * (a.OfHTTP - b.OfHTTP)) })
		r.Throughput = append(r.Throughput, rounds[len(rounds)/2])
	}
	for _, h := range bare {
		r.HTTP.PerSecond += h.PerSecond / float64(len(bare))
		r.HTTP.CPU += h.CPU / time.Duration(len(bare))
	}
	return nil
}

// bareHTTP is H: the same bytes posted by the bare net/http client over
// keep-alive connections.
func (b *bench) bareHTTP(ctx context.Context) (bareHTTP, error) {
	body, header, err := b.rendered()
	if err != nil {
		return bareHTTP{}, err
	}
	client := http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchConnections, DisableCompression: true}}
	defer client.CloseIdleConnections()
	post := func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header = header.Clone()
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return err
	}
	fire := func(n int64) error {
		var left atomic.Int64
		left.Store(n)
		var g errgroup.Group
		for range benchConnections {
			g.Go(func() error {
				for left.Add(-1) >= 0 {
					if err := post(); err != nil {
						return fmt.Errorf("bare HTTP: %w", err)
					}
				}
				return nil
			})
		}
		return g.Wait()
	}
	if err := fire(2000); err != nil { // connections and caches
		return bareHTTP{}, err
	}
	n := int64(max(b.Events, 20_000))
	began, cpu := time.Now(), cpuTime()
	if err := fire(n); err != nil {
		return bareHTTP{}, err
	}
	return bareHTTP{
		PerSecond: float64(n) / time.Since(began).Seconds(),
		CPU:       (cpuTime() - cpu) / time.Duration(n),
	}, nil
}

// rendered is a request as jetpost makes it.
func (b *bench) rendered() ([]byte, http.Header, error) {
	p, _ := profile.Lookup(profile.Default)
	renderer, err := p.Prepare(&subscription.Subscription{ID: "bench-0", Profile: profile.Default})
	if err != nil {
		return nil, nil, err
	}
	h := http.Header{"User-Agent": {"jetpost"}, "Jetpost-Subscription": {"bench-0"}, "Jetpost-Attempt": {"1"}}
	e := b.event(1)
	d := &delivery.Delivery{ID: delivery.ID("bench-0", e.Source, e.ID), SubscriptionID: "bench-0", Event: e}
	body, err := renderer.Render(&wire.Request{Header: h, Method: http.MethodPost, Delivery: d, Secrets: []string{b.secret.Reveal()}, Now: time.Now()})
	return body, h, err
}

// event makes the nth event. It carries the time at which it was made.
func (b *bench) event(n int) *event.Event {
	now := time.Now()
	data := append([]byte(`{"repo_key":"bench","path":"a/b.bin","name":"b.bin","sha256":"`+strings.Repeat("0", 64)+`","size":1,`+benchMarker),
		strconv.FormatInt(now.UnixNano(), 10)...)
	data = append(data, `,"fill":"`...)
	for len(data) < b.Size-2 {
		data = append(data, 'x')
	}
	return &event.Event{
		ID: strconv.Itoa(n) + "-" + strconv.FormatInt(now.UnixNano(), 36), Source: "/bench", Type: "artifact.deployed", Subject: "a/b.bin",
		Time: now.UTC().Format(time.RFC3339Nano), DataContentType: "application/json", Data: append(data, `"}`...),
	}
}

// bareNATS publishes and consumes the same events through one work queue.
func (b *bench) bareNATS(ctx context.Context) (bareNATS, error) {
	p, err := b.open(ctx, nil)
	if err != nil {
		return bareNATS{}, err
	}
	defer p.close()
	q := p.layout.QueueFor("bare")
	if err := p.layout.EnsureQueue(ctx, p.js, "bare", q, 1000); err != nil {
		return bareNATS{}, err
	}
	began, cpu := time.Now(), cpuTime()
	for n := range b.Events {
		e := b.event(n)
		msg := delivery.Queued(e, q.Subject, q.Stream, strconv.Itoa(n), time.Now())
		if _, err := p.js.PublishMsgAsync(msg, jetstream.WithStallWait(5*time.Second)); err != nil {
			return bareNATS{}, err
		}
	}
	<-p.js.PublishAsyncComplete()
	published, publishCPU := time.Since(began), cpuTime()-cpu

	pullCtx, stop := context.WithCancel(ctx)
	defer stop()
	var taken atomic.Int64
	began, cpu = time.Now(), cpuTime()
	pull := consume.Pull{Stream: q.Stream, Consumer: q.Consumer, Handle: func(_ context.Context, msgs []*consume.Message) {
		for _, m := range msgs {
			_ = m.Ack()
		}
		if taken.Add(int64(len(msgs))) >= int64(b.Events) {
			stop()
		}
	}}
	if err := pull.Run(pullCtx, p.nc); err != nil {
		return bareNATS{}, err
	}
	consumed, consumeCPU := time.Since(began), cpuTime()-cpu
	return bareNATS{
		PublishPerSecond: float64(b.Events) / published.Seconds(), PublishCPU: publishCPU / time.Duration(b.Events),
		ConsumePerSecond: float64(b.Events) / consumed.Seconds(), ConsumeCPU: consumeCPU / time.Duration(b.Events),
	}, nil
}

// throughput publishes as fast as the event log takes it and waits until all has
// been delivered.
func (b *bench) throughput(ctx context.Context, fanout int) (throughput, error) {
	p, err := b.open(ctx, b.subscriptions(fanout, b.url))
	if err != nil {
		return throughput{}, err
	}
	defer p.close()
	if err := b.deliver(ctx, p, max(2000/fanout, 100), fanout); err != nil { // connections and caches
		return throughput{}, err
	}
	if b.Profile != "" {
		f, err := os.Create(b.Profile)
		if err != nil {
			return throughput{}, err
		}
		defer func() { _ = f.Close() }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return throughput{}, err
		}
		defer pprof.StopCPUProfile()
	}
	events := b.Events / fanout
	began, cpu := time.Now(), cpuTime()
	if err := b.deliver(ctx, p, events, fanout); err != nil {
		return throughput{}, err
	}
	elapsed, used := time.Since(began), cpuTime()-cpu
	deliveries := events * fanout
	return throughput{
		Fanout: fanout, Events: float64(events) / elapsed.Seconds(), Deliveries: float64(deliveries) / elapsed.Seconds(),
		CPU: used / time.Duration(deliveries),
	}, nil
}

// deliver publishes n events and waits until the sender has recorded all of
// their deliveries.
func (b *bench) deliver(ctx context.Context, p *pipeline, n, fanout int) error {
	before, err := p.delivered()
	if err != nil {
		return err
	}
	pending := make(chan *producer.Pending, 1024)
	var g errgroup.Group
	var once sync.Once
	g.Go(func() (err error) {
		for receipt := range pending {
			if _, waitErr := receipt.Wait(ctx); waitErr != nil {
				once.Do(func() { err = waitErr })
			}
		}
		return err
	})
	for i := range n {
		receipt, err := p.producer.PublishAsync(ctx, b.event(i))
		if err != nil {
			close(pending)
			return err
		}
		pending <- receipt
	}
	close(pending)
	if err := g.Wait(); err != nil {
		return err
	}
	want := before + float64(n*fanout)
	for {
		got, err := p.delivered()
		if err != nil {
			return err
		}
		if got >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// delivered is how many deliveries the sender has recorded as such.
func (p *pipeline) delivered() (float64, error) {
	families, err := p.reg.Gather()
	if err != nil {
		return 0, err
	}
	for _, family := range families {
		if family.GetName() != "jetpost_sender_attempts_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == delivery.Delivered.String() {
				return m.GetCounter().GetValue(), nil
			}
		}
	}
	return 0, fmt.Errorf("the sender counts no attempts")
}

// latency measures how long events take from being published to being received,
// at a steady rate. Its receiver is in this process, where the clock of both is
// the same and what it costs does not matter.
func (b *bench) latency(ctx context.Context) (latency, error) {
	n := int(b.Latency.Seconds() * float64(b.Rate))
	took := make(chan time.Duration, n+1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		if body, err := io.ReadAll(r.Body); err == nil {
			if made, ok := madeAt(body); ok {
				took <- now.Sub(made)
			}
		}
	}))
	defer receiver.Close()
	p, err := b.open(ctx, b.subscriptions(1, receiver.URL))
	if err != nil {
		return latency{}, err
	}
	defer p.close()
	const warmUp = 200
	if err := b.deliver(ctx, p, warmUp, 1); err != nil {
		return latency{}, err
	}
	for range warmUp {
		<-took
	}
	runtime.GC()
	tick := time.NewTicker(time.Second / time.Duration(b.Rate))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		if _, err := p.producer.PublishAsync(ctx, b.event(i)); err != nil {
			return latency{}, err
		}
	}
	all := make([]time.Duration, 0, n)
	for len(all) < n {
		select {
		case d := <-took:
			all = append(all, d)
		case <-ctx.Done():
			return latency{}, ctx.Err()
		}
	}
	return latencyOf(b.Rate, all), nil
}

// latencyOf sorts what was measured.
func latencyOf(rate int, all []time.Duration) latency {
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))] }
	return latency{Rate: rate, Count: len(all), P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1)}
}

// benchMarker stands before the time at which an event was made, in Unix
// nanoseconds, in the data of the benchmark's events.
const benchMarker = `"made_at":`

func madeAt(body []byte) (time.Time, bool) {
	_, digits, found := bytes.Cut(body, []byte(benchMarker))
	if !found {
		return time.Time{}, false
	}
	end := 0
	for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
		end++
	}
	ns, err := strconv.ParseInt(string(digits[:end]), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(0, ns), true
}
