package event_test

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
)

// sdkEvent is an event as a program with the CloudEvents SDK makes it.
func sdkEvent(t *testing.T, contentType string, data any) sdk.Event {
	t.Helper()
	e := sdk.New()
	e.SetID("85c7e78e")
	e.SetSource("https://git.example.com/widgets?a=b#c")
	e.SetType("git.push")
	e.SetSubject("größe 100%")
	e.SetTime(time.Date(2026, 3, 1, 12, 30, 0, 120_000_000, time.FixedZone("", 3600)))
	e.SetDataSchema("https://schemas.example.com/git.push")
	e.SetExtension("Text", `say "hi"`)
	if data != nil {
		if err := e.SetData(contentType, data); err != nil {
			t.Fatalf("set data: %v", err)
		}
	}
	if err := e.Validate(); err != nil {
		t.Fatalf("the SDK refuses the test's event: %v", err)
	}
	return e
}

func sdkEvents(t *testing.T) map[string]sdk.Event {
	t.Helper()
	return map[string]sdk.Event{
		"no data":             sdkEvent(t, "", nil),
		"JSON":                sdkEvent(t, "application/json", json.RawMessage(`{"a":[1,2,{"b":"é"}],"big":12345678901234567890}`)),
		"JSON, in words":      sdkEvent(t, "text/json; charset=utf-8", json.RawMessage(`[null]`)),
		"text":                sdkEvent(t, "text/plain", "a \"b\"\n"),
		"bytes":               sdkEvent(t, "image/png", []byte("\x89PNG\x00")),
		"bytes that are JSON": sdkEvent(t, "application/json", []byte(`{"a":1}`)),
	}
}

// The SDK's JSON is read here, ours is read by the SDK, and both ways mean the
// same as going through the SDK's model.
func TestStructuredInteropWithSDK(t *testing.T) {
	t.Parallel()
	for name, theirs := range sdkEvents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(theirs)
			if err != nil {
				t.Fatalf("marshal by the SDK: %v", err)
			}
			want, err := event.FromCloudEvent(theirs)
			if err != nil {
				t.Fatalf("from the SDK's model: %v", err)
			}
			got, err := event.ParseStructured(body)
			wantEvent(t, "the SDK's JSON", got, err, want)

			var back sdk.Event
			if err := json.Unmarshal(want.AppendStructured(nil), &back); err != nil {
				t.Fatalf("unmarshal by the SDK: %v", err)
			}
			if err := back.Validate(); err != nil {
				t.Errorf("the SDK refuses our JSON: %v", err)
			}
			got, err = event.FromCloudEvent(back)
			wantEvent(t, "our JSON, read by the SDK,", got, err, want)
		})
	}
}

func TestBatchInteropWithSDK(t *testing.T) {
	t.Parallel()
	var batch []sdk.Event
	for _, e := range sdkEvents(t) {
		batch = append(batch, e)
	}
	body, err := json.Marshal(batch)
	if err != nil {
		t.Fatalf("marshal by the SDK: %v", err)
	}
	events, err := event.ParseBatch(body)
	if err != nil || len(events) != len(batch) {
		t.Fatalf("got %d events, %v, want %d", len(events), err, len(batch))
	}
	for i := range events {
		want, err := event.FromCloudEvent(batch[i])
		wantEvent(t, "in the batch", events[i], err, want)
	}
}

// CloudEvent → NATS → CloudEvent, as a producer and a receiver with the SDK see it.
func TestSDKEventThroughBinaryMode(t *testing.T) {
	t.Parallel()
	for name, want := range sdkEvents(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := event.FromCloudEvent(want)
			if err != nil {
				t.Fatalf("from the SDK's model: %v", err)
			}
			h := nats.Header{}
			e.SetHeader(h)
			e, err = event.FromMessage(h, e.Data)
			if err != nil {
				t.Fatalf("from the message: %v", err)
			}
			got, err := e.CloudEvent()
			if err != nil {
				t.Fatalf("to the SDK's model: %v", err)
			}
			// How the data lies in JSON is no part of an event, but the SDK's to choose.
			got.DataBase64, want.DataBase64 = false, false
			want.SetTime(want.Time().UTC())
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("the event is another (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want.Data(), got.Data()); diff != "" {
				t.Errorf("the data is other (-want +got):\n%s", diff)
			}
		})
	}
}

