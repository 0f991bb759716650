package api_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/client/api"
)

func TestEvent(t *testing.T) {
	t.Parallel()
	for text, event := range map[string]api.Event{
		`{"specversion":"1.0","id":"1","source":"/s","type":"a.b"}`: {ID: "1", Source: "/s", Type: "a.b"},
		`{"data":{"x":1},"id":"1","partitionkey":"k","source":"/s","specversion":"1.0","subject":"m","time":"2026-01-31T12:00:00Z","type":"a.b"}`: {
			ID: "1", Source: "/s", Type: "a.b", Subject: "m", Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
			Extensions: map[string]any{"partitionkey": "k"}, Data: json.RawMessage(`{"x":1}`),
		},
		`{"specversion":"1.0","id":"1","source":"/s","type":"a.b","datacontenttype":"text/plain","dataschema":"urn:x","data_base64":"aGk="}`: {
			ID: "1", Source: "/s", Type: "a.b", DataContentType: "text/plain", DataSchema: "urn:x", DataBytes: []byte("hi"),
		},
	} {
		got, err := json.Marshal(event)
		if err != nil || string(got) != text {
			t.Errorf("got %s %v, want %s", got, err, text)
		}
		var back api.Event
		if err := json.Unmarshal([]byte(text), &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(event, back); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if _, err := json.Marshal(api.Event{Extensions: map[string]any{"source": "x"}}); err == nil {
		t.Error("an extension can be called source")
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"exact":{"subject":"main"}}`, `{"all":[{"not":{"prefix":{"subject":"a"}}},{"any":[{"sql":"id \u003c 'b'"}]}]}`, `{"ant":{"data.path":"**"}}`,
	} {
		var f api.Filter
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(f); err != nil || string(got) != text {
			t.Errorf("got %s %v, want %s", got, err, text)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{`"15s"`: 15 * time.Second, `"5m"`: 5 * time.Minute, `"120h"`: 120 * time.Hour, `"1h30m"`: 90 * time.Minute, `"0s"`: 0} {
		var d api.Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: got %s %v", text, d, err)
		}
		if got, err := json.Marshal(d); err != nil || string(got) != text {
			t.Errorf("got %s %v, want %s", got, err, text)
		}
	}
	for _, text := range []string{`5`, `"5"`, `"x"`} {
		if d := new(api.Duration); json.Unmarshal([]byte(text), d) == nil {
			t.Errorf("%s is a duration: %s", text, d)
		}
	}
}

// A problem is printed with everything that its detail does not say.
func TestProblem(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]api.Problem{
		"the server answers 502 Bad Gateway":          {Status: 502},
		"id: is taken":                                {Status: 409, Detail: "id: is taken", Errors: []api.FieldProblem{{Field: "id", Message: "is taken"}}},
		"2 things\n  a: is x\n  is y (request req-1)": {Detail: "2 things", Errors: []api.FieldProblem{{Field: "a", Message: "is x"}, {Message: "is y"}}, RequestID: "req-1"},
	} {
		if got := p.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if field, ok := reflect.TypeFor[api.Problem]().FieldByName("RetryAfter"); !ok || field.Tag.Get("json") != "-" {
		t.Error("RetryAfter is a header")
	}
}
