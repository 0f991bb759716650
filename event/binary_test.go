package event_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/stream/streamtest"
	"github.com/jetpost/jetpost/internal/testkit"
)

// wire prints a message as it travels: headers in order, an empty line, the payload.
func wire(h nats.Header, data []byte) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteByte('\n')
	b.Write(data)
	return b.Bytes()
}

func TestEventAsMessageGolden(t *testing.T) {
	t.Parallel()
	e := pushEvent()
	h := nats.Header{}
	e.SetHeader(h)
	testkit.Golden(t, *updateEvents, "push.nats", wire(h, e.Data))
}

// A real server and client lie between the two codecs: what they trim, fold or
// drop would show.
func TestEventOverServer(t *testing.T) {
	t.Parallel()
	nc := streamtest.New(t).Conn()
	sub, err := nc.SubscribeSync("events")
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	minimal := &event.Event{ID: " 1 ", Source: "/s", Type: "t"} // the client trims header values
	text := pushEvent()
	text.DataContentType, text.Data = "text/plain", []byte(" \r\n\x00 ")
	for _, want := range []*event.Event{pushEvent(), minimal, text} {
		msg := nats.NewMsg("events")
		want.SetHeader(msg.Header)
		msg.Data = want.Data
		if err := nc.PublishMsg(msg); err != nil {
			t.Fatalf("publish: %v", err)
		}
		received, err := sub.NextMsgWithContext(t.Context())
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		got, err := event.FromMessage(received.Header, received.Data)
		wantEvent(t, "over the server", got, err, want)
	}
}

func TestSetHeaderKeepsOtherHeaders(t *testing.T) {
	t.Parallel()
	h := nats.Header{"Nats-Msg-Id": {"1"}, "ce-id": {"old"}}
	pushEvent().SetHeader(h)
	if got := h["Nats-Msg-Id"]; !slices.Equal(got, []string{"1"}) {
		t.Errorf("Nats-Msg-Id: got %q, want it untouched", got)
	}
	if got := h["ce-id"]; !slices.Equal(got, []string{"85c7e78e"}) {
		t.Errorf("ce-id: got %q, want the event's alone", got)
	}
	h.Add("ce-source", "x") // values share one array: growing one must not reach the next
	if got := h["ce-type"]; !slices.Equal(got, []string{"git.push"}) {
		t.Errorf("ce-type after ce-source has grown: got %q", got)
	}
}

