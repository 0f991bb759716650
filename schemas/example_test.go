package schemas_test

import (
	"errors"
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

// The data of an event can be checked on its own, against the schema of its type.
func ExampleType_CheckData() {
	catalogue, err := schemas.Load() // the domains that come with jetpost
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := catalogue.Resolve("artifact.deleted")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(t.CheckData(t.Examples[0].Data)), "problems")
	for _, problem := range t.CheckData([]byte(`{"repo_key": 7, "path": "a/b", "name": "b", "sha256": "x", "size": 0}`)) {
		fmt.Println(problem)
	}
	// Output:
	// 0 problems
	// /repo_key must be a string, is a number
}

// A catalogue knows the event types, each with its domain, schema and examples.
func ExampleCatalogue_Domain() {
	catalogue, err := schemas.Load()
	if err != nil {
		fmt.Println(err)
		return
	}
	git, _ := catalogue.Domain("git")
	fmt.Println(git.Name, git.TypePrefix, git.Validation)
	for _, t := range git.Types {
		fmt.Println(t.Name)
	}
	_, err = catalogue.Resolve("git.pull")
	fmt.Println(errors.Is(err, schemas.ErrUnknownType))
	// Output:
	// git git. enforce
	// git.pull_request
	// git.pull_request_comment
	// git.push
	// true
}
