package producer_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/producer"
)

var kilobyte = []byte(`{"total":1,"note":"` + strings.Repeat("x", 1000) + `"}`)

// BenchmarkPublish has 64 callers that each wait for their receipt.
func BenchmarkPublish(b *testing.B) {
	f := newFixture(b, producer.Config{})
	var last atomic.Int64
	b.SetParallelism(32) // times GOMAXPROCS
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			e := order(id(int(last.Add(1))))
			e.Data = kilobyte
			if _, err := f.Publish(b.Context(), e); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkPublishAsync is one caller with 1,000 events under way.
func BenchmarkPublishAsync(b *testing.B) {
	f := newFixture(b, producer.Config{})
	var window [1000]*producer.Pending
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		if oldest := window[n%len(window)]; oldest != nil {
			if _, err := oldest.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		e := &event.Event{ID: id(n), Source: "/shop", Type: "com.example.orders.created", DataContentType: "application/json", Data: kilobyte}
		var err error
		if window[n%len(window)], err = f.PublishAsync(b.Context(), e); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkIngest is the handler without the network.
func BenchmarkIngest(b *testing.B) {
	f := newFixture(b, producer.Config{})
	handler := f.Handler()
	var last atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/v1/events", strings.NewReader(string(kilobyte)))
			req.Header = http.Header{
				"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Source": {"/shop"},
				"Ce-Type": {"com.example.orders.created"}, "Ce-Id": {id(int(last.Add(1)))},
			}
			w := httptest.NewRecorder()
			if handler.ServeHTTP(w, req); w.Code != http.StatusCreated {
				b.Errorf("answer %d %s", w.Code, w.Body)
			}
		}
	})
}
