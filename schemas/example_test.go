package schemas_test

import (
	"fmt"
	"testing/fstest"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

// A domain of one's own, and an event of it that lacks a field.
func ExampleLoad() {
	folder := fstest.MapFS{ // for a real folder: schemas.Dir("conf/schemas")
		"orders/domain.json":          {Data: []byte(`{"name": "orders", "type_prefix": "com.example.orders."}`)},
		"orders/created.schema.json":  {Data: []byte(`{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}`)},
		"orders/created.example.json": {Data: []byte(`{"id": 7}`)},
	}
	catalogue, err := schemas.Load(folder)
	if err != nil {
		fmt.Println(err)
		return
	}
	verdict, err := catalogue.Check(&event.Event{Type: "com.example.orders.created", Data: []byte(`{"id": 8}`)})
	fmt.Println(verdict.Type.Domain, verdict.Type.Event, err)
	_, err = catalogue.Check(&event.Event{Type: "com.example.orders.created", Data: []byte(`{}`)})
	fmt.Println(err)
	// Output:
	// orders created <nil>
	// validate com.example.orders.created: /data/id is required
}
