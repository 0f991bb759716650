package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// An arrival is one request that a catcher got.
type arrival struct {
	at     time.Time
	method string
	target string // path and query
	header http.Header
	body   []byte
	nth    int // of those with its webhook-id, from 1
	status int // what it was answered; 0: nothing yet, or nothing at all
}

func (a *arrival) id() string      { return a.header.Get("Webhook-Id") }
func (a *arrival) attempt() string { return a.header.Get("Jetpost-Attempt") }

// verify checks the signature with the library that receivers use.
func (a *arrival) verify(secret string) error {
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		return err
	}
	return hook.Verify(a.body, a.header)
}

// event reads the event with the library that receivers use.
func (a *arrival) event() (*cloudevents.Event, error) {
	r, err := http.NewRequest(a.method, "http://receiver"+a.target, bytes.NewReader(a.body))
	if err != nil {
		return nil, err
	}
	r.Header = a.header
	e, err := cehttp.NewEventFromHTTPRequest(r)
	if err != nil {
		return nil, err
	}
	return e, e.Validate()
}

// A catcher is a receiver: it keeps what arrives and answers as configured.
type catcher struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*arrival
	seen map[string]int // by webhook-id
}

// answer204 is what a healthy receiver says.
func answer204(w http.ResponseWriter, _ *http.Request, _ *arrival) {
	w.WriteHeader(http.StatusNoContent)
}

// startCatcher starts a receiver that answers by answer; nil: 204. Answers that
// wait must end with the request's context.
func startCatcher(tb testing.TB, answer func(http.ResponseWriter, *http.Request, *arrival)) *catcher {
	tb.Helper()
	if answer == nil {
		answer = answer204
	}
	c := &catcher{seen: make(map[string]int)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &arrival{at: time.Now(), method: r.Method, target: r.URL.RequestURI(), header: r.Header}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the sender was killed
		}
		a.body = body
		c.mu.Lock()
		c.seen[a.id()]++
		a.nth = c.seen[a.id()]
		c.got = append(c.got, a)
		c.mu.Unlock()
		recorder := &statusWriter{ResponseWriter: w, noted: func(status int) {
			c.mu.Lock()
			defer c.mu.Unlock()
			a.status = status
		}}
		answer(recorder, r, a)
		if r.Context().Err() == nil {
			recorder.WriteHeader(http.StatusOK)
		}
	}))
	tb.Cleanup(func() {
		c.CloseClientConnections()
		c.Close()
	})
	return c
}

// statusWriter notes the status that is answered.
type statusWriter struct {
	http.ResponseWriter
	once  sync.Once
	noted func(int)
}

func (w *statusWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.noted(status)
		w.ResponseWriter.WriteHeader(status)
	})
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// arrivals returns what has arrived, oldest first.
func (c *catcher) arrivals() []*arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

func (c *catcher) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// deliveries is how many different webhook-ids have arrived.
func (c *catcher) deliveries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.seen)
}

// waitFor waits until n requests have arrived, and returns them.
func (c *catcher) waitFor(tb testing.TB, n int) []*arrival {
	tb.Helper()
	if !holdsWithin(tb.Context(), factDeadline, func() bool { return c.count() >= n }) {
		tb.Fatalf("%d requests have arrived, want %d", c.count(), n)
	}
	return c.arrivals()
}

// exactly waits until n deliveries have arrived and checks that each came once.
func (c *catcher) exactly(tb testing.TB, n int) []*arrival {
	tb.Helper()
	got := c.waitFor(tb, n)
	if len(got) != n || c.deliveries() != n {
		tb.Errorf("%d requests with %d different ids have arrived, want %d", len(got), c.deliveries(), n)
	}
	return got
}

// eventIDs returns the ids of the events, sorted, each as often as it came.
func eventIDs(tb testing.TB, got []*arrival) []string {
	tb.Helper()
	found := make([]string, 0, len(got))
	for _, a := range got {
		e, err := a.event()
		if err != nil {
			tb.Fatalf("an arrival is no event: %v\n%s", err, a.body)
		}
		found = append(found, e.ID())
	}
	slices.Sort(found)
	return found
}

// numbered returns n ids, in order.
func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return ids
}
