package event_test

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
)

// An event in CloudEvents' JSON format. Its data stays as it is, byte for byte.
func ExampleParseStructured() {
	e, err := event.ParseStructured([]byte(`{
		"specversion": "1.0",
		"id": "order-4711",
		"source": "/shop/berlin",
		"type": "com.example.orders.created",
		"priority": "high",
		"data": {"total": 12.50,  "currency": "EUR"}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	priority, _ := e.Attribute("priority")
	fmt.Println(e.ID, e.Type, priority, e.DataContentType)
	fmt.Println(string(e.Data))
	// Output:
	// order-4711 com.example.orders.created high application/json
	// {"total": 12.50,  "currency": "EUR"}
}

// What is no CloudEvent is refused with the attribute that is wrong.
func ExampleEvent_Validate() {
	e := &event.Event{ID: "order-4711", Source: "/shop/berlin", Type: "com.example.orders.created"}
	fmt.Println(e.Validate())
	e.Time = "yesterday"
	err := e.Validate()
	fmt.Println(errors.Is(err, event.ErrInvalidEvent), err)
	// Output:
	// <nil>
	// true not a valid CloudEvent: attribute time "yesterday" is not an RFC 3339 time: its date is not a year, month and day such as 2026-01-31
}

// A batch is a JSON array of events.
func ExampleParseBatch() {
	events, err := event.ParseBatch([]byte(`[
		{"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.orders.created"},
		{"specversion": "1.0", "id": "2", "source": "/shop", "type": "com.example.orders.paid"}
	]`))
	for _, e := range events {
		fmt.Println(e.ID, e.Type)
	}
	fmt.Println(err)
	// Output:
	// 1 com.example.orders.created
	// 2 com.example.orders.paid
	// <nil>
}

// On NATS an event is a message in binary mode: its attributes are headers.
func ExampleEvent_SetHeader() {
	e := &event.Event{
		ID: "order-4711", Source: "/shop/berlin", Type: "com.example.orders.created", Subject: "München",
		DataContentType: "application/json", Data: []byte(`{"total": 12}`),
	}
	header := nats.Header{}
	e.SetHeader(header)
	fmt.Println(header["ce-id"], header["ce-subject"], header["ce-datacontenttype"])

	same, err := event.FromMessage(header, e.Data)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(same.Subject, string(same.Data))
	// Output:
	// [order-4711] [M%C3%BCnchen] [application/json]
	// München {"total": 12}
}

// AppendStructured writes the JSON format, for a file or an HTTP request.
func ExampleEvent_AppendStructured() {
	e := &event.Event{ID: "order-4711", Source: "/shop", Type: "com.example.orders.created", DataContentType: "application/json", Data: []byte(`{"total": 12}`)}
	fmt.Println(string(e.AppendStructured(nil)))
	// Output:
	// {"specversion":"1.0","id":"order-4711","source":"/shop","type":"com.example.orders.created","datacontenttype":"application/json","data":{"total": 12}}
}