// header makes a header of names and values in turn.
func header(pairs ...string) nats.Header {
	h := nats.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

// with adds to the header of the smallest event.
func with(pairs ...string) nats.Header {
	return header(append([]string{"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"}, pairs...)...)
}

const smallJSON = `{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"hi"}`

func TestFromMessage(t *testing.T) {
	t.Parallel()
	small := func(change func(*event.Event)) *event.Event {
		e := &event.Event{ID: "1", Source: "/s", Type: "t"}
		change(e)
		return e
	}
	structured := small(func(e *event.Event) { e.DataContentType, e.Data = "text/plain", []byte("hi") })
	for _, tt := range []struct {
		name   string
		header nats.Header
		data   string
		want   *event.Event
	}{
		{"the smallest event", with(), "", small(func(*event.Event) {})},
		{
			"header names in upper case",
			header("CE-SPECVERSION", "1.0", "Ce-Id", "1", "cE-source", "/s", "Ce-Type", "t", "Ce-MyAttribute", "x"), "",
			small(func(e *event.Event) { e.Extensions = []event.Attribute{{Name: "myattribute", Value: "x"}} }),
		},
		{
			"headers that are not the event's", with("Nats-Msg-Id", "9", "traceparent", "00-1", "ceremony", "x", "ce", "x"), "",
			small(func(*event.Event) {}),
		},
		{
			"extensions are put in order", with("ce-b", "2", "ce-c", "3", "ce-a", "1"), "",
			small(func(e *event.Event) {
				e.Extensions = []event.Attribute{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}, {Name: "c", Value: "3"}}
			}),
		},
		{
			"values are decoded once, content types too", with("ce-subject", `"a%20b"`, "ce-x", "100%2525", "ce-datacontenttype", "text/plain;%20charset=utf-8"), "hi",
			small(func(e *event.Event) {
				e.Subject, e.DataContentType, e.Data = "a b", "text/plain; charset=utf-8", []byte("hi")
				e.Extensions = []event.Attribute{{Name: "x", Value: "100%25"}}
			}),
		},
		{
			"what senders leave raw", with("ce-subject", "100%", "ce-x", `"now" 5%zz`, "ce-y", "%%25"), "",
			small(func(e *event.Event) {
				e.Subject = "100%"
				e.Extensions = []event.Attribute{{Name: "x", Value: `"now" 5%zz`}, {Name: "y", Value: "%%"}}
			}),
		},
		{
			"the content type stands in for ce-datacontenttype", with("Content-Type", "text/plain"), "hi",
			small(func(e *event.Event) { e.DataContentType, e.Data = "text/plain", []byte("hi") }),
		},
		{
			"ce-datacontenttype goes first", with("content-type", "text/html", "ce-datacontenttype", "text/plain"), "hi",
			small(func(e *event.Event) { e.DataContentType, e.Data = "text/plain", []byte("hi") }),
		},
		{
			"data that looks like an event is data in binary mode", with(), smallJSON,
			small(func(e *event.Event) { e.Data = []byte(smallJSON) }),
		},
		{
			"data is kept as it is", with("ce-datacontenttype", "application/json"), " \n" + exactData + "\x00\xff",
			small(func(e *event.Event) {
				e.DataContentType, e.Data = "application/json", []byte(" \n"+exactData+"\x00\xff")
			}),
		},

		{"structured", header("content-type", "application/cloudevents+json"), smallJSON, structured},
		{"structured, in another spelling", header("Content-TYPE", "Application/CloudEvents+JSON; charset=UTF-8"), smallJSON, structured},
		{"structured, without a format", header("content-type", "application/cloudevents"), smallJSON, structured},
		{"structured, as old clients send it: no header at all", nil, smallJSON, structured},
		{"structured, without content type, behind white space", header("Nats-Msg-Id", "9"), " \t\r\n" + smallJSON, structured},
		{
			"structured: the body counts, headers only repeat it",
			header("content-type", "application/cloudevents+json", "ce-specversion", "1.0", "ce-id", "other"), smallJSON, structured,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.FromMessage(tt.header, []byte(tt.data))
			wantEvent(t, "read back", got, err, tt.want)
		})
	}
}

func TestFromMessageRefuses(t *testing.T) {
	t.Parallel()
	const structured = "application/cloudevents+json"
	for _, tt := range []struct {
		name   string
		header nats.Header
		data   string
		want   string // in the error
	}{
		{"a message that is no event", nil, "hello", "ce-specversion is missing"},
		{"an empty message", nil, "", "ce-specversion is missing"},
		{"no version", header("ce-id", "1", "ce-source", "/s", "ce-type", "t"), "", "ce-specversion is missing"},
		{"JSON that is no event, with a content type", header("content-type", "application/json"), smallJSON, "ce-specversion is missing"},
		{"JSON that is no event", nil, `{"a":1}`, "specversion is missing"},
		{"another version", header("ce-specversion", "0.3", "ce-id", "1", "ce-source", "/s", "ce-type", "t"), "", `"0.3"`},
		{"no id", header("ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t"), "", "id is missing"},
		{"one header in two spellings, one of them lower case", with("Ce-Id", "1"), "", "ce-id is given in two spellings"},
		{"one header in two spellings, both unusual", with("Ce-Subject", "a", "CE-SUBJECT", "b"), "", "subject is given"},
		{"the version in two spellings", header("CE-specversion", "1.0", "Ce-Specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t"), "", "specversion is given in two spellings"},
		{"an extension in two spellings", with("Ce-A", "1", "CE-A", "2"), "", "a is given"},
		{"the content type in two spellings", with("content-type", structured, "Content-Type", "text/plain"), smallJSON, "content-type is given in two spellings"},
		{"the content type in two unusual spellings", with("CONTENT-TYPE", structured, "Content-Type", "text/plain"), smallJSON, "content-type is given in two spellings"},
		{"a header with two values", with("ce-id", "2"), "", "ce-id has 2 values"},
		{"a content type with two values", with("content-type", "text/plain", "content-type", structured), "", "content-type has 2 values"},
		{"a header without a value", nats.Header{"ce-specversion": {"1.0"}, "ce-id": {}}, "", "ce-id has 0 values"},
		{"an empty attribute", with("ce-subject", ""), "", `"subject" is empty`},
		{"an empty extension", with("ce-a", ""), "", `"a" is empty`},
		{"an attribute that decodes to nothing", with("ce-subject", `""`), "", `"subject" is empty`},
		{"a header that is not a name", with("ce-", "x"), "", `"" is not an attribute name`},
		{"a name with a dash", with("ce-a-b", "x"), "", `"a-b" is not an attribute name`},
		{"data in a header", with("ce-data", "x"), "", `"data" is not an attribute name`},
		{"bytes that are not UTF-8 behind escapes", with("ce-subject", "%C0%A0"), "", "ce-subject"},
		{"bytes that are not UTF-8", with("ce-subject", "\xff"), "", "ce-subject"},
		{"a control character behind an escape", with("ce-subject", "a%0Ab"), "", "U+000A"},
		{"a time that is none", with("ce-time", "now"), "", "RFC 3339"},
		{"a batch: NATS has none", header("content-type", "application/cloudevents-batch+json"), "[" + smallJSON + "]", "JSON object"},
		{"a format that is not JSON", header("content-type", "application/cloudevents+avro"), "Obj\x01", "not JSON"},
		{"a structured message that is broken", header("content-type", structured), smallJSON[:20], "ends too early"},
		{"a structured message with a broken header", header("content-type", structured, "ce-id", "%FF"), smallJSON, "ce-id"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for range 8 { // maps have no order, and the answer must not depend on it
				got, err := event.FromMessage(tt.header, []byte(tt.data))
				wantInvalid(t, got, err, tt.want)
			}
		})
	}
}

