package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// isolation says what two bad receivers among many cost the others.
type isolation struct {
	Subscriptions int `json:"subscriptions"`
	Rate          int `json:"events_per_second"` // that each of them gets
	// Alone and Disturbed are what the same receivers see: when all are well, and
	// when one more is dead and one drips.
	Alone     latency `json:"alone"`
	Disturbed latency `json:"disturbed"`
	Ratio     float64 `json:"p99_ratio"` // Disturbed.P99 / Alone.P99
}

// isolationRate is how many events per second each subscription gets: 100 of them
// make a load that one core can carry, so that it is not the queueing which counts.
const isolationRate = 10

// measureIsolation measures in turns, so that what the machine does meanwhile
// counts on both sides. Of each side the median round counts.
func (b *bench) measureIsolation(ctx context.Context) (isolation, error) {
	var alone, disturbed []latency
	for range b.Rounds {
		for _, bad := range []bool{false, true} {
			l, err := b.isolated(ctx, bad)
			if err != nil {
				return isolation{}, err
			}
			if bad {
				disturbed = append(disturbed, l)
			} else {
				alone = append(alone, l)
			}
			fmt.Fprintf(b.progress, "%d subscriptions, %s: p50 %s, p99 %s\n", b.Subscriptions, withOrWithout(bad), millis(l.P50), millis(l.P99))
		}
	}
	r := isolation{Subscriptions: b.Subscriptions, Rate: isolationRate, Alone: medianOf(alone), Disturbed: medianOf(disturbed)}
	r.Ratio = float64(r.Disturbed.P99) / float64(r.Alone.P99)
	return r, nil
}

func withOrWithout(bad bool) string {
	if bad {
		return "two of them bad"
	}
	return "all of them well"
}

func medianOf(rounds []latency) latency {
	slices.SortFunc(rounds, func(a, b latency) int { return int(a.P99 - b.P99) })
	return rounds[len(rounds)/2]
}

// isolated measures the latency of all receivers but the last two, which are bad
// or not.
func (b *bench) isolated(ctx context.Context, bad bool) (latency, error) {
	good := b.Subscriptions - 2
	n := int(b.Isolation.Seconds() * isolationRate)
	took := make(chan time.Duration, n*good+1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		body, err := io.ReadAll(r.Body)
		if index, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/")); index >= good {
			if bad {
				drip(w, r)
			}
			return
		}
		if made, ok := madeAt(body); ok && err == nil {
			took <- now.Sub(made)
		}
	}))
	defer receiver.Close()
	subs := b.subscriptions(b.Subscriptions, "")
	for i, s := range subs {
		s.Endpoint.URL = receiver.URL + "/" + strconv.Itoa(i)
	}
	if bad {
		dead, err := refusing(ctx)
		if err != nil {
			return latency{}, err
		}
		subs[good].Endpoint.URL = dead
	}
	p, err := b.open(ctx, subs)
	if err != nil {
		return latency{}, err
	}
	defer p.close()
	defer receiver.CloseClientConnections() // or the requests that drip would be waited for

	publish := func(count int) ([]time.Duration, error) {
		tick := time.NewTicker(time.Second / isolationRate)
		defer tick.Stop()
		for i := range count {
			<-tick.C
			if _, err := p.producer.PublishAsync(ctx, b.event(i)); err != nil {
				return nil, err
			}
		}
		all := make([]time.Duration, 0, count*good)
		for len(all) < count*good {
			select {
			case d := <-took:
				all = append(all, d)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return all, nil
	}
	if _, err := publish(2 * isolationRate); err != nil { // connections, caches; and the bad ones are known to be
		return latency{}, err
	}
	runtime.GC()
	all, err := publish(n)
	if err != nil {
		return latency{}, err
	}
	return latencyOf(isolationRate, all), nil
}

// refusing is the URL of a receiver that is not there.
func refusing(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String() + "/dead", nil
}

// drip answers one byte each second, for longer than anybody waits.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := w.Write([]byte{'.'}); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush() // fails when the client is disconnected, as the next write
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