// What leaves through the SDK's own encoder must be JSON, whatever the data is.
func TestCloudEventMarshals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, contentType, data, want string }{
		{"JSON is embedded", "application/json", exactData, `"data":` + exactData},
		{"JSON by default", "", `{"a":1}`, `"data":{"a":1}`},
		{"text is a string", "text/plain", "hi", `"data":"hi"`},
		{"what claims to be JSON", "application/json", `{"a":`, `"data_base64":"eyJhIjo="`},
		{"text that is not UTF-8", "text/plain", "\xff", `"data_base64":"/w=="`},
		{"JSON that the SDK would write as a string", "application/vnd.a+json", `{}`, `"data_base64":"e30="`},
		{"no data", "application/json", "", ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := &event.Event{ID: "1", Source: "/s", Type: "t", DataContentType: tt.contentType, Data: []byte(tt.data)}
			ce, err := e.CloudEvent()
			if err != nil {
				t.Fatalf("to the SDK's model: %v", err)
			}
			body, err := ce.MarshalJSON() // json.Marshal would tidy it up
			if err != nil {
				t.Fatalf("marshal by the SDK: %v", err)
			}
			var members map[string]json.RawMessage
			if err := json.Unmarshal(body, &members); err != nil {
				t.Fatalf("the SDK's JSON %s: %v", body, err)
			}
			got := ""
			for _, name := range []string{"data", "data_base64"} {
				if value, ok := members[name]; ok {
					got += `"` + name + `":` + string(value)
				}
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestFromCloudEventCanonicalValues(t *testing.T) {
	t.Parallel()
	in := sdkEvent(t, "", nil)
	for name, value := range map[string]any{
		"aninteger": int32(-42), "abool": true, "somebytes": []byte{0, 255},
		"auri": types.URI{URL: url.URL{Scheme: "https", Host: "example.com"}}, "atime": time.Date(2026, 3, 1, 13, 30, 0, 0, time.FixedZone("", 3600)),
	} {
		in.SetExtension(name, value)
	}
	e, err := event.FromCloudEvent(in)
	if err != nil {
		t.Fatalf("from the SDK's model: %v", err)
	}
	want := map[string]string{
		"aninteger": "-42", "abool": "true", "somebytes": "AP8=", "auri": "https://example.com", "atime": "2026-03-01T12:30:00Z",
		"time": "2026-03-01T11:30:00.12Z", "text": `say "hi"`,
	}
	for name, value := range want {
		if got, _ := e.Attribute(name); got != value {
			t.Errorf("attribute %s: got %q, want %q", name, got, value)
		}
	}
}

func TestFromCloudEventRefuses(t *testing.T) {
	t.Parallel()
	old := sdk.New(sdk.CloudEventsVersionV03)
	old.SetID("1")
	old.SetSource("/s")
	old.SetType("t")
	for _, tt := range []struct {
		name string
		in   func(*sdk.Event)
		want string
	}{
		{"an event without a context", func(e *sdk.Event) { *e = sdk.Event{} }, "specversion"},
		{"an event without an id", func(e *sdk.Event) { e.SetID("") }, "id"},
		{"an older event", func(e *sdk.Event) { *e = old }, "0.3"},
		{"a control character, which the SDK lets through", func(e *sdk.Event) { e.SetSubject("a\nb") }, "U+000A"},
		{"an empty extension, which the SDK lets through", func(e *sdk.Event) { e.SetExtension("a", "") }, "a is empty"},
		{"a reserved name, which the SDK lets through", func(e *sdk.Event) { e.SetExtension("data", "x") }, `"data"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := sdkEvent(t, "", nil)
			tt.in(&in)
			got, err := event.FromCloudEvent(in)
			wantInvalid(t, got, err, tt.want)
		})
	}
}

func TestCloudEventRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*event.Event)
	}{
		{"no id", func(e *event.Event) { e.ID = "" }},
		{"a time that is none", func(e *event.Event) { e.Time = "now" }},
		{"a source that is no URI", func(e *event.Event) { e.Source = "%zz" }},
		{"a schema that is no URI", func(e *event.Event) { e.DataSchema = "%zz" }},
		{"a content type that is none", func(e *event.Event) { e.DataContentType = "text plain" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := pushEvent()
			tt.change(e)
			got, err := e.CloudEvent()
			wantInvalid(t, got, err)
		})
	}
}

// Messages as the SDK's NATS protocol sends them: binary mode with bare values and
// content-type, structured mode without any header.
func TestFromMessageOfSDK(t *testing.T) {
	t.Parallel()
	theirs := sdkEvent(t, "application/json", json.RawMessage(`{"a":1}`))
	want, err := event.FromCloudEvent(theirs)
	if err != nil {
		t.Fatalf("from the SDK's model: %v", err)
	}
	body, err := json.Marshal(theirs)
	if err != nil {
		t.Fatalf("marshal by the SDK: %v", err)
	}
	got, err := event.FromMessage(nil, body)
	wantEvent(t, "structured", got, err, want)

	bare := *want
	h := header("ce-specversion", "1.0", "ce-id", bare.ID, "ce-source", bare.Source, "ce-type", bare.Type,
		"ce-subject", bare.Subject, "ce-time", bare.Time, "ce-dataschema", bare.DataSchema,
		"content-type", bare.DataContentType, "ce-text", `say "hi"`)
	got, err = event.FromMessage(h, theirs.Data())
	wantEvent(t, "binary", got, err, &bare)
}
