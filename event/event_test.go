package event_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
)

// pushEvent has every attribute an event can have, and data whose bytes no
// encoder would write the same way again.
func pushEvent() *event.Event {
	return &event.Event{
		ID: "85c7e78e", Source: "/git/widgets", Type: "git.push", Subject: "refs/heads/größe 100%",
		Time: "2026-03-01T12:30:00.120+01:00", DataContentType: "application/json",
		DataSchema: "https://schemas.example.com/git.push?v=1#push",
		Extensions: []event.Attribute{
			{Name: "partitionkey", Value: `say "hi"`},
			{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		},
		Data: []byte(exactData),
	}
}

// exactData is JSON that changes when it is decoded and encoded again: order of
// keys, escapes, numbers beyond float64 and int64, white space, a repeated key.
const exactData = `{"z" : 1,"a":"\u00e9\/é","big":12345678901234567890,"huge":1e400,"one":1.0,` +
	"\n\t" + `"html":"<&>","a":[ ],"lone":"\ud800"}`

func TestEventAttribute(t *testing.T) {
	t.Parallel()
	e := pushEvent()
	want := map[string]string{
		"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type, "subject": e.Subject, "time": e.Time,
		"datacontenttype": e.DataContentType, "dataschema": e.DataSchema,
		"partitionkey": `say "hi"`, "traceparent": e.Extensions[1].Value,
	}
	for name, value := range want {
		if got, ok := e.Attribute(name); !ok || got != value {
			t.Errorf("attribute %s: got %q, %t, want %q", name, got, ok, value)
		}
		if name == "specversion" {
			continue
		}
		if got, ok := new(event.Event).Attribute(name); ok {
			t.Errorf("attribute %s of an empty event: got %q, want it absent", name, got)
		}
	}
	for _, name := range []string{"", "data", "ID", "Partitionkey"} {
		if got, ok := e.Attribute(name); ok {
			t.Errorf("attribute %q: got %q, want it absent", name, got)
		}
	}
}

// What is said here of an event that a program builds holds for parsed events
// too: every codec ends in Validate.
func TestEventValidate(t *testing.T) {
	t.Parallel()
	extension := func(attributes ...event.Attribute) func(*event.Event) {
		return func(e *event.Event) { e.Extensions = attributes }
	}
	for _, tt := range []struct {
		name   string
		change func(*event.Event)
		want   []string // in the error; none: valid
	}{
		{"the whole event", func(*event.Event) {}, nil},
		{"only what is required", func(e *event.Event) { *e = event.Event{ID: "1", Source: "/s", Type: "t"} }, nil},
		{"any letters and signs", func(e *event.Event) { e.Subject = "größe/日本/😀 100% \"quoted\"" }, nil},
		{"a private use character", func(e *event.Event) { e.Subject = "\ue000" }, nil},
		{"extensions in any order", extension(event.Attribute{Name: "b", Value: "1"}, event.Attribute{Name: "a", Value: "1"}), nil},
		{"an extension of one digit", extension(event.Attribute{Name: "1", Value: "x"}), nil},

		{
			"every required attribute missing is one error", func(e *event.Event) { *e = event.Event{} },
			[]string{"id is missing", "source is missing", "type is missing"},
		},
		{
			"all problems at once", func(e *event.Event) { e.ID, e.Time, e.Subject = "", "yesterday", "a\x00" },
			[]string{"id is missing", "time", "RFC 3339", "subject", "U+0000"},
		},
		{"a control character", func(e *event.Event) { e.ID = "a\nb" }, []string{"id", "U+000A"}},
		{"delete", func(e *event.Event) { e.Source = "a\x7f" }, []string{"source", "U+007F"}},
		{"a control character beyond ASCII", func(e *event.Event) { e.Type = "a\u0085" }, []string{"type", "U+0085"}},
		{"a noncharacter", func(e *event.Event) { e.DataSchema = "\ufdd0" }, []string{"dataschema", "U+FDD0"}},
		{"a noncharacter at the end of a plane", func(e *event.Event) { e.Subject = "\U0001ffff" }, []string{"subject", "U+1FFFF"}},
		{"not UTF-8", func(e *event.Event) { e.DataContentType = "\xff" }, []string{"datacontenttype", "UTF-8"}},
		{"a control character in an extension", extension(event.Attribute{Name: "a", Value: "\t"}), []string{"a ", "U+0009"}},

		{"a time without a zone", func(e *event.Event) { e.Time = "2026-03-01T12:30:00" }, []string{"time", "RFC 3339"}},
		{"a time with a comma", func(e *event.Event) { e.Time = "2026-03-01T12:30:00,5Z" }, []string{"time", "RFC 3339"}},
		{"a time with an hour of one digit", func(e *event.Event) { e.Time = "2026-03-01T1:30:00Z" }, []string{"time", "RFC 3339"}},
		{"a zone beyond a day", func(e *event.Event) { e.Time = "2026-03-01T12:30:00+24:00" }, []string{"time", "RFC 3339", "+23:59"}},
		{"a leap second amid a month", func(e *event.Event) { e.Time = "2026-03-15T23:59:60Z" }, []string{"time", "RFC 3339", "leap second"}},
		{"a day that does not exist", func(e *event.Event) { e.Time = "2026-02-30T12:30:00Z" }, []string{"time", "RFC 3339"}},

		{"upper case in a name", extension(event.Attribute{Name: "A", Value: "x"}), []string{`"A"`}},
		{"a dash in a name", extension(event.Attribute{Name: "a-b", Value: "x"}), []string{`"a-b"`}},
		{"a letter beyond ASCII in a name", extension(event.Attribute{Name: "ä", Value: "x"}), []string{`"ä"`}},
		{"no name", extension(event.Attribute{Value: "x"}), []string{`""`}},
		{"a name that JSON reserves", extension(event.Attribute{Name: "data", Value: "x"}), []string{`"data"`}},
		{"an extension that is an attribute of every event", extension(event.Attribute{Name: "id", Value: "x"}), []string{"id"}},
		{"an extension that is the version", extension(event.Attribute{Name: "specversion", Value: "1.0"}), []string{"specversion"}},
		{
			"an extension given twice",
			extension(event.Attribute{Name: "b", Value: "1"}, event.Attribute{Name: "a", Value: "1"}, event.Attribute{Name: "b", Value: "2"}),
			[]string{"b is given twice"},
		},
		{"an extension without a value", extension(event.Attribute{Name: "a"}), []string{"a is empty"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := pushEvent()
			tt.change(e)
			err := e.Validate()
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatalf("got %v, want it valid", err)
				}
				checkCodecs(t, e)
				return
			}
			if !errors.Is(err, event.ErrInvalidEvent) {
				t.Fatalf("got %v, want an error that wraps ErrInvalidEvent", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

// checkCodecs is the promise of Validate: the same event comes back from a NATS
// message and from the JSON format.
func checkCodecs(t *testing.T, e *event.Event) {
	t.Helper()
	h := nats.Header{}
	e.SetHeader(h)
	got, err := event.FromMessage(h, e.Data)
	wantEvent(t, "as a NATS message", got, err, e)
	got, err = event.FromCheckedMessage(h, e.Data)
	wantEvent(t, "as a message of our own", got, err, e)

	got, err = event.ParseStructured(e.AppendStructured(nil))
	want := *e
	if event.IsJSON(e.DataContentType) && json.Valid(e.Data) {
		want.DataContentType = cmp.Or(e.DataContentType, "application/json")
		want.Data = bytes.Trim(e.Data, " \t\r\n")
		if err == nil {
			got.Data = bytes.Trim(got.Data, " \t\r\n") // base64 keeps it
		}
	}
	wantEvent(t, "in the JSON format", got, err, &want)
}
