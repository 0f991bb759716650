package event_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/event"
)

// object is the smallest event in the JSON format, with more members behind.
func object(members ...string) string {
	return `{"specversion":"1.0","id":"1","source":"/s","type":"t"` + strings.Join(append([]string{""}, members...), ",") + `}`
}

func TestParseStructured(t *testing.T) {
	t.Parallel()
	small := func(contentType, data string, extensions ...event.Attribute) *event.Event {
		return &event.Event{ID: "1", Source: "/s", Type: "t", DataContentType: contentType, Data: []byte(data), Extensions: extensions}
	}
	attribute := func(name, value string) *event.Event {
		return small("", "", event.Attribute{Name: name, Value: value})
	}
	const asJSON, asText = `"datacontenttype":"application/json"`, `"datacontenttype":"text/plain"`
	for _, tt := range []struct {
		name string
		body string
		want *event.Event
	}{
		{"the smallest event", object(), small("", "")},
		{"members in any order, white space around", " \r\n\t{\"type\" : \"t\" , \"source\":\"/s\",\"id\":\"1\", \"specversion\":\"1.0\"}\n ", small("", "")},
		{
			"every attribute",
			`{"data":{},"dataschema":"s:/","datacontenttype":"a/b+json","time":"2026-03-01T12:30:00Z","subject":"sub",` +
				`"type":"t","source":"/s","id":"1","specversion":"1.0","b":"2","a":"1"}`,
			&event.Event{
				ID: "1", Source: "/s", Type: "t", Subject: "sub", Time: "2026-03-01T12:30:00Z", DataContentType: "a/b+json",
				DataSchema: "s:/", Data: []byte("{}"),
				Extensions: []event.Attribute{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}},
			},
		},
		{"escapes in a name and in a value", object(`"\u0061":"\u00e9é"`), attribute("a", "éé")},
		{"a pair of surrogates", object(`"a":"\ud83d\uDE00"`), attribute("a", "😀")},
		{"an escaped backslash before what looks like a surrogate", object(`"a":"\\ud800"`), attribute("a", `\ud800`)},
		{"the replacement character itself", object(`"a":"\ufffd�"`), attribute("a", "��")},

		{"an integer", object(`"a":42`), attribute("a", "42")},
		{"the smallest integer", object(`"a":-2147483648`), attribute("a", "-2147483648")},
		{"the greatest integer", object(`"a":2147483647`), attribute("a", "2147483647")},
		{"nought has one spelling", object(`"a":-0`), attribute("a", "0")},
		{"true", object(`"a":true`), attribute("a", "true")},
		{"false", object(`"a":false`), attribute("a", "false")},
		{"a required attribute that is an integer", `{"specversion":"1.0","id":7,"source":"/s","type":"t"}`, &event.Event{ID: "7", Source: "/s", Type: "t"}},
		{"null is an absent attribute", object(`"subject":null`, `"time":null`, `"a":null`, `"data_base64":null`), small("", "")},

		{"JSON data is implied", object(`"data":{"a":1}`), small("application/json", `{"a":1}`)},
		{"JSON data, byte for byte", object(asJSON, `"data" : `+exactData+"\n"), small("application/json", exactData)},
		{"JSON data ahead of its content type", object(`"data":`+exactData, `"datacontenttype":"application/vnd.a+json; charset=utf-8"`), small("application/vnd.a+json; charset=utf-8", exactData)},
		{"JSON data that is a string", object(asJSON, `"data":"\u0061"`), small("application/json", `"\u0061"`)},
		{"JSON data that is a number", object(asJSON, `"data":-1.50E+400`), small("application/json", `-1.50E+400`)},
		{"JSON data that is null", object(asJSON, `"data":null`), small("application/json", `null`)},
		{"JSON data that is false", object(`"data":false`), small("application/json", `false`)},
		{"text", object(asText, `"data":"\u0061\n\u0000\"é😀"`), small("text/plain", "a\n\x00\"é😀")},
		{"text of no length", object(asText, `"data":""`), small("text/plain", "")},
		{"no text", object(asText, `"data":null`), small("text/plain", "")},
		{"text ahead of its content type", object(`"data":"{}"`, asText), small("text/plain", "{}")},
		{"base64", object(`"datacontenttype":"image/png"`, `"data_base64":"iVBO\u0052w=="`), small("image/png", "\x89PNG")},
		{"base64 without a content type", object(`"data_base64":"AP8="`), small("", "\x00\xff")},
		{"JSON in base64 keeps the white space around it, too", object(asJSON, `"data_base64":"IHt9Cg=="`), small("application/json", " {}\n")},
		{"base64 of nothing", object(`"data_base64":""`), small("", "")},
		{"base64 beside no data", object(asJSON, `"data_base64":"MQ=="`), small("application/json", "1")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.ParseStructured([]byte(tt.body))
			wantEvent(t, "parsed", got, err, tt.want)
			checkCodecs(t, tt.want)
		})
	}
}

