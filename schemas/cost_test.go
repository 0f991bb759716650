package schemas_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

// doubled is a schema whose references double with each level, in 1.4 KB for 20: keyword
// is where they are, member what leads to the next level; empty: the same value.
func doubled(levels int, keyword, member string) string {
	var b strings.Builder
	next := func(level int) string {
		return fmt.Sprintf(`{%q:[{"$ref":"#/$defs/a%d"},{"$ref":"#/$defs/a%d"}]}`, keyword, level, level)
	}
	b.WriteString(`{"$ref":"#/$defs/a0","$defs":{`)
	for level := range levels {
		inner := next(level + 1)
		if member != "" {
			inner = fmt.Sprintf(`{"properties":{%q:%s}}`, member, inner)
		}
		fmt.Fprintf(&b, `"a%d":%s,`, level, inner)
	}
	fmt.Fprintf(&b, `"a%d":{"type":["object","integer"]}}}`, levels)
	return b.String()
}

// deep is {"a":{"a":… 1}}.
func deep(levels int) string {
	return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
}

// A schema that needs too much for any value is refused with the place, at once, whatever
// leads to so many evaluations.
func TestCostlySchemas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, schema, want string }{
		{"all of", doubled(20, "allOf", ""), "made.schema.json: made.schema.json#/$defs/a1"},
		{"any of", doubled(26, "anyOf", ""), "needs more than 1000 evaluations of schemas to check one value"},
		{"one of", doubled(1000, "oneOf", ""), "needs more than 1000 evaluations"},
		{"a pattern", `{"pattern":"` + strings.Repeat("(a{100}b{100}){5}", 20) + `"}`, "is a regular expression of"},
		{"a pattern of names", `{"patternProperties":{"` + strings.Repeat("[a-z]{1000}", 20) + `":{}}}`, "a name that is not allowed"},
	} {
		_, err := schemas.NewDomain("orders", bundle("made.schema.json", tt.schema, "made.example.json", "1"))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for name, schema := range map[string]string{
		"some levels": doubled(7, "allOf", ""), "a tree": `{"properties":{"left":{"$ref":"#"},"right":{"$ref":"#"}}}`,
		"a pattern":      `{"pattern":"^[a-z0-9]{1,200}(\\.[a-z0-9]{1,40})*$"}`,
		"doubled inside": doubled(20, "allOf", "a"), // it depends on the data
	} {
		if _, err := schemas.NewDomain("orders", bundle("made.schema.json", schema, "made.example.json", `{}`)); err != nil && !strings.Contains(err.Error(), "made.example.json") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Data that would take too long to validate is refused in bounded work, with the reason,
// and stored with a warning where the domain warns. Other data of the same schema is
// validated.
func TestValidationBudget(t *testing.T) {
	t.Parallel()
	tree := `{"properties":{"a":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}},"type":["object","integer"]}`
	names := `{"patternProperties":{"^[a-z]{1,900}x":{},"^[a-y]{1,900}z":{}}}`
	long := `{"` + strings.Repeat("a", 300<<10) + `":1}`
	for _, tt := range []struct{ name, schema, costly, fine string }{
		{"recursion", tree, deep(100), deep(5)},
		{"levels", doubled(30, "allOf", "a"), deep(30), deep(5)},
		{"a pattern", `{"type":"string","pattern":"^(a|b|[a-z]{1,900})*x$"}`, `"` + strings.Repeat("a", 200<<10) + `"`, `"aax"`},
		{"names", names, long, `{"a":1}`},
	} {
		for _, validation := range []string{"enforce", "warn"} {
			d, err := schemas.NewDomain("orders", bundle("domain.json", `{"name":"orders","validation":"`+validation+`"}`, "made.schema.json", tt.schema, "made.example.json", tt.fine))
			if err != nil {
				t.Fatal(err)
			}
			problems := d.Types[0].CheckData([]byte(tt.costly))
			if len(problems) != 1 || !strings.Contains(problems[0].Message, "takes more than the") {
				t.Errorf("%s: got %v", tt.name, problems)
			}
			if problems := d.Types[0].CheckData([]byte(tt.fine)); len(problems) > 0 {
				t.Errorf("%s: got %v", tt.name, problems)
			}
		}
	}
}

// What ordinary data takes is within the budget, also where there is much of it.
func TestValidationBudgetIsEnough(t *testing.T) {
	t.Parallel()
	item := `{"$ref":"#/$defs/item"}`
	schema := `{"type":"object","properties":{"items":{"type":"array","items":` + item + `},"n":{"type":"array","items":{"type":"integer","minimum":0}}},"$defs":{"item":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},"name":{"$ref":"#/$defs/name"},"parent":{"anyOf":[{"type":"null"},` + item + `]}},"additionalProperties":false},"name":{"type":"string","maxLength":100,"pattern":"^[a-z -]*$"}}}`
	d := domain(t, "made.schema.json", schema, "made.example.json", `{"items":[{"id":1,"name":"a"}]}`)
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, `{"id":%d,"name":"some name","parent":{"id":1,"parent":null}},`, i)
	}
	for name, data := range map[string]string{
		"objects": `{"items":[` + strings.TrimSuffix(b.String(), ",") + `]}`,
		"numbers": `{"n":[` + strings.TrimSuffix(strings.Repeat("1,", 400_000), ",") + `]}`,
	} {
		if problems := d.Types[0].CheckData([]byte(data)); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	catalogue, err := schemas.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range catalogue.Types() {
		for _, example := range known.Examples {
			if problems := known.CheckData(example.Data); len(problems) > 0 {
				t.Errorf("%s: %v", known.Name, problems)
			}
		}
	}
}

// FuzzCostlySchemas looks for schemas and data that take many steps although they were
// found to take few: the validator must come to an end.
func FuzzCostlySchemas(f *testing.F) {
	f.Add(doubled(8, "allOf", ""), `{}`)
	f.Add(doubled(30, "anyOf", "a"), deep(20))
	f.Add(`{"properties":{"a":{"allOf":[{"$ref":"#"},{"$ref":"#"}]}}}`, deep(40))
	f.Add(`{"items":{"oneOf":[{"$ref":"#"},{"not":{"$ref":"#"}}]},"uniqueItems":true}`, `[[[[[[[[[[[[1]]]]]]]]]]]]`)
	f.Add(`{"patternProperties":{"a{1,900}":{"$ref":"#"}},"additionalProperties":{"$ref":"#"}}`, `{"aa":{"b":{"a":1}}}`)
	f.Fuzz(func(t *testing.T, schema, data string) {
		if len(schema)+len(data) > 8192 {
			return
		}
		for _, example := range []string{data, "{}", "[]", "1", `"a"`, "null"} {
			d, err := schemas.NewDomain("orders", bundle("made.schema.json", schema, "made.example.json", example))
			if err == nil {
				d.Types[0].CheckData([]byte(data)) // must come to an end
				return
			}
		}
	})
}

// A domain that was registered before there was a budget goes on: it is read, its types
// accept what can be checked, and refuse what cannot.
func TestCostlySchemaThatIsStored(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	record, err := json.Marshal(map[string]any{"format": 1, "updated_at": "2026-01-31T12:00:00Z", "files": bundle(
		"domain.json", `{"name":"orders"}`, "made.schema.json", doubled(26, "allOf", ""), "made.example.json", "1", "cheap.schema.json", `{"type":"integer"}`, "cheap.example.json", "1",
	)})
	if err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, server)
	if _, err := p.js.Publish(t.Context(), server.Layout.CatalogKey("orders"), record); err != nil {
		t.Fatal(err)
	}
	catalogue := synced(t, p)
	if broken := catalogue.Broken(); len(broken) > 0 {
		t.Fatalf("broken: %v", broken[0].Err)
	}
	if err := catalogue.Validate(&event.Event{ID: "1", Source: "/s", Type: "orders.cheap", Data: []byte("5")}); err != nil {
		t.Error(err)
	}
	err = catalogue.Validate(&event.Event{ID: "1", Source: "/s", Type: "orders.made", Data: []byte("5")})
	if _, ok := errors.AsType[*schemas.ValidationError](err); !ok || !strings.Contains(err.Error(), "takes more than the") {
		t.Errorf("got %v", err)
	}
}
