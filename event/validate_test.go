package event_test

import (
	"strings"
	"testing"

	sdk "github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/event"
)

// uriReferences are values of source, and what is wrong with them; empty: nothing.
var uriReferences = map[string]string{
	"/s":       "",
	"s":        "",
	"a/b:c":    "",
	"./a:b":    "",
	"../x?y#z": "",
	"?q":       "",
	"#f":       "",
	"//host":   "",
	"///":      "",
	"urn:":     "",
	"urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66": "",
	"mailto:cncf-wg-serverless@lists.cncf.io":       "",
	"https://github.com/cloudevents":                "",
	"https://u:p@host:8080/p;x=1/%7e?a=b&c#/f":      "",
	"http://host:/":                   "",
	"http://[::1]:80/x":               "",
	"http://[::ffff:192.0.2.1]":       "",
	"http://a%C3%A9.example/":         "",
	"file:///a/b":                     "",
	"jfrt@01hc5p0q7v0vjy1c3y8z5k1w0x": "",
	"1-555-123-4567":                  "",
	"a!$&'()*+,;=b":                   "",

	"%zz":                    "percent sign",
	"%":                      "percent sign",
	"/a%4":                   "percent sign",
	"/s?100%":                "percent sign",
	"/s#100%":                "percent sign",
	":nope":                  "colon",
	"1a:b":                   "colon",
	"a b:c":                  "colon",
	"größe:1":                "colon",
	"http://[::1":            "square brackets",
	"http://[::1]x/":         "between the IPv6 address",
	"http://[fe80::1%25en0]": "square brackets",
	"http://[192.0.2.1]/":    "square brackets",
	"http://[v1.a]/":         "square brackets",
	"http://a[::1]/":         `'['`,
	"http://a]/":             `']'`,
	"/a[0]":                  `'['`,
	"a b":                    `' '`,
	" /s":                    `' '`,
	"/s ":                    `' '`,
	"http://a b/":            `' '`,
	"/größe":                 `'ö'`,
	"/日本":                    `'日'`,
	`a\b`:                    `'\\'`,
	"/<x>":                   `'<'`,
	"/{x}":                   `'{'`,
	"/x|y":                   `'|'`,
	"/^":                     `'^'`,
	"/`":                     "'`'",
	`/"`:                     `'"'`,
	"/a#b#c":                 `'#'`,
	"http://a@b@c/":          `'@'`,
	"http://a:b:c/":          "port",
	"http://host:80a/":       "port",
	"http://host%41/":        "host",
	"#":                      "to nothing",
	"//":                     "to nothing",
	"//#":                    "to nothing",
}

func TestValidateSource(t *testing.T) {
	t.Parallel()
	for source, want := range uriReferences {
		err := (&event.Event{ID: "1", Source: source, Type: "t"}).Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: got %v, want it valid", source, err)
		case want != "":
			wantInvalid(t, source, err, "source is", want)
		}
	}
}

func TestValidateDataSchema(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		"https://schemas.example.com/a/1.json?v=1": "",
		"https://schemas.example.com/a#/$defs/b":   "",
		"urn:example:schema":                       "",
		"s:/":                                      "",
		"/schemas/a":                               "not an absolute URI",
		"a.json":                                   "not an absolute URI",
		"//host/a":                                 "not an absolute URI",
		"./a:b":                                    "not an absolute URI",
		"?a:b":                                     "not an absolute URI",
		"#a:b":                                     "not an absolute URI",
		"%zz":                                      "percent sign",
		":a":                                       "colon",
		"https://a b/":                             `' '`,
		"https://[::1":                             "square brackets",
	} {
		err := (&event.Event{ID: "1", Source: "/s", Type: "t", DataSchema: schema}).Validate()
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: got %v, want it valid", schema, err)
		case want != "":
			wantInvalid(t, schema, err, "dataschema is", want)
		}
	}
}

