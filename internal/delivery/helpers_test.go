package delivery_test

import (
	"flag"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// pushEvent has attributes that need encoding, and data whose bytes no encoder
// would write the same way again.
func pushEvent() *event.Event {
	return &event.Event{
		ID: "85c7e78e", Source: "/git/widgets", Type: "git.push", Subject: `refs/heads/größe "100%"`,
		Time: "2026-03-01T12:30:00.12+01:00", DataContentType: "application/json",
		Extensions: []event.Attribute{{Name: "partitionkey", Value: "a b"}},
		Data:       []byte(`{"z" : 1,"a":"\u00e9\/é","big":12345678901234567890,"one":1.0,` + "\n\t" + `"html":"<&>","a":[ ]}`),
	}
}

// When the event log stored pushEvent, and the id of its delivery.
var pushStored = time.Unix(1772364600, 123456789)

const pushOrigin = "EVENTS_git:7@1772364600123456789:hook"

func pushDelivery() *delivery.Delivery {
	e := pushEvent()
	return &delivery.Delivery{
		ID: delivery.ID("hook", e.Source, e.ID), SubscriptionID: "hook", Event: e,
		Origin:   pushOrigin,
		Accepted: pushStored, Attempt: 1,
	}
}

// platform starts a server with all streams but the event logs.
func platform(t *testing.T) (*streamtest.Server, jetstream.JetStream) {
	t.Helper()
	server := streamtest.New(t)
	js, err := stream.JetStream(server.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Layout.Ensure(t.Context(), js, nil); err != nil {
		t.Fatal(err)
	}
	return server, js
}

// stored are the messages of a stream, oldest first.
func stored(t *testing.T, js jetstream.JetStream, name string) []stream.Record {
	t.Helper()
	var records []stream.Record
	for r, err := range stream.Read(t.Context(), js, name, stream.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}
