package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// counting is the receivers of several subscriptions, distinguished by their paths.
type counting struct {
	*httptest.Server
	mu      sync.Mutex
	got     map[string]int // how often each delivery was accepted, by its id
	refused int
}

// startCounting starts receivers. Below /slow they take their time, below /down they
// refuse everything.
func startCounting(tb testing.TB, slow time.Duration) *counting {
	tb.Helper()
	c := &counting{got: make(map[string]int)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if strings.HasPrefix(r.URL.Path, "/slow") {
			timer := time.NewTimer(slow)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/down") {
			c.refused++
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(make([]byte, 64<<10)) // as much as is read
			return
		}
		c.got[r.Header.Get("webhook-id")]++
		w.WriteHeader(http.StatusOK)
	}))
	tb.Cleanup(c.Close)
	return c
}

// counts are how many deliveries have come, and how many of them again.
func (c *counting) counts() (deliveries, repeats int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.got {
		deliveries, repeats = deliveries+1, repeats+n-1
	}
	return deliveries, repeats
}

// Twenty subscriptions, events of 50 kB, far more than there is memory for, and
// receivers that are quick, slow or down: in 512 MiB the process lives, everything
// arrives, and nothing twice. Without bounds in bytes it was killed within seconds.
func TestMemory(t *testing.T) {
	t.Parallel()
	const (
		limit         = 512 << 20
		subscriptions = 20
		slow, down    = 3, 2 // of them
		events        = 1500
		size          = 50_000
	)
	receivers := startCounting(t, 200*time.Millisecond)
	s := prepareServerIn(t, t.TempDir()+"/data", "--allow-target", "127.0.0.0/8", "--schemas", shopDomain(t), "--log-level", "warn")
	group, isLimited := newMemoryGroup(t, limit, t.TempDir())
	if isLimited {
		s.restartAt(t, t.TempDir(), groupVariable+"="+group.procs())
	} else {
		s.restartAt(t, t.TempDir(), "JETPOST_MEMORY=512MiB")
	}
	for n := range subscriptions {
		kind, delivery := "quick", object{}
		switch {
		case n < slow:
			kind, delivery = "slow", object{"max_in_flight": 200}
		case n < slow+down:
			kind = "down"
		}
		s.subscribe(t, fmt.Sprintf("%s-%d", kind, n), fmt.Sprintf("%s/%s/%d", receivers.URL, kind, n), []string{"shop.sold"}, object{"delivery": delivery})
	}
	var publishing errgroup.Group
	publishing.SetLimit(16)
	for n := range events {
		publishing.Go(func() error {
			for { // what is refused for a moment is sent again
				_, err := s.tryPublish(t.Context(), happened("sold", fmt.Sprintf("event-%d", n), size))
				if !errors.Is(err, errNotAccepted) {
					return err
				}
			}
		})
	}
	if err := publishing.Wait(); err != nil {
		t.Fatalf("publish: %v; the process: %v", err, s.cmd.ProcessState)
	}
	const want = (subscriptions - down) * events
	ended := func() bool {
		select {
		case <-s.exited:
			return true
		default:
			return false
		}
	}
	holdsWithin(t.Context(), 6*factDeadline, func() bool {
		got, _ := receivers.counts()
		return got >= want || ended()
	})
	got, repeats := receivers.counts()
	if ended() {
		t.Fatalf("the process has ended (%v) with %d of %d deliveries made", s.cmd.ProcessState, got, want)
	}
	peak := peakOf(t, s.cmd.Process.Pid)
	t.Logf("%d deliveries, %d again, %d refused; the process had up to %d MiB in memory", got, repeats, receivers.refused, peak>>20)
	if isLimited {
		t.Logf("its group has used %s of %d bytes, with files", group.used(), limit)
	} else if most := int64(limit + 64<<20); peak > most { // the program itself is mapped into it
		t.Errorf("the process had up to %d MiB in memory, want at most %d", peak>>20, most>>20)
	}
	if got != want || repeats > 0 {
		t.Errorf("%d deliveries arrived and %d of them again, want %d and none", got, repeats, want)
	}
	if receivers.refused == 0 {
		t.Error("receivers that are down were not tried")
	}
}
