package strict_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/subscription/strict"
)

func TestReadsAsWritten(t *testing.T) {
	t.Parallel()
	members, err := strict.Object(json.RawMessage(` {"b": 1.0, "a": {"x":[ ]}} `))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]strict.Member{{Name: "b", Value: json.RawMessage(`1.0`)}, {Name: "a", Value: json.RawMessage(`{"x":[ ]}`)}}, members); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
	elements, err := strict.Array(json.RawMessage(`[1.0, null]`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]json.RawMessage{json.RawMessage(`1.0`), json.RawMessage(`null`)}, elements); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	value, err := strict.Value([]byte(`{"a":[12345678901234567890.10,null]}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": []any{json.Number("12345678901234567890.10"), nil}}, value); diff != "" {
		t.Errorf("value (-want +got):\n%s", diff)
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	object := func(raw string) error { _, err := strict.Object(json.RawMessage(raw)); return err }
	array := func(raw string) error { _, err := strict.Array(json.RawMessage(raw)); return err }
	value := func(raw string) error { _, err := strict.Value([]byte(raw)); return err }
	for _, c := range []struct {
		name, raw string
		read      func(string) error
		want      string
	}{
		{"a name that comes twice", `{"a":1,"b":2,"a":1}`, object, `has "a" twice`},
		{"a name that comes twice further in", `[{"a":{"b":1,"b":1}}]`, value, `has "b" twice`},
		{"a long name that comes twice", `{"` + strings.Repeat("é", 100) + `":1,"` + strings.Repeat("é", 100) + `":1}`, object, `has "` + strings.Repeat("é", 40) + `…" twice`},
		{"another kind", `"x"`, object, "must be an object, not a string"},
		{"null", `null`, array, "must be an array, not null"},
		{"the end is missing", `{"a":1`, object, "is not valid JSON: it ends too early"},
		{"nothing at all", ` `, value, "is not valid JSON: it ends too early"},
		{"not JSON", `{"a":}`, object, "is not valid JSON: invalid character '}'"},
		{"something behind it", `{} {}`, object, "has something after its end"},
		{"something behind a list", `[]]`, array, "has something after its end"},
		{"something behind a value", `1 2`, value, "has something after its end"},
		{"too deep", strings.Repeat("[", 33), value, "is nested deeper than 32 levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if err := c.read(c.raw); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %s …", c.raw, err, c.want)
			}
		})
	}
}

func FuzzValue(f *testing.F) {
	f.Add(`{"a":[1,null,"x"]}`)
	f.Add(`{"a":1,"a":2}`)
	f.Fuzz(func(t *testing.T, raw string) {
		value, err := strict.Value([]byte(raw))
		if !json.Valid([]byte(raw)) {
			if err == nil {
				t.Fatalf("%q is not JSON, and is read as %v", raw, value)
			}
			return
		}
		if members, isObject := value.(map[string]any); err == nil && isObject {
			if found, err := strict.Object(json.RawMessage(raw)); err != nil || len(found) != len(members) {
				t.Fatalf("%q has %d members, and read alone %d: %v", raw, len(members), len(found), err)
			}
		}
	})
}
