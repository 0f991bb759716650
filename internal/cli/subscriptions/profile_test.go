package subscriptions

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/testkit"
)

// The flags of a subscription's profile, template, rate and handshake.
func TestProfileFlags(t *testing.T) {
	t.Parallel()
	template, token := testkit.File(t, "body.tmpl", `{"text":"{{.data.name}}"}`), testkit.File(t, "token.txt", "s3cr3t-token\n")
	f := fields{Secret: "@" + token, profileFields: profileFields{
		Setting: map[string]string{"a": "1=2"}, Template: template, TemplateSecret: []string{"one=@" + token, "two=x=y"},
		Method: "delete", Handshake: "required", HandshakeRate: new(60), Rate: new(0.5),
	}}
	got, err := f.document(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"secret": "s3cr3t-token", "settings": map[string]any{"a": "1=2"},
		"template": map[string]any{
			"payload": `{"text":"{{.data.name}}"}`, "secrets": map[string]any{"one": "s3cr3t-token", "two": "x=y"},
		},
		"handshake": map[string]any{"mode": "required", "rate": 60}, "delivery": map[string]any{"rate": 0.5},
		"endpoint": map[string]any{"method": "DELETE"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Over a file.
	f = fields{
		File:          testkit.File(t, "sub.json", `{"settings":{"a":"1","b":"2"},"template":{"payload":"x","secrets":{"k":"[secret]"}},"delivery":{"max_in_flight":3}}`),
		profileFields: profileFields{Setting: map[string]string{"b": "3"}, TemplateSecret: []string{"l=v"}, Rate: new(0.0)},
	}
	if got, err = f.document(nil); err != nil {
		t.Fatal(err)
	}
	if delivery, ok := got["delivery"].(map[string]any); !ok || len(delivery) != 2 || delivery["rate"] != 0.0 {
		t.Errorf("got %v", got["delivery"])
	}
	if diff := cmp.Diff(map[string]any{"a": "1", "b": "3"}, got["settings"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"payload": "x", "secrets": map[string]any{"k": "[secret]", "l": "v"}}, got["template"]); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []profileFields{{TemplateSecret: []string{"swordfish"}}, {TemplateSecret: []string{"a=@/no/file"}}, {Template: "/no/file"}} {
		if _, err := (&fields{profileFields: wrong}).document(nil); err == nil || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%+v: got error %v", wrong, err)
		}
	}
}

// A template is the same from every file.
func TestTemplateOfFiles(t *testing.T) {
	t.Parallel()
	for form, text := range testkit.TextForms("{\n  \"a\": {{ .data }}\n}\n") {
		body := map[string]any{}
		if err := (&profileFields{Template: testkit.File(t, "template", text)}).setFields(body, nil); err != nil {
			t.Fatal(err)
		}
		if got := body["template"].(map[string]any)["payload"]; got != "{\n  \"a\": {{ .data }}\n}\n" {
			t.Errorf("%s: the template is %q", form, got)
		}
	}
}
