package producer_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/protocol"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/jetpost/jetpost/producer"
)

// The CloudEvents SDK for Go is what most Go programs would publish with.
func TestIngestFromSDK(t *testing.T) {
	t.Parallel()
	f := newFixture(t, producer.Config{})
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	c, err := client.NewHTTP(cehttp.WithTarget(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	data := []byte("{\"total\": 12345678901234567890,\n\"b\" :1, \"a\":\"\\u00e9\"}")
	make1 := func(id string) event.Event {
		e := event.New()
		e.SetID(id)
		e.SetSource("/shop")
		e.SetType("com.example.orders.created")
		e.SetSubject("order/1")
		e.SetExtension("priority", 3)
		if err := e.SetData("application/json", data); err != nil {
			t.Fatal(err)
		}
		return e
	}
	check := func(mode, id string, n int) {
		t.Helper()
		got, err := f.event(t, "orders", n).CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		if got.ID() != id || got.Subject() != "order/1" || got.Extensions()["priority"] != "3" {
			t.Errorf("%s: stored %v", mode, got)
		}
		if !bytes.Equal(got.Data(), data) {
			t.Errorf("%s: data is %s, was %s", mode, got.Data(), data)
		}
	}
	if result := c.Send(binding.WithForceBinary(t.Context()), make1("binary")); !protocol.IsACK(result) {
		t.Fatalf("binary: %v", result)
	}
	check("binary", "binary", 0)
	if result := c.Send(binding.WithForceStructured(t.Context()), make1("structured")); !protocol.IsACK(result) {
		t.Fatalf("structured: %v", result)
	}
	check("structured", "structured", 1)

	req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), server.URL, []event.Event{make1("batch-1"), make1("batch-2")})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, resp); a.status != http.StatusCreated || len(a.body.Receipts) != 2 {
		t.Fatalf("batch: answer %d %s", a.status, a.text)
	}
	check("batch", "batch-1", 2)
	check("batch", "batch-2", 3)

	wrong := make1("wrong")
	if err := wrong.SetData("application/json", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	var result *cehttp.Result
	if sent := c.Send(t.Context(), wrong); protocol.IsACK(sent) || !errors.As(sent, &result) || result.StatusCode != http.StatusBadRequest {
		t.Errorf("event that breaks its schema: %v, want 400", sent)
	}
}
