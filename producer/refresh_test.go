package producer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/producer"
	"github.com/jetpost/jetpost/schemas"
)

// follower is a producer with a catalogue that follows what is registered.
func follower(t *testing.T, server *streamtest.Server) (*producer.Producer, *schemas.Live) {
	t.Helper()
	js, err := stream.JetStream(server.Connect(nats.ReconnectBufSize(-1)))
	if err != nil {
		t.Fatal(err)
	}
	base, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	live, err := schemas.NewLive(base, js, server.Layout.Prefix(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- live.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	p, err := producer.New(producer.Config{Prefix: server.Layout.Prefix()}, js, live, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return p, live
}

// However many events of unknown types arrive, the server is asked once
// in 20 ms at most.
func TestUnknownTypesAskSeldom(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	if err := server.Layout.Ensure(t.Context(), server.JS(), nil); err != nil {
		t.Fatal(err)
	}
	p, live := follower(t, server)
	if _, err := live.Sync(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	asked, err := server.Connect().SubscribeSync("$JS.API.STREAM.INFO." + server.Layout.CatalogStream())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var running sync.WaitGroup
	for n := range 20 {
		running.Go(func() {
			for i := range 20 {
				_, err := p.Publish(t.Context(), &event.Event{ID: "1", Source: "/s", Type: fmt.Sprintf("garbage%d.a%d", n, i)})
				if !errors.Is(err, schemas.ErrUnknownType) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	running.Wait()
	most := 6 + int(time.Since(began)/(20*time.Millisecond))
	if n, _, err := asked.Pending(); err != nil || n > most {
		t.Errorf("400 events have asked %d times in %s, want at most %d; %v", n, time.Since(began), most, err)
	}

	// A batch asks once.
	before, _, _ := asked.Pending()
	var batch strings.Builder
	for i := range 500 {
		fmt.Fprintf(&batch, `,{"specversion":"1.0","id":"%d","source":"/s","type":"garbage.a"}`, i)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader("["+batch.String()[1:]+"]"))
	r.Header.Set("Content-Type", "application/cloudevents-batch+json")
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r)
	if after, _, _ := asked.Pending(); w.Code != http.StatusBadRequest || after-before > 2 {
		t.Errorf("status %d after asking %d times", w.Code, after-before)
	}
}

// While the catalogue cannot be asked for, an event that it would refuse is not
// refused for good; one that it knows does not wait for it.
func TestUnknownTypeWithoutServer(t *testing.T) {
	t.Parallel()
	server := streamtest.New(t)
	if err := server.Layout.Ensure(t.Context(), server.JS(), nil); err != nil {
		t.Fatal(err)
	}
	p, live := follower(t, server)
	if _, err := live.Sync(within(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	began := time.Now()
	_, err := p.Publish(t.Context(), &event.Event{ID: "1", Source: "/s", Type: "shop.created"})
	if !errors.Is(err, producer.ErrUnavailable) || errors.Is(err, schemas.ErrUnknownType) || time.Since(began) > 8*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/events", strings.NewReader(`{}`))
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/s", "Ce-Type": "shop.created", "Content-Type": "application/json"} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	p.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("status %d, Retry-After %q: %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}

	// The server is back, and with it the domain.
	server.Start()
	store := schemas.NewStore(server.JS(), live, zap.NewNop())
	var registered error
	for ctx := within(t, 30*time.Second); ctx.Err() == nil; {
		_, registered = store.Put(ctx, "shop", schemas.Files{"domain.json": json.RawMessage(`{"name":"shop","open":true}`)}, schemas.PutOptions{
			Before: func(ctx context.Context) error { return server.Layout.EnsureEventLog(ctx, server.JS(), "shop") },
		})
		if registered == nil {
			break
		}
	}
	if registered != nil {
		t.Fatal(registered)
	}
	if _, err := p.Publish(within(t, 30*time.Second), &event.Event{ID: "1", Source: "/s", Type: "shop.created"}); err != nil {
		t.Errorf("after the server is back: %v", err)
	}
}
