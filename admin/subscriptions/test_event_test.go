package subscriptions

import (
	"strings"
	"testing"
	"time"

	"github.com/jetpost/jetpost/schemas"
)

// Every type of the catalogue has an example that passes its own schema.
func TestExamplesOfAllTypes(t *testing.T) {
	t.Parallel()
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, eventType := range catalogue.Types() {
		e := exampleEvent(eventType, time.Now())
		if err := catalogue.Validate(e); err != nil {
			t.Errorf("%s: %v", eventType.Name, err)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", eventType.Name, err)
		}
	}
	deployed, err := catalogue.Resolve("artifact.deployed")
	if err != nil {
		t.Fatal(err)
	}
	if e := exampleEvent(deployed, time.Now()); !strings.Contains(string(e.Data), `"repo_key":"sample_repo"`) {
		t.Errorf("got %s, want what the vendor's Test button sends", e.Data)
	}
	open := exampleEvent(schemas.Type{Name: "orders.created"}, time.Now())
	if got := string(open.Data); got != `{"test":true}` {
		t.Errorf("got %s for a type without a schema", got)
	}
}
