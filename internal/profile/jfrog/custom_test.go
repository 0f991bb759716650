package jfrog_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/subscription"
)

const customData = `{"repo_key":"docker-local","tag":"1.0","size":12345678901234567890,"signed":true,"none":null,"ratio":1.50,` +
	`"note":"say \"hi\"\n\u00fc <&>","platforms":[{"architecture":"arm64","os":"linux"},{"architecture":"amd64","os":"linux"}],"labels":{"a b":"no","empty":[]}}`

func customEvent() *event.Event {
	return &event.Event{
		ID: "1", Source: vectorSource, Type: "docker.pushed", DataContentType: "application/json", Data: []byte(customData),
		Extensions: []event.Attribute{{Name: "authid", Value: "jo"}, {Name: "authtype", Value: "api_key"}},
	}
}

// customSub is a subscription of a payload and a content type, with two secrets.
func customSub(payload, contentType string) *subscription.Subscription {
	sub := &subscription.Subscription{
		ID: "hook", Profile: "jfrog-custom", Types: []string{"docker.*"}, Settings: map[string]string{jfrog.SettingOrigin: "https://acme.jfrog.io"},
		Endpoint: subscription.Endpoint{URL: "https://example.com/{{ .data.tag }}", Method: http.MethodPost},
		Template: subscription.Template{Payload: payload, Secrets: map[string]keyring.Secret{
			"token": keyring.NewSecret("s3cr3t"), "odd": keyring.NewSecret("a\"b\\c\r\nX-Injected: 1"),
		}},
	}
	if contentType != "" {
		sub.Endpoint.Headers = map[string]string{"content-type": contentType}
	}
	return sub
}

