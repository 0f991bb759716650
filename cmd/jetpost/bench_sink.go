package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// benchSinkCmd is the receiver of the benchmark. It does as little as a receiver
// can: read the body, count it, and note how long ago the event in it was made.
type benchSinkCmd struct{}

// benchMarker stands before the time at which an event was made, in Unix
// nanoseconds, in the data of the benchmark's events.
const benchMarker = `"made_at":`

type sinkReport struct {
	Count     int64           `json:"count"`
	Latencies []time.Duration `json:"latencies,omitempty"` // sorted; only of events with a time
}

// Run serves until the context ends.
func (c *benchSinkCmd) Run(e *env) error {
	listener, err := (&net.ListenConfig{}).Listen(e.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "http://%s\n", listener.Addr())

	var count atomic.Int64
	var mu sync.Mutex
	var latencies []time.Duration
	mux := http.NewServeMux()
	mux.HandleFunc("POST /hook", func(_ http.ResponseWriter, r *http.Request) {
		now := time.Now()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		count.Add(1)
		if made, ok := madeAt(body); ok {
			mu.Lock()
			latencies = append(latencies, now.Sub(made))
			mu.Unlock()
		}
	})
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(latencies)
		_ = json.NewEncoder(w).Encode(sinkReport{Count: count.Load(), Latencies: latencies})
	})
	mux.HandleFunc("GET /reset", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		count.Store(0)
		latencies = nil
		_ = json.NewEncoder(w).Encode(sinkReport{})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(e.ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

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