// refused is what no reader of single events and of batches may accept.
func refused() []struct{ name, body, want string } {
	deep := strings.Repeat("[", 100_000)
	return []struct{ name, body, want string }{
		{"nothing", "", "ends too early"},
		{"white space", " \n", "ends too early"},
		{"not JSON", "hello", "not JSON"},
		{"not an object", `"hello"`, "JSON object"},
		{"null", `null`, "JSON object"},
		{"an array", `[]`, "JSON object"},
		{"an object that ends too early", object()[:30], "ends too early"},
		{"an object without its end", strings.TrimSuffix(object(), "}"), "ends too early"},
		{"a comma too many", strings.TrimSuffix(object(), "}") + ",}", "not JSON"},
		{"a comma too few", `{"specversion":"1.0" "id":"1"}`, "not JSON"},
		{"a name without quotes", `{specversion:"1.0"}`, "not JSON"},
		{"a number for a name", `{1:"1.0"}`, "not JSON"},
		{"not UTF-8 in an attribute", object("\"a\":\"\xff\""), "UTF-8"},
		{"not UTF-8 in JSON data", object("\"data\":{\"a\":\"\xc0\xa0\"}"), "UTF-8"},
		{"a byte order mark", "\ufeff" + object(), "not JSON"},
		{"a control character in a string", object("\"a\":\"\x01\""), "not JSON"},

		{"no version", `{"id":"1","source":"/s","type":"t"}`, "specversion is missing"},
		{"another version", `{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, "0.3"},
		{"a version that is null", `{"specversion":null,"id":"1","source":"/s","type":"t"}`, "specversion is missing"},
		{"a version that is a number", `{"specversion":1.0,"id":"1","source":"/s","type":"t"}`, "specversion"},
		{"no id, no source, no type", `{"specversion":"1.0"}`, "id is missing; attribute source is missing; attribute type is missing"},
		{"an id that is null", `{"specversion":"1.0","id":null,"source":"/s","type":"t"}`, "id is missing"},
		{"an id that is empty", `{"specversion":"1.0","id":"","source":"/s","type":"t"}`, `"id" is empty`},
		{"an id given twice", object(`"id":"2"`), `"id" is given twice`},
		{"an id given twice, once as null", object(`"id":null`), `"id" is given twice`},
		{"an id given twice, once with an escape", object(`"\u0069d":"2"`), `"id" is given twice`},
		{"an extension given twice", object(`"a":"1"`, `"a":"1"`), `"a" is given twice`},
		{"data given twice", object(`"data":1`, `"data":1`), `"data" is given twice`},
		{"base64 given twice", object(`"data_base64":"MQ=="`, `"data_base64":"MQ=="`), `"data_base64" is given twice`},
		{"data and base64", object(`"data":1`, `"data_base64":"MQ=="`), "both data and data_base64"},
		{"data that is null and base64", object(`"data":null`, `"data_base64":"MQ=="`), "both data and data_base64"},

		{"an object for an attribute", object(`"a":{}`), `"a" is neither`},
		{"an array for an attribute", object(`"a":[1]`), `"a" is neither`},
		{"a number with a fraction", object(`"a":1.0`), "32-bit integer"},
		{"a number with an exponent", object(`"a":1e2`), "32-bit integer"},
		{"a number that is too great", object(`"a":2147483648`), "32-bit integer"},
		{"a number of twenty digits", object(`"a":12345678901234567890`), "32-bit integer"},
		{"upper case in a name", object(`"Subject":"x"`), `"Subject" is not an attribute name`},
		{"an underscore in a name", object(`"a_b":"x"`), `"a_b" is not an attribute name`},
		{"no name", object(`"":"x"`), `"" is not an attribute name`},
		{"a control character", object(`"a":"x\ny"`), "U+000A"},
		{"a control character beyond ASCII", object(`"subject":"x\u0085"`), "U+0085"},
		{"delete", object(`"subject":"x\u007f"`), "U+007F"},
		{"a noncharacter", object(`"a":"\uffff"`), "U+FFFF"},
		{"half of a pair of surrogates in an attribute", object(`"a":"\ud800"`), "surrogate"},
		{"the other half, behind a letter", object(`"a":"x\uDFFF"`), "surrogate"},
		{"two first halves", object(`"a":"\ud83d\ud83d\ude00"`), "surrogate"},
		{"a half that another escape follows", object(`"a":"\ud83d\n"`), "surrogate"},
		{"half of a pair in text", object(`"datacontenttype":"text/plain"`, `"data":"\ud800"`), "surrogate"},
		{"a time that is none", object(`"time":"2026-03-01"`), "RFC 3339"},

		{"text that is an object", object(`"datacontenttype":"text/plain"`, `"data":{}`), "text/plain has to be a JSON string"},
		{"text that is a number", object(`"data":1`, `"datacontenttype":"text/plain"`), "text/plain has to be a JSON string"},
		{"base64 that is not", object(`"data_base64":"*"`), "not base64"},
		{"base64 of the URL alphabet", object(`"data_base64":"_-8="`), "not base64"},
		{"base64 without padding", object(`"data_base64":"AP8"`), "not base64"},
		{"base64 that is a number", object(`"data_base64":1`), "not a string"},
		{"JSON data that ends too early", `{"specversion":"1.0","data":{"a":`, "ends too early"},
		{"JSON data that is broken", object(`"data":{"a":01}`), "not JSON"},

		{"depth in the data", object(`"data":` + deep + strings.Repeat("]", len(deep))), "not JSON"},
		{"depth in the data that never ends", `{"specversion":"1.0","data":` + deep, "not JSON"},
		{"depth in an attribute", `{"a":` + deep, "not JSON"},
		{"depth instead of an event", deep, "JSON object"},
		{"depth of objects", strings.Repeat(`{"a":`, 100_000), "not JSON"},
	}
}

func TestParseStructuredRefuses(t *testing.T) {
	t.Parallel()
	cases := append(refused(), []struct{ name, body, want string }{
		{"something behind the event", object() + "x", "something follows"},
		{"another event behind it", object() + object(), "something follows"},
		{"a bracket behind it", object() + "]", "something follows"},
		{"a comma behind it", object() + ",", "something follows"},
		{"a byte of zero behind it", object() + "\x00", "something follows"},
		{"the beginning of something behind it", object() + ` "a`, "something follows"},
	}...)
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.ParseStructured([]byte(tt.body))
			wantInvalid(t, got, err, tt.want)
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("the error has %d bytes: %.300s…", len(err.Error()), err)
			}
		})
	}
}

func TestParseBatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body string
		want int
	}{
		{"[]", 0},
		{" [ \n ] ", 0},
		{"[" + object() + "]", 1},
		{"[ " + object(`"data":`+exactData) + "\n,\t" + object(`"a":1`) + "," + object() + " ]\n", 3},
	} {
		got, err := event.ParseBatch([]byte(tt.body))
		if err != nil || len(got) != tt.want {
			t.Errorf("%s: got %d events, %v, want %d", tt.body, len(got), err, tt.want)
			continue
		}
		if len(got) > 1 && string(got[0].Data) != exactData {
			t.Errorf("data of the first event: got %s", got[0].Data)
		}
	}
	for _, tt := range append(refused(), []struct{ name, body, want string }{
		{"a batch in a batch", "[]", "JSON object"},
	}...) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.ParseBatch([]byte("[" + object() + "," + object() + "," + tt.body))
			wantInvalid(t, got, err, "event 2: ", tt.want)
		})
	}
}

func TestParseBatchRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body, want string }{
		{"nothing", "", "JSON array"},
		{"one event", object(), "JSON array"},
		{"null", "null", "JSON array"},
		{"no end", "[" + object(), "does not end"},
		{"no end and nothing in it", "[", "does not end"},
		{"the wrong end", "[" + object() + "}", ""},
		{"a comma too many", "[" + object() + ",]", "event 1: "},
		{"a comma too few", "[" + object() + object() + "]", "event 1: "},
		{"a comma only", "[,]", "event 0: "},
		{"something behind", "[" + object() + "]x", "something follows"},
		{"another batch behind", "[][]", "something follows"},
		{"depth", strings.Repeat("[", 100_000), "event 0: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := event.ParseBatch([]byte(tt.body))
			wantInvalid(t, got, err, tt.want)
		})
	}
}

func TestAppendStructured(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	for _, tt := range []struct{ name, contentType, data, want string }{
		{"no data", "", "", ``},
		{"no data of a type", "application/json", "", `,"datacontenttype":"application/json"`},
		{"JSON", "application/json", exactData, `,"datacontenttype":"application/json","data":` + exactData},
		{"JSON by default", "", `{"a":1}`, `,"data":{"a":1}`},
		{"JSON with a suffix and parameters", "Application/Problem+JSON; charset=utf-8", `1`, `,"datacontenttype":"Application/Problem+JSON; charset=utf-8","data":1`},
		{"JSON with white space around", "text/json", " 1\n", `,"datacontenttype":"text/json","data": 1` + "\n"},
		{"what claims to be JSON", "application/json", `{"a":`, `,"datacontenttype":"application/json","data_base64":"eyJhIjo="`},
		{"JSON with something behind it", "application/json", `{}{}`, `,"datacontenttype":"application/json","data_base64":"e317fQ=="`},
		{"what breaks out of the envelope", "application/json", `1,"id":"2"`, `,"datacontenttype":"application/json","data_base64":"MSwiaWQiOiIyIg=="`},
		{"JSON that is not UTF-8", "application/json", "\"\xff\"", `,"datacontenttype":"application/json","data_base64":"Iv8i"`},
		{"text", "text/plain", "a\"\\\n<é", `,"datacontenttype":"text/plain","data":"a\"\\\n\u003cé"`},
		{"text that is not UTF-8", "text/plain; charset=latin1", "\xe9", `,"datacontenttype":"text/plain; charset=latin1","data_base64":"6Q=="`},
		{"JSON that readers find too deep", "", deep, `,"data_base64":"W1tb`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := &event.Event{ID: "1", Source: "/s", Type: "t", DataContentType: tt.contentType, Data: []byte(tt.data)}
			got := string(e.AppendStructured([]byte("before ")))
			want := "before " + strings.TrimSuffix(object(), "}") + tt.want
			if !strings.HasPrefix(got, want) || tt.data != deep && got != want+"}" {
				t.Errorf("got\n%.300s\nwant\n%s}", got, want)
			}
			body := []byte(strings.TrimPrefix(got, "before "))
			if !json.Valid(body) {
				t.Errorf("not JSON: %.300s", body)
			}
			if _, err := event.ParseStructured(body); err != nil {
				t.Errorf("does not parse: %v", err)
			}
		})
	}
}

