package admin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/testkit"
)

// Sixteen clients create subscriptions at once, each id twice: one of the two gets it
// and the other gets an error, nothing is missing afterwards, and when all are deleted
// nothing of them is left, neither a queue nor a goroutine nor memory.
//
// It is not parallel: it counts what the process has. With JETPOST_SUBSCRIPTIONS=10000
// there are that many of them.
func TestManyAtOnce(t *testing.T) {
	many := 1000
	if text := os.Getenv("JETPOST_SUBSCRIPTIONS"); text != "" {
		var err error
		if many, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	f := newFixture(t)
	c := &crowd{t: t, url: f.url, transport: &http.Transport{MaxIdleConnsPerHost: crowdSize}}
	name := func(i int) string { return fmt.Sprintf("s%05d", i) }
	f.do("GET", "/v1/subscriptions", "").want(http.StatusOK) // what is made once, is
	goroutines, heap := c.measure()

	var created, existed atomic.Int64
	took := c.all(2*many, func(i int) {
		switch status, body := c.do("POST", "/v1/subscriptions", subscriptionNamed(name(i/2))); status {
		case http.StatusCreated:
			created.Add(1)
		case http.StatusConflict:
			existed.Add(1)
		default:
			t.Errorf("creating is answered with %d: %s", status, body)
		}
	})
	if created.Load() != int64(many) || existed.Load() != int64(many) {
		t.Errorf("%d were created and %d existed, want %d each", created.Load(), existed.Load(), many)
	}
	most, peak := c.measure()
	t.Logf("%d created in %s by %d clients: %d goroutines, %d MB", many, took.Round(time.Millisecond), crowdSize, most, peak>>20)

	next, cursor := 0, ""
	for {
		var page v1.SubscriptionPage
		f.do("GET", "/v1/subscriptions?limit=500&cursor="+cursor, "").want(http.StatusOK).into(&page)
		for _, sub := range page.Items {
			if sub.ID != name(next) {
				t.Fatalf("the list has %s, want %s", sub.ID, name(next))
			}
			next++
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if next != many {
		t.Errorf("the list has %d", next)
	}

	took = c.all(many, func(i int) {
		if status, body := c.do("DELETE", "/v1/subscriptions/"+name(i), ""); status != http.StatusOK {
			t.Errorf("deleting is answered with %d: %s", status, body)
		}
	})
	t.Logf("deleted in %s", took.Round(time.Millisecond))
	for i := range many {
		if _, err := f.js.Stream(t.Context(), f.layout.QueueFor(name(i)).Stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Fatalf("the queue of %s is left: %v", name(i), err)
		}
	}
	// The NATS server in this process takes streams down in its own time.
	for late := time.Now().Add(patience); ; {
		now, left := c.measure()
		if now <= goroutines+10 && left < heap+max(16<<20, (peak-heap)/5) {
			t.Logf("left: %d goroutines, %d MB; before: %d, %d MB", now, left>>20, goroutines, heap>>20)
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%d goroutines and %d MB are left; before there were %d and %d MB", now, left>>20, goroutines, heap>>20)
		}
		testkit.Pause(t.Context(), 50*time.Millisecond)
	}
}

const crowdSize = 16

// A crowd are clients with a connection each.
type crowd struct {
	t         *testing.T
	url       string
	transport *http.Transport
}

// do is send for many goroutines: it does not end the test.
func (c *crowd) do(method, path, body string) (status int, answer string) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: c.transport, Timeout: 2 * patience}).Do(req)
	if err != nil {
		c.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// all has the crowd do everything from 0 to n.
func (c *crowd) all(n int, each func(i int)) time.Duration {
	var clients sync.WaitGroup
	var next atomic.Int64
	started := time.Now()
	for range crowdSize {
		clients.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				each(i)
			}
		})
	}
	clients.Wait()
	return time.Since(started)
}

// measure is what the process has when it is at rest. heap is in bytes.
func (c *crowd) measure() (goroutines int, heap uint64) {
	c.transport.CloseIdleConnections()
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}
