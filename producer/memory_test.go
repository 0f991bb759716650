package producer_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/stream/budget"
	"github.com/jetpost/jetpost/producer"
)

// Bodies that arrive slowly hold memory. A client with too many of them is asked to come
// again, others are not, and with the end of each there is room again.
func TestIngestWithinMemory(t *testing.T) {
	t.Parallel()
	memory := budget.New(4 << 20)
	f := newFixture(t, producer.Config{Memory: budget.NewUsers(memory)})
	handler := f.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(access.With(r.Context(), access.Principal{ID: r.Header.Get("X-Who")})))
	}))
	defer server.Close()
	const size = 200_000
	send := func(who, id string, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
		if err != nil {
			return nil, err
		}
		req.ContentLength = size
		for name, value := range map[string]string{
			"X-Who": who, "ce-specversion": "1.0", "ce-id": id, "ce-source": "/notes", "ce-type": "notes.written", "Content-Type": "text/plain",
		} {
			req.Header.Set(name, value)
		}
		return server.Client().Do(req)
	}
	whole := func() io.Reader { return strings.NewReader(strings.Repeat("x", size)) }

	// More than there is room for: some wait, and are refused.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const slow = 12
	answers := make(chan answer, slow)
	bodies := make([]*io.PipeWriter, slow)
	for i := range slow {
		body, writer := io.Pipe()
		bodies[i] = writer
		context.AfterFunc(ctx, func() { _ = writer.CloseWithError(context.Canceled) })
		go func() {
			resp, err := send("slow", "slow"+string(rune('a'+i)), body)
			if err != nil {
				t.Error(err)
				answers <- answer{}
				return
			}
			answers <- read(t, resp)
		}()
	}
	refused := 0
	for refused == 0 || memory.Used() > memory.Size()/2 {
		a := <-answers
		refused++
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("got %d, Retry-After %q; want 503 with one", a.status, a.header.Get("Retry-After"))
		}
	}
	resp, err := send("other", "1", whole())
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, resp); a.status != http.StatusCreated {
		t.Errorf("another token got %d beside slow requests, want 201: %s", a.status, a.text)
	}
	for i := range bodies {
		go func() {
			_, _ = io.Copy(bodies[i], whole()) // of those that were refused nothing is read
			_ = bodies[i].Close()
		}()
	}
	stored := 0
	for n := refused; n < slow; n++ {
		if a := <-answers; a.status == http.StatusCreated {
			stored++
		}
	}
	if stored == 0 || stored+refused > slow {
		t.Errorf("%d of %d slow requests are stored and %d refused", stored, slow, refused)
	}
	resp, err = send("slow", "again", whole())
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, resp); a.status != http.StatusCreated {
		t.Errorf("got %d when there was room again, want 201: %s", a.status, a.text)
	}
	server.Close()
	if used := memory.Used(); used != 0 {
		t.Errorf("%d bytes are in use in the end, want none", used)
	}
}