func TestPayload(t *testing.T) {
	t.Parallel()
	const text = "text/plain"
	for _, tt := range []struct{ name, contentType, payload, want string }{
		{"no value", "", `{"a":1}`, `{"a":1}`},
		{"texts", text, "{{ .data.repo_key }}/{{.data.tag}} {{\t.event_type\n}} {{ .type }} {{ .domain }} {{ .jpd_origin }}", "docker-local/1.0 pushed pushed docker https://acme.jfrog.io"},
		{"numbers by their digits", text, "{{ .data.size }} {{ .data.ratio }} {{ .data.signed }}", "12345678901234567890 1.50 true"},
		{"what is not there", text, "[{{ .data.missing }}{{ .data.none }}{{ .data.tag.x }}{{ .data.platforms.os }}]{{ json .data.missing }} {{ yaml .data.missing }} {{ json .data.none }}", "[]null null null"},
		{"an object where a text is wanted", text, "{{ .data.labels }}", `{"a b":"no","empty":[]}`},
		{"JSON", "", `{"all":{{ json .data.platforms }},"n":{{ json .data.size }},"s":{{ json .data.note }},"r":{{ json .event_type }}}`, `{"all":[{"architecture":"arm64","os":"linux"},{"architecture":"amd64","os":"linux"}],"n":12345678901234567890,"s":"say \"hi\"\n\u00fc <&>","r":"pushed"}`},
		{"all data", "", `{{ json .data }}`, customData},
		{"the user", text, "{{ .userContext.id }} {{ .userContext.isToken }} {{ .userContext.realm }} {{ json .userContext }}", `jo true internal {"id":"jo","isToken":true,"realm":"internal"}`},
		{"a secret", text, "{{ .secrets.token }} {{ json .secrets.odd }}", `s3cr3t "a\"b\\c\r\nX-Injected: 1"`},
		{"inside a JSON string", "", `{"text":"{{ .data.note }}","secret": "x {{ .secrets.odd }}\"","json":"{{ json .data.labels }}","yaml":"{{ yaml .data.labels }}"}`, `{"text":"say \"hi\"\nü \u003c\u0026\u003e","secret": "x a\"b\\c\r\nX-Injected: 1\"","json":"{\"a b\":\"no\",\"empty\":[]}","yaml":"\"a b\": \"no\"\nempty: []"}`},
		{"inside a key", "", `{"{{ .data.note }}":1}`, `{"say \"hi\"\nü \u003c\u0026\u003e":1}`},
		{"in quotes of a text", text, `"{{ .data.note }}"`, "\"say \"hi\"\nü <&>\""},
		{"in quotes of what is no JSON", "", `said "{{ .data.note }}"`, "said \"say \"hi\"\nü <&>\""},
		{"trim markers", text, "a \n{{- .data.tag -}}\t b {{- .data.tag }} c {{ .data.tag -}} ", "a" + "1.0" + "b" + "1.0 c 1.0"},
		{"no trim marker", text, "a {{ .data.missing }} b }} c", "a  b }} c"},
		{"YAML", "application/yaml", "all:\n  {{ yaml .data }}\nend: {{ yaml .data.tag }}", `all:
  repo_key: docker-local
  tag: "1.0"
  size: 12345678901234567890
  signed: true
  none: null
  ratio: 1.50
  note: "say \"hi\"\nü <&>"
  platforms:
    - architecture: arm64
      os: linux
    - architecture: amd64
      os: linux
  labels:
    "a b": "no"
    empty: []
end: "1.0"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sub := customSub(tt.payload, tt.contentType)
			if found := (jfrog.Custom{}).Traits().Check(sub); len(found) > 0 {
				t.Fatalf("refused: %v", found)
			}
			h, got, err := render(t, jfrog.Custom{}, sub, customEvent())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(got)); diff != "" {
				t.Errorf("body differs (-want +got):\n%s", diff)
			}
			kind := tt.contentType
			if kind == "" {
				kind = "application/json"
				if strings.HasPrefix(tt.payload, "{") && !json.Valid(got) {
					t.Errorf("%q is not JSON", got)
				}
			}
			if got := h.Get("Content-Type"); got != kind {
				t.Errorf("got content type %q, want %q", got, kind)
			}
		})
	}
}

// What the platform's templates cannot do is refused when it is saved, with the
// place and the reason.
func TestTemplateRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ payload, want string }{
		{"{{ if .data.a }}x{{ end }}", `line 1, column 4: "if": conditions, loops and definitions are not supported`},
		{"a\nbü {{ range .data.a }}", `line 2, column 7: "range": conditions, loops and definitions are not supported`},
		{"{{else}}", `line 1, column 3: "else": conditions`},
		{"{{ with .data }}", `line 1, column 4: "with": conditions`},
		{`{{ define "x" }}`, `line 1, column 4: "define": conditions`},
		{"{{ .data.a | json }}", `line 1, column 12: "|": pipelines are not supported`},
		{"{{ json .data|print }}", `line 1, column 9: ".data|print": a path is made of`},
		{"{{/* a */}}", `line 1, column 3: "/*": comments are not supported`},
		{"{{ $x := .data }}", `line 1, column 4: "$x": variables are not supported`},
		{`{{ "a" }}`, `line 1, column 4: "\"a\"": constants are not supported`},
		{`{{ 1 }}`, `line 1, column 4: "1": constants are not supported`},
		{`{{ (json .data) }}`, `line 1, column 4: "(json": parentheses are not supported`},
		{"{{ printf .data.a }}", `line 1, column 4: "printf": is no function`},
		{"{{ toJson .data }}", `line 1, column 4: "toJson": is no function`},
		{"{{ data.a }}", `line 1, column 4: "data.a": is no function`},
		{"{{ json }}", "line 1, column 9: json needs a value"},
		{"{{ json json .data }}", `line 1, column 9: "json": is no function`},
		{"{{ yaml .data .domain }}", `line 1, column 15: ".domain": one value`},
		{"{{}}", "line 1, column 3: the action is empty"},
		{"{{ - }}", `line 1, column 4: "-": is no function`},
		{"{{ . }}", `line 1, column 4: ".": a path is made of`},
		{"{{ .data. }}", `line 1, column 9: ".data.": a path is made of`},
		{"{{ .data..a }}", `line 1, column 9: ".data..a": a path is made of`},
		{"{{ .data.#.os }}", `line 1, column 9: ".data.#.os": a path is made of`},
		{"{{ .data.0 }}", `line 1, column 9: ".data.0": a path is made of`},
		{"{{ .data.@this }}", `line 1, column 9: ".data.@this": a path is made of`},
		{"{{ .Data.a }}", `line 1, column 4: ".Data.a": a value begins with`},
		{"{{ .source }}", `line 1, column 4: ".source": a value begins with`},
		{"{{ .domain.a }}", `line 1, column 4: ".domain.a": .domain is a text`},
		{"{{ .secrets }}", `line 1, column 4: ".secrets": a secret is taken by its name`},
		{"{{ json .secrets }}", `line 1, column 9: ".secrets": a secret is taken by its name`},
		{"{{ .secrets.token.x }}", `line 1, column 4: ".secrets.token.x": a secret is taken by its name`},
		{"{{ .secrets.password }}", `line 1, column 4: ".secrets.password": there is no secret of that name`},
		{"a {{ .data.a }", "line 1, column 3: the action is not closed"},
		{"{{ " + strings.Repeat("ü", 100) + " }}", `…": is no function`},
	} {
		found := (jfrog.Custom{}).Traits().Check(customSub(tt.payload, ""))
		if len(found) != 1 || found[0].Field != "template.payload" || !strings.Contains(found[0].Message, tt.want) {
			t.Errorf("%s: got %v, want %s", tt.payload, found, tt.want)
		}
		if _, err := (jfrog.Custom{}).Prepare(customSub(tt.payload, "")); err == nil {
			t.Errorf("%s is prepared", tt.payload)
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	sub := customSub(`{}`, "")
	sub.Endpoint.Headers = map[string]string{"x-repo": "{{ .data.repo_key }}-{{ .data.missing }}{{ .data.size }}", "x-plain": "}} a {", "Content-Type": "application/{{ .data.missing }}json", "x-note": "{{ json .data.note }}"}
	sub.Endpoint.SecretHeaders = map[string]keyring.Secret{"authorization": keyring.NewSecret("Bearer {{ .secrets.token }}")}
	if found := (jfrog.Custom{}).Traits().Check(sub); len(found) > 0 {
		t.Fatal(found)
	}
	h, _, err := render(t, jfrog.Custom{}, sub, customEvent())
	if err != nil {
		t.Fatal(err)
	}
	want := http.Header{
		"User-Agent": {"jetpost"}, "Content-Type": {"application/json"}, "X-Repo": {"docker-local-12345678901234567890"},
		"X-Plain": {"}} a {"}, "X-Note": {`"say \"hi\"\n\u00fc <&>"`}, "Authorization": {"Bearer s3cr3t"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers differ (-want +got):\n%s", diff)
	}
}

// Nothing that an event or a secret holds gets out of the header it is in, and no
// error shows it.
func TestHeaderInjection(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]string{"of an event": "{{ .data.note }}", "of a secret": "Bearer {{ .secrets.odd }}", "in YAML": "{{ yaml .data }}"} {
		sub := customSub(`{}`, "")
		sub.Endpoint.Headers = map[string]string{"x-value": header}
		h, body, err := render(t, jfrog.Custom{}, sub, customEvent())
		if err == nil || body != nil || len(h["X-Injected"]) > 0 {
			t.Errorf("%s: got %v, %q, %v, want an error", name, h, body, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, "X-Value") || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "Injected") || strings.Contains(text, "say") {
			t.Errorf("%s: error %q does not name the header, or shows its value", name, text)
		}
	}
}

// A fault in a secret header is reported without showing any of it.
func TestSecretHeaderFault(t *testing.T) {
	t.Parallel()
	sub := customSub(`{}`, "")
	sub.Endpoint.SecretHeaders = map[string]keyring.Secret{"x-key": keyring.NewSecret("abc{{hunter2}}")}
	found := (jfrog.Custom{}).Traits().Check(sub)
	if len(found) != 1 || found[0].Field != "endpoint.secret_headers.x-key" || strings.Contains(found[0].Message, "hunter2") || !strings.HasPrefix(found[0].Message, "line 1, column 6: ") {
		t.Errorf("got %v, want one problem that shows nothing", found)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	const envelope = `{"domain":"docker","event_type":"pushed","data":` + customData + `,"subscription_key":"hook","jpd_origin":"https://acme.jfrog.io","source":"` + vectorSource + `"}`
	for _, tt := range []struct{ method, payload, want, contentType string }{
		{http.MethodPost, "", envelope, "application/json"},
		{http.MethodPut, "", envelope, "application/json"},
		{http.MethodPatch, "", envelope, "application/json"},
		{http.MethodGet, "", "", ""},
		{http.MethodDelete, "", "", ""},
		{http.MethodGet, "{{ .data.tag }}", "1.0", "application/json"},
		{http.MethodDelete, "{{ .data.tag }}", "1.0", "application/json"},
	} {
		sub := customSub(tt.payload, "")
		sub.Endpoint.Method = tt.method
		h, body, err := render(t, jfrog.Custom{}, sub, customEvent())
		if err != nil || string(body) != tt.want || h.Get("Content-Type") != tt.contentType || h.Get(jfrog.HeaderAuth) != "" {
			t.Errorf("%s %q: got %q, %v, %v, want %q", tt.method, tt.payload, body, h, err, tt.want)
		}
	}
}

// The model takes what users of the original write.
func TestSavedTemplate(t *testing.T) {
	t.Parallel()
	traits := func(string) (subscription.Traits, bool) { return jfrog.Custom{}.Traits(), true }
	sub, err := subscription.Decode([]byte(`{"types":["docker.pushed"],"profile":"jfrog-custom",
		"endpoint":{"url":"https://example.com","method":"GET","headers":{"authorization":"Bearer {{ .secrets.token }}","content-type":"text/plain"}},
		"template":{"payload":"{{ .data.tag }}","secrets":{"token":"x"}},"settings":{"jpd_origin":"https://acme.jfrog.io"}}`), traits)
	if err != nil {
		t.Fatal(err)
	}
	sub.SetDefaultsOf(jfrog.Custom{}.Traits(), time.Now())
	if err := sub.Validate(subscription.Rules{Traits: traits}); err != nil {
		t.Error(err)
	}
	sub.Endpoint.Headers["x-token"], sub.Template.Payload = "{{ .secrets.tok }}", "{{ end }}"
	sub.Secrets = []subscription.SigningKey{{ID: "1", Secret: keyring.NewSecret("x")}}
	var got []string
	if invalid, ok := errors.AsType[*subscription.ValidationError](sub.Validate(subscription.Rules{Traits: traits})); ok {
		for _, p := range invalid.Problems {
			got = append(got, p.Field)
		}
	}
	if diff := cmp.Diff([]string{"secrets[0].secret", "template.payload", "endpoint.headers.x-token"}, got); diff != "" {
		t.Errorf("problems differ (-want +got):\n%s", diff)
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("{{ .data }}", 40)
	within := strings.Repeat("{{ .data.a }}", 499)
	sub := customSub(within, "")
	sub.Endpoint.Headers = map[string]string{"x-a": "{{ .data.a }}"}
	if found := (jfrog.Custom{}).Traits().Check(sub); len(found) > 0 {
		t.Errorf("500 values: %v", found)
	}
	sub.Endpoint.SecretHeaders = map[string]keyring.Secret{"x-b": keyring.NewSecret("{{ .data.a }}")}
	if found := (jfrog.Custom{}).Traits().Check(sub); len(found) != 1 || found[0].Field != "template" {
		t.Errorf("501 values: got %v, want one problem", found)
	}
	e := customEvent()
	e.Data = []byte(`{"a":"` + strings.Repeat("x", 30_000) + `"}`)
	deep := customEvent()
	deep.Data = []byte(strings.Repeat(`{"a":[`, 20_000) + strings.Repeat(`]}`, 20_000))
	for name, tt := range map[string]struct {
		sub   *subscription.Subscription
		event *event.Event
	}{
		"a body":        {customSub(many, ""), e},
		"deep YAML":     {customSub("{{ yaml .data }}", ""), deep},
		"a YAML string": {customSub(`{"a":"{{ yaml .data }}"}`, ""), deep},
	} {
		_, body, err := render(t, jfrog.Custom{}, tt.sub, tt.event)
		if err == nil || body != nil || !strings.Contains(err.Error(), "at most 1048576 bytes") {
			t.Errorf("%s: got %d bytes, %v, want an error", name, len(body), err)
		}
	}
	sub = customSub(`{}`, "")
	sub.Endpoint.Headers = map[string]string{"x-all": "{{ json .data }}"}
	if _, body, err := render(t, jfrog.Custom{}, sub, e); err == nil || body != nil || !strings.Contains(err.Error(), "header X-All: the template makes too much") {
		t.Errorf("a header: got %d bytes, %v, want an error", len(body), err)
	}
}

// Whatever a user saves and an event holds: no panic, nothing beyond the bound, a JSON
// payload stays JSON, and what is accepted renders.
func FuzzTemplate(f *testing.F) {
	for _, payload := range []string{`{"a":"{{ .data.note }}","b":{{ json .data }}}`, "{{- yaml .data -}}", `"\"{{ .data.a }}\\"`, "{{ .secrets.token }} {{ if }}"} {
		f.Add(payload, []byte(customData))
	}
	f.Add(`["{{ .data.a }}"]`, []byte(`{"a":"\ud800\u0000\"\\"}`))
	f.Fuzz(func(t *testing.T, payload string, data []byte) {
		sub := customSub(payload, "")
		found := (jfrog.Custom{}).Traits().Check(sub)
		renderer, err := jfrog.Custom{}.Prepare(sub)
		if (err == nil) != (len(found) == 0) {
			t.Fatalf("checked: %v, prepared: %v", found, err)
		}
		if renderer == nil || err != nil {
			return
		}
		e := customEvent()
		e.Data = data
		_, body, err := render(t, jfrog.Custom{}, sub, e)
		if err != nil {
			return
		}
		if len(body) > 1<<20 {
			t.Errorf("%d bytes", len(body))
		}
		// With every value inside a string, the body is JSON if the template is.
		if json.Valid([]byte(payload)) && !json.Valid(body) {
			t.Errorf("%q makes %q of %q", payload, body, data)
		}
	})
}

// A reader of YAML finds the same values.
func FuzzYAML(f *testing.F) {
	f.Add([]byte(customData))
	f.Add([]byte(`{"` + strings.Repeat("k", 2000) + `":{"a":1},"b":[{"` + strings.Repeat(`\u0001`, 300) + `":[1],"c":2}]}`))
	f.Add([]byte(`[{"a":[[1,[]],{}],"":"","b":{"c":["- x","# y","a: b"," z ","\u0085\u2028\ud83d\ude00\u0000","~","0x1f","1e3",".inf","=","<<","2001-01-01"]}},-0,1E400]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var want any
		if json.Unmarshal(data, &want) != nil {
			return
		}
		e := customEvent()
		e.Data = data
		_, body, err := render(t, jfrog.Custom{}, customSub("{{ yaml .data }}", "application/yaml"), e)
		if err != nil {
			return
		}
		var got yaml.Node
		if err := yaml.Unmarshal(body, &got); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		compareYAML(t, data, got.Content[0])
	})
}