// What cannot be read is foreign text: it must not get into logs.
func TestFromMessageErrorHidesValue(t *testing.T) {
	t.Parallel()
	_, err := event.FromMessage(with("ce-subject", "swordfish%FF"), nil)
	wantInvalid(t, nil, err, "ce-subject")
	if strings.Contains(err.Error(), "swordfish") {
		t.Errorf("the error shows the value: %v", err)
	}
}

// What jetpost wrote itself is not validated again, but it is still an event.
func TestFromCheckedMessageRefuses(t *testing.T) {
	t.Parallel()
	for what, h := range map[string]nats.Header{
		"no event":  nil,
		"no id":     header("ce-specversion", "1.0", "ce-source", "/s", "ce-type", "t"),
		"no source": header("ce-specversion", "1.0", "ce-id", "1", "ce-type", "t"),
		"no type":   header("ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s"),
	} {
		got, err := event.FromCheckedMessage(h, nil)
		if wantInvalid(t, got, err); got != nil {
			t.Errorf("%s: got %+v", what, got)
		}
	}
}

func FuzzFromMessage(f *testing.F) {
	for _, seed := range []struct{ names, values, data string }{
		{"ce-specversion|ce-id|ce-source|ce-type|ce-x", "1.0|1|/s|t|100%25", "data"},
		{"ce-specversion|ce-id|ce-source|ce-type|content-type", "1.0|1|/s|t|text/plain", "data"},
		{"Content-Type", "application/cloudevents+json", smallJSON},
		{"", "", smallJSON},
		{"Ce-Id|ce-id", "1|2", ""},
		{"ce-specversion|ce-id|ce-source|ce-type|ce-time", "1.0|1|/s|t|2026-03-01T12:30:00Z", exactData},
	} {
		f.Add(seed.names, seed.values, []byte(seed.data))
	}
	f.Fuzz(func(t *testing.T, names, values string, data []byte) {
		h, value := nats.Header{}, strings.Split(values, "|")
		for i, name := range strings.Split(names, "|") {
			h[name] = append(h[name], value[i%len(value)])
		}
		e, err := event.FromMessage(h, data)
		again, errAgain := event.FromMessage(h, data)
		if (err == nil) != (errAgain == nil) {
			t.Fatalf("read twice: got %v, then %v", err, errAgain)
		}
		if err != nil {
			wantInvalid(t, e, err)
			return
		}
		wantEvent(t, "read again", again, nil, e)
		if err := e.Validate(); err != nil {
			t.Errorf("accepted what is not valid: %v", err)
		}
		written := nats.Header{}
		e.SetHeader(written)
		got, err := event.FromMessage(written, e.Data)
		wantEvent(t, "written and read", got, err, e)
	})
}