func TestValidateOtherAttributes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*event.Event)
		want   string // in the error; empty: valid
	}{
		{"white space around an id", func(e *event.Event) { e.ID = " 1 " }, ""},
		{"an id of white space", func(e *event.Event) { e.ID = " " }, "id is nothing but white space"},
		{"a type of white space", func(e *event.Event) { e.Type = "\u2003" }, "type is nothing but white space"},
		{"a subject of white space", func(e *event.Event) { e.Subject = "  " }, "subject is nothing but white space"},
		{"an extension of white space", func(e *event.Event) { e.Extensions = []event.Attribute{{Name: "a", Value: " "}} }, ""},
		{"a content type with parameters", func(e *event.Event) { e.DataContentType = `multipart/mixed; boundary="a b"` }, ""},
		{"a content type with a malformed parameter", func(e *event.Event) { e.DataContentType = "application/json; utf-8" }, ""},
		{"a content type without a subtype", func(e *event.Event) { e.DataContentType = "json" }, "datacontenttype is not a media type"},
		{"a content type that is none", func(e *event.Event) { e.DataContentType = "text plain" }, "datacontenttype is not a media type"},
		{"a content type beyond ASCII", func(e *event.Event) { e.DataContentType = "text/größe" }, "datacontenttype is not a media type"},
		{"an extension's name with an underscore", func(e *event.Event) { e.Extensions = []event.Attribute{{Name: "a_b", Value: "1"}} }, `"a_b" is not an attribute name`},
	} {
		e := &event.Event{ID: "1", Source: "/s", Type: "t"}
		tt.change(e)
		err := e.Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: got %v, want it valid", tt.name, err)
		case tt.want != "":
			wantInvalid(t, tt.name, err, tt.want)
		}
	}
}

// A source may hold a password.
func TestValidateHidesSource(t *testing.T) {
	t.Parallel()
	err := (&event.Event{ID: "1", Source: "http://user:swordfish@[::1/", Type: "t", DataSchema: "http://user:swordfish@a b"}).Validate()
	wantInvalid(t, nil, err, "source", "dataschema")
	if strings.Contains(err.Error(), "swordfish") {
		t.Errorf("the error shows the value: %v", err)
	}
}

// What is accepted here must not be refused by every receiver later.
func FuzzValidateForSDK(f *testing.F) {
	for source := range uriReferences {
		f.Add("1", source, "t", "", "")
	}
	f.Add("1", "/s", "t", "a", "https://example.com/a#b")
	f.Add(" ", "//", " ", "\u00a0", "a:")
	f.Fuzz(func(t *testing.T, id, source, eventType, subject, schema string) {
		e := &event.Event{ID: id, Source: source, Type: eventType, Subject: subject, DataSchema: schema}
		if e.Validate() != nil {
			return
		}
		if _, err := e.CloudEvent(); err != nil {
			t.Errorf("the SDK refuses %+v: %v", e, err)
		}
		var back sdk.Event
		if err := back.UnmarshalJSON(e.AppendStructured(nil)); err != nil {
			t.Fatalf("the SDK cannot read %+v: %v", e, err)
		}
		if err := back.Validate(); err != nil {
			t.Errorf("the SDK refuses %+v, which it has read: %v", e, err)
		}
	})
}

// An event that a producer of an earlier version has stored is one. The same message of
// anybody else is not, and neither is what only pretends to be of a producer.
func TestFromEventLog(t *testing.T) {
	t.Parallel()
	old := &event.Event{ID: "1", Source: "/a b/%zz", Type: "t", DataSchema: "schema.json", DataContentType: "text", Data: []byte("x")}
	if err := old.Validate(); err == nil {
		t.Fatal("the event of an earlier version is valid today: the test shows nothing")
	}
	h := nats.Header{}
	old.SetHeader(h)
	got, err := event.FromCheckedMessage(h, old.Data)
	wantEvent(t, "as history", got, err, old)
	got, err = event.FromEventLog(h, old.Data)
	wantInvalid(t, got, err, "source", "dataschema", "datacontenttype")
	h[jetstream.MsgIDHeader] = []string{"1"}
	got, err = event.FromEventLog(h, old.Data)
	wantInvalid(t, got, err, "source")
	h[jetstream.MsgIDHeader] = []string{old.MessageID()}
	got, err = event.FromEventLog(h, old.Data)
	wantEvent(t, "as a producer has stored it", got, err, old)

	structured := header("content-type", "application/cloudevents+json")
	got, err = event.FromEventLog(structured, old.AppendStructured(nil))
	wantInvalid(t, got, err, "source")
	got, err = event.FromCheckedMessage(structured, old.AppendStructured(nil))
	wantEvent(t, "as history, structured", got, err, old)

	valid := pushEvent()
	h = nats.Header{}
	valid.SetHeader(h)
	got, err = event.FromEventLog(h, valid.Data)
	wantEvent(t, "of anybody", got, err, valid)
	delete(h, "ce-source")
	got, err = event.FromEventLog(h, valid.Data)
	wantInvalid(t, got, err, "source is missing")
}