func TestAppendStructuredEscapesAttributes(t *testing.T) {
	t.Parallel()
	e := &event.Event{ID: `"`, Source: "/s", Subject: `\`, Type: "<é\u2028", Extensions: []event.Attribute{{Name: "a", Value: "\U0010fffd"}}}
	got, err := event.ParseStructured(e.AppendStructured(nil))
	wantEvent(t, "written and parsed", got, err, e)
}

func FuzzParseStructured(f *testing.F) {
	f.Add([]byte(object(`"data":` + exactData)))
	f.Add([]byte(object(`"a":-0`, `"subject":null`, `"datacontenttype":"text/plain"`, `"data":"\u0000"`)))
	f.Add([]byte(object(`"data_base64":"AP8="`, `"\u0061":"\ud83d\ude00"`)))
	f.Add([]byte(object(`"datacontenttype":"application/json"`, `"data_base64":"IHt9Cg=="`)))
	f.Add([]byte(`{"data":[[[[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := event.ParseStructured(body)
		if err != nil {
			wantInvalid(t, e, err)
			return
		}
		if !json.Valid(body) {
			t.Errorf("accepted what is not JSON")
		}
		if err := e.Validate(); err != nil {
			t.Errorf("accepted what is not valid: %v", err)
		}
		checkCodecs(t, e)
	})
}

func FuzzParseBatch(f *testing.F) {
	f.Add([]byte(`[]`))
	f.Add([]byte("[" + object() + "," + object(`"data":`+exactData) + "]"))
	f.Add([]byte("[" + object() + ",]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := event.ParseBatch(body)
		if err != nil {
			wantInvalid(t, events, err)
			return
		}
		var elements []json.RawMessage
		if err := json.Unmarshal(body, &elements); err != nil || len(elements) != len(events) {
			t.Fatalf("got %d events of %d elements, %v", len(events), len(elements), err)
		}
		for i, element := range elements {
			got, err := event.ParseStructured(element)
			wantEvent(t, fmt.Sprintf("event %d by itself", i), got, err, events[i])
		}
	})
}
