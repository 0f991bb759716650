package event_test

import (
	"testing"

	"github.com/jetpost/jetpost/event"
)

func TestIsJSON(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]bool{
		"":                                   true,
		"application/json":                   true,
		"application/json; charset=utf-8":    true,
		"application/json; utf-8":            true, // a parameter without a value
		"application/json;":                  true,
		"application/json ; charset = utf-8": true,
		"application/json; a=1; a=2":         true, // a parameter given twice
		`application/json; charset="utf`:     true,
		"application/json;version=1;=":       true,
		"Application/JSON":                   true,
		" application/json\t":                true,
		"text/json":                          true,
		"application/vnd.a+json":             true,
		"application/vnd.a+JSON; utf-8":      true,
		"application/x.json+json":            true,
		"application/json;charset=utf-8":     true,
		"application/ld+json":                true,

		"application/vnd.a.v1+json ; profile=\"x\"": true,

		"application/xml":                   false,
		"text/plain":                        false,
		"json":                              false,
		"+json":                             false,
		"vnd.a+json":                        false,
		"/json":                             false,
		"application/":                      false,
		"application/json/json":             false,
		"application/a json":                false,
		"application/jsonx":                 false,
		"application/xjson":                 false,
		"application/json-seq":              false,
		"application/x-ndjson":              false,
		"application/json+xml":              false,
		"application/json, text/plain":      false,
		"text/plain; a=application/json":    false,
		"application/jsonl":                 false,
		"image/svg+xml;x=/json":             false,
		"/":                                 false,
		";":                                 false,
		"text/plain; a=b/json":              false,
		"; application/json":                false,
		"application/\u017fon":              false,
		"application/json\n":                false,
		"application/vnd.a+json\x00":        false,
		"application/json application/json": false,
	} {
		if got := event.IsJSON(contentType); got != want {
			t.Errorf("%q: got %t, want %t", contentType, got, want)
		}
	}
}

func TestMediaType(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]string{
		"text/plain":                       "text/plain",
		"Text/HTML; charset=ISO-8859-4":    "text/html",
		"multipart/mixed; boundary":        "multipart/mixed",
		"application/cloudevents+json;utf": "application/cloudevents+json",
		"":                                 "",
		"text":                             "",
		"text plain":                       "",
		"text/":                            "",
		"text/plain text":                  "",
		"te(xt/plain":                      "",
	} {
		if got, ok := event.MediaType(contentType); got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %t, want %q", contentType, got, ok, want)
		}
	}
}
