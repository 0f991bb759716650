package schemas_test

import (
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

// domain makes a domain of files: name, content, ….
func domain(tb testing.TB, files ...string) *schemas.Domain {
	tb.Helper()
	d, err := schemas.NewDomain("orders", bundle(files...))
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func bundle(files ...string) schemas.Files {
	made := schemas.Files{"domain.json": json.RawMessage(`{"name":"orders"}`)}
	for i := 0; i+1 < len(files); i += 2 {
		made[files[i]] = json.RawMessage(files[i+1])
	}
	return made
}

// withSchema is a domain with one event. Its example is what fits.
func withSchema(tb testing.TB, schema string) *schemas.Domain {
	tb.Helper()
	for _, example := range []string{"{}", "1", `"a"`, "[]", "null", "true", `{"a":1}`, `{"a":"x","b":"x"}`, "5", `"abc"`, "10", `"a@b.cd"`, "[1]", `["x"]`, `{"a":{"a":{}}}`} {
		d, err := schemas.NewDomain("orders", bundle("made.schema.json", schema, "made.example.json", example))
		if err == nil {
			return d
		}
		if strings.Contains(err.Error(), "made.schema.json: ") {
			tb.Fatal(err)
		}
	}
	tb.Fatalf("no example fits %s", schema)
	return nil
}

func places(found []schemas.Incompatibility) []string {
	var names []string
	for _, i := range found {
		names = append(names, strings.TrimPrefix(i.Place(), "made.schema.json"))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Every keyword, wider and narrower. Where a change narrows, the place is named.
func TestCompareSchemas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		old, new string
		want     string // places, with spaces between them; empty: compatible; with ~ those of notes
	}{
		{"the same", `{"type":"object","required":["a"]}`, `{"required":["a"],"type":"object"}`, ""},
		{"only words", `{"type":"object"}`, `{"type":"object","title":"T","description":"D","examples":[{}],"default":{},"deprecated":true,"x-team":"a"}`, ""},
		{"to everything", `{"type":"object"}`, `{}`, ""},

		{"a type more", `{"type":"string"}`, `{"type":["string","null"]}`, ""},
		{"integer to number", `{"type":"integer"}`, `{"type":"number"}`, ""},
		{"number to integer", `{"type":"number"}`, `{"type":"integer"}`, "#/type"},
		{"number to integer, of whole numbers only", `{"enum":[1,2.0]}`, `{"type":"integer","enum":[1,2,3]}`, ""},
		{"a type less", `{"type":["string","null"]}`, `{"type":"string"}`, "#/type"},
		{"a type where there was none", `{}`, `{"type":"object"}`, "#/type"},
		{"a type that the values had", `{"enum":["a","b"]}`, `{"type":"string","enum":["b","a"]}`, ""},

		{"a value more", `{"enum":["a"]}`, `{"enum":["a","b"]}`, ""},
		{"a value less", `{"enum":["a","b"]}`, `{"enum":["a"]}`, "#/enum"},
		{"const to enum", `{"const":"a"}`, `{"enum":["a","b"]}`, ""},
		{"enum to const", `{"enum":["a","b"]}`, `{"const":"a"}`, "#/const"},
		{"values where there were none", `{"type":"string"}`, `{"type":"string","enum":["a"]}`, "#/enum"},
		{"all booleans by name", `{"type":"boolean"}`, `{"enum":[true,false]}`, ""},
		{"null by name", `{"type":"null"}`, `{"const":null}`, ""},
		{"values without an enum any more", `{"enum":["a"]}`, `{"type":"string"}`, ""},
		{"equal numbers written differently", `{"enum":[1.0,20]}`, `{"enum":[1,2e1]}`, ""},

		{"a lower minimum", `{"type":"integer","minimum":5}`, `{"type":"integer","minimum":4}`, ""},
		{"a higher minimum", `{"type":"integer","minimum":4}`, `{"type":"integer","minimum":5}`, "#/minimum"},
		{"a minimum where there was none", `{"type":"integer"}`, `{"type":"integer","minimum":0}`, "#/minimum"},
		{"a minimum for what is no number", `{"type":"string"}`, `{"type":["string","integer"],"minimum":0}`, ""},
		{"exclusive to inclusive", `{"type":"number","exclusiveMinimum":0}`, `{"type":"number","minimum":0}`, ""},
		{"inclusive to exclusive", `{"type":"number","maximum":5}`, `{"type":"number","exclusiveMaximum":5}`, "#/exclusiveMaximum"},
		{"a lower maximum", `{"type":"number","maximum":5}`, `{"type":"number","maximum":4.999}`, "#/maximum"},
		{"big numbers stay exact", `{"type":"integer","maximum":9007199254740993}`, `{"type":"integer","maximum":9007199254740992}`, "#/maximum"},
		{"smaller steps", `{"type":"integer","multipleOf":10}`, `{"type":"integer","multipleOf":5}`, ""},
		{"other steps", `{"type":"integer","multipleOf":5}`, `{"type":"integer","multipleOf":10}`, "#/multipleOf"},
		{"steps of one for integers", `{"type":"integer"}`, `{"type":"number","multipleOf":1}`, ""},
		{"steps of a half for integers", `{"type":"integer"}`, `{"type":"number","multipleOf":0.5}`, ""},

		{"longer strings", `{"type":"string","maxLength":5}`, `{"type":"string","maxLength":6}`, ""},
		{"shorter strings", `{"type":"string","maxLength":5}`, `{"type":"string","maxLength":4}`, "#/maxLength"},
		{"strings that are not empty", `{"type":"string"}`, `{"type":"string","minLength":1}`, "#/minLength"},
		{"a least length of nothing", `{"type":"string"}`, `{"type":"string","minLength":0}`, ""},
		{"another pattern", `{"type":"string","pattern":"^a"}`, `{"type":"string","pattern":"^[a-c]"}`, "#/pattern"},
		{"no pattern any more", `{"type":"string","pattern":"^a"}`, `{"type":"string"}`, ""},
		{"a format", `{"type":"string"}`, `{"type":"string","format":"email"}`, "#/format"},

		{"a field required", `{"type":"object","properties":{"a":{}}}`, `{"type":"object","properties":{"a":{}},"required":["a"]}`, "#/required"},
		{"a field no longer required", `{"type":"object","required":["a"]}`, `{"type":"object"}`, ""},
		{"a field of another type", `{"properties":{"a":{"type":"integer"}}}`, `{"properties":{"a":{"type":"string"}}}`, "#/properties/a/type"},
		{"a field deep down", `{"properties":{"a":{"properties":{"b~/c":{"type":"integer"}}}}}`, `{"properties":{"a":{"properties":{"b~/c":{"type":"integer","maximum":1}}}}}`, "#/properties/a/properties/b~0~1c/maximum"},
		{"a field described for the first time", `{"type":"object"}`, `{"type":"object","properties":{"a":{"type":"string"}}}`, ""},
		{"a required field described for the first time", `{"type":"object","required":["a"]}`, `{"type":"object","properties":{"a":{"type":"string"}}}`, "#/properties/a/type"},
		{"a field that was anything", `{"properties":{"a":{"description":"any"}}}`, `{"properties":{"a":{"type":"string"}}}`, "#/properties/a/type"},
		{"a field that is not allowed any more", `{"type":"object"}`, `{"type":"object","properties":{"a":false}}`, "#/properties/a"},
		{"a field of a closed object", `{"type":"object","additionalProperties":false}`, `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, ""},
		{"a field no longer described", `{"properties":{"a":{"type":"string"}}}`, `{}`, "#/properties"},
		{"a field no longer described in a closed object", `{"properties":{"a":{"type":"string"}},"additionalProperties":false}`, `{"additionalProperties":false}`, "#/properties"},
		{"a field described by a pattern now", `{"properties":{"a":{"type":"string"}},"additionalProperties":false}`, `{"patternProperties":{"^a":{"type":"string"}},"additionalProperties":false}`, ""},
		{"an object closed", `{"type":"object"}`, `{"type":"object","additionalProperties":false}`, "#/additionalProperties"},
		{"an object opened", `{"type":"object","additionalProperties":false}`, `{"type":"object"}`, ""},
		{"other fields of a type", `{"type":"object","additionalProperties":{"type":["string","null"]}}`, `{"type":"object","additionalProperties":{"type":"string"}}`, "#/additionalProperties/type"},
		{"other fields of more types", `{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object","additionalProperties":{"type":["string","null"]}}`, ""},
		{"a field that was one of the others", `{"type":"object","additionalProperties":{"type":"string"}}`, `{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":{"type":"string"}}`, "#/properties/a/type"},
		{"a pattern of names", `{"type":"object"}`, `{"type":"object","patternProperties":{"^x-":{"type":"string"}}}`, "~#/patternProperties/^x-"},
		{"a pattern of names made wider", `{"type":"object","patternProperties":{"^x-":{"type":"string"}}}`, `{"type":"object","patternProperties":{"^x-":{"type":["string","null"]}}}`, ""},
		{"a pattern that meets a described field", `{"properties":{"xa":{"type":"integer"}},"additionalProperties":false}`, `{"patternProperties":{"^x":{"type":"string"}}}`, "#/patternProperties/^x/type"},
		{"fewer fields", `{"type":"object","maxProperties":3}`, `{"type":"object","maxProperties":2}`, "#/maxProperties"},
		{"as many fields as are required", `{"type":"object","required":["a","b"]}`, `{"type":"object","minProperties":2}`, ""},
		{"names of a form", `{"type":"object"}`, `{"type":"object","propertyNames":{"maxLength":3}}`, "~#/propertyNames"},
		{"names of a longer form", `{"type":"object","propertyNames":{"maxLength":2}}`, `{"type":"object","propertyNames":{"type":"string","maxLength":3}}`, ""},
		{"a field required by another", `{"type":"object"}`, `{"type":"object","dependentRequired":{"a":["b"]}}`, "~#/dependentRequired"},
		{"a field required by another, as before", `{"type":"object","dependentRequired":{"a":["b","c"]}}`, `{"type":"object","dependentRequired":{"a":["b"]}}`, ""},
		{"a form required by a field", `{"type":"object"}`, `{"type":"object","dependentSchemas":{"a":{"required":["b"]}}}`, "~#/dependentSchemas"},

		{"longer lists", `{"type":"array","maxItems":2}`, `{"type":"array","maxItems":3}`, ""},
		{"shorter lists", `{"type":"array"}`, `{"type":"array","maxItems":3}`, "#/maxItems"},
		{"lists of a type", `{"type":"array"}`, `{"type":"array","items":{"type":"string"}}`, "#/items/type"},
		{"lists of more types", `{"type":"array","items":{"type":"integer"}}`, `{"type":"array","items":{"type":"number"}}`, ""},
		{"no repeats", `{"type":"array"}`, `{"type":"array","uniqueItems":true}`, "#/uniqueItems"},
		{"a tuple", `{"type":"array","prefixItems":[{"type":"string"}],"items":false}`, `{"type":"array","prefixItems":[{"type":["string","null"]},{"type":"integer"}]}`, ""},
		{"a tuple made shorter", `{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}]}`, `{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"string"}}`, "#/items/type"},
		{"an item that must be there", `{"type":"array"}`, `{"type":"array","contains":{"const":1}}`, "~#/contains"},
		{"an item that must be there, as before", `{"type":"array","contains":{"const":1}}`, `{"type":"array","contains":{"const":1,"title":"one"},"maxItems":5}`, "#/maxItems"},

		{"a reference instead of the thing", `{"properties":{"a":{"type":"string","maxLength":3}}}`, `{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"string","maxLength":4}}}`, ""},
		{"a reference to something narrower", `{"properties":{"a":{"type":"string","maxLength":3}}}`, `{"properties":{"a":{"$ref":"#/$defs/a%20b"}},"$defs":{"a b":{"type":"string","maxLength":2}}}`, "#/$defs/a b/maxLength"},
		{"a reference and more", `{"$ref":"#/$defs/a","maxLength":2,"$defs":{"a":{"type":"string","maxLength":9}}}`, `{"type":"string","maxLength":5}`, ""},
		{"a tree", `{"type":"object","properties":{"a":{"$ref":"#"}}}`, `{"type":"object","properties":{"a":{"$ref":"#"},"b":{"type":"string"}}}`, ""},
		{"a tree with narrower leaves", `{"type":"object","properties":{"a":{"$ref":"#"},"b":{"type":"string"}}}`, `{"type":"object","properties":{"a":{"$ref":"#"},"b":{"type":"string","maxLength":2}}}`, "#/properties/b/maxLength"},
		{"an anchor", `{"properties":{"a":{"type":"string"}}}`, `{"properties":{"a":{"$ref":"#x"}},"$defs":{"x":{"$anchor":"x","type":"string"}}}`, "~#/properties/a"},

		{"parts put together", `{"allOf":[{"type":"string"},{"maxLength":3}]}`, `{"type":"string","maxLength":3}`, ""},
		{"parts taken apart", `{"type":"string","maxLength":3}`, `{"allOf":[{"type":"string"},{"maxLength":2}]}`, "#/allOf/1/maxLength"},
		{"or null", `{"type":"string"}`, `{"anyOf":[{"type":"null"},{"type":"string"}]}`, ""},
		{"or null, by reference", `{"properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"type":"object"}}}`, `{"properties":{"a":{"oneOf":[{"type":"null"},{"$ref":"#/$defs/a"}]}},"$defs":{"a":{"type":"object"}}}`, ""},
		{"types to forms", `{"type":["string","null"],"maxLength":3}`, `{"anyOf":[{"type":"null"},{"type":"string","maxLength":4}]}`, ""},
		{"values to forms", `{"enum":["a","b"]}`, `{"anyOf":[{"const":"a"},{"const":"b"}]}`, ""},
		{"a form more", `{"anyOf":[{"type":"string"},{"type":"integer"}]}`, `{"anyOf":[{"type":"integer"},{"type":"string"},{"type":"null"}]}`, ""},
		{"a form less", `{"anyOf":[{"type":"string"},{"type":"integer"}]}`, `{"anyOf":[{"type":"integer"}]}`, "#/anyOf"},
		{"a field added to a form", `{"oneOf":[{"type":"null"},{"type":"object","properties":{"a":{"type":"string"}}}]}`, `{"oneOf":[{"type":"null"},{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"string"}}}]}`, ""},
		{"forms that overlap", `{"oneOf":[{"required":["a"]},{"required":["b"]}]}`, `{"oneOf":[{"required":["a"]},{"required":["c"]}]}`, "~#/oneOf"},
		{"forms that overlap, as before", `{"oneOf":[{"required":["a"]},{"required":["b"]}]}`, `{"oneOf":[{"required":["a"],"title":"A"},{"required":["b"]}],"type":["object","array","string","number","boolean","null"]}`, ""},
		{"forms of fields that may be missing", `{"anyOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{"type":"string"}}}]}`, `{"anyOf":[{"properties":{"a":{"type":"integer"}}},{"properties":{"b":{"type":"integer"}}}]}`, "~#/anyOf"},
		{"what must not be", `{"type":"string"}`, `{"type":"string","not":{"const":"x"}}`, "~#/not"},
		{"what must not be, as before", `{"type":"string","not":{"const":"x"}}`, `{"type":["string","null"],"not":{"const":"x"}}`, ""},
		{"a condition", `{"type":"object"}`, `{"type":"object","if":{"required":["a"]},"then":{"required":["b"]}}`, "~#/if ~#/then"},
		{"a condition with another end", `{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"if":{"required":["a"]},"then":{"required":["b","c"]}}`, "~#/then"},
		{"closed over its parts", `{"allOf":[{"properties":{"a":{}}}]}`, `{"allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":false}`, "#/unevaluatedProperties"},
		{"closed over its parts, as before", `{"allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":false}`, `{"allOf":[{"properties":{"a":{"title":"A"}}}],"unevaluatedProperties":false,"title":"T"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			old, next := withSchema(t, tt.old), withSchema(t, tt.new)
			got := schemas.Compare(old, next)
			found := places(slices.DeleteFunc(slices.Clone(got.Incompatible), func(i schemas.Incompatibility) bool { return strings.Contains(i.File, "example") }))
			if strings.Contains(tt.want, "~") {
				for _, place := range places(got.Warnings) {
					found = append(found, "~"+place)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(found, " ")); diff != "" {
				t.Errorf("places (-want +got):\n%s%v", diff, got)
			}
			for _, i := range got.Incompatible {
				if i.File == "" || i.Message == "" {
					t.Errorf("says too little: %+v", i)
				}
			}
			if same := schemas.Compare(next, next); len(same.Incompatible)+len(same.Warnings)+len(same.Changed) > 0 {
				t.Errorf("the new version does not go with itself: %+v", same)
			}
		})
	}
}

func TestCompareDomains(t *testing.T) {
	t.Parallel()
	const object, text = `{"type":"object"}`, `{"type":"object","properties":{"m":{"$ref":"money.defs.json#/$defs/amount"}}}`
	created := func(more ...string) []string {
		return append([]string{"created.schema.json", object, "created.example.json", `{"a":1}`}, more...)
	}
	for _, tt := range []struct {
		name     string
		old, new []string
		want     []string // in the texts
	}{
		{"a type added", created(), created("paid.schema.json", object, "paid.example.json", "{}"), nil},
		{"a type removed", created("paid.schema.json", object, "paid.example.json", "{}"), created(), []string{"paid.schema.json is removed: the event type orders.paid would be refused"}},
		{"another prefix", created(), created("domain.json", `{"name":"orders","type_prefix":"com.example."}`), []string{"domain.json#/type_prefix is com.example., before orders."}},
		{"another description", created(), created("domain.json", `{"name":"orders","description":"D"}`), nil},
		{"enforced", created("domain.json", `{"name":"orders","validation":"warn"}`), created(), []string{"domain.json#/validation is enforce, before warn"}},
		{"no longer enforced, and anything goes", created(), created("domain.json", `{"name":"orders","validation":"off"}`, "created.schema.json", `{"type":"object","required":["b"]}`, "created.example.json", `{"b":1}`), nil},
		{"no longer open", created("domain.json", `{"name":"orders","open":true}`), created(), []string{"domain.json#/open is false"}},
		{"a type of an open domain gets a schema", []string{"domain.json", `{"name":"orders","open":true,"events":{"created":{}}}`}, created("domain.json", `{"name":"orders","open":true}`), []string{"created.schema.json holds the event to a schema, which it did not have so far"}},
		{"an open domain gets a type", []string{"domain.json", `{"name":"orders","open":true}`}, created("domain.json", `{"name":"orders","open":true}`), []string{"created.schema.json holds the event to a schema: the domain was open"}},
		{"a definition is narrower", created("created.schema.json", text, "money.defs.json", `{"$defs":{"amount":{"type":"number"}}}`), created("created.schema.json", text, "money.defs.json", `{"$defs":{"amount":{"type":"integer"}}}`), []string{"money.defs.json#/$defs/amount/type no longer accepts the type number"}},
		{"a definition is wider", created("created.schema.json", text, "money.defs.json", `{"$defs":{"amount":{"type":"integer"}}}`), created("created.schema.json", text, "money.defs.json", `{"$defs":{"amount":{"type":"number"}}}`), nil},
		{"a schema of another event is narrower", created("paid.schema.json", `{"$ref":"created.schema.json"}`, "paid.example.json", `{}`), created("created.schema.json", `{"type":"object","maxProperties":3}`, "paid.schema.json", `{"$ref":"created.schema.json"}`, "paid.example.json", `{}`), []string{"created.schema.json#/maxProperties is 3, less than before"}},
		{"an id instead of a name", created("created.schema.json", text, "money.defs.json", `{"$id":"https://example.com/s/money.defs.json","$defs":{"amount":{"type":"integer"}}}`), created("created.schema.json", `{"$id":"https://example.com/s/created","properties":{"m":{"$ref":"money.defs.json#/$defs/amount"}},"type":"object"}`, "money.defs.json", `{"$id":"https://example.com/s/money.defs.json","$defs":{"amount":{"type":"number"}}}`), nil},
		{"an example of old would be refused", created(), created("created.schema.json", `{"type":"object","properties":{"a":{"type":"string"}}}`, "created.example.json", `{"a":"1"}`), []string{"created.example.json#/a of the old version would be refused: it must be a string, is a number"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := schemas.Compare(domain(t, tt.old...), domain(t, tt.new...))
			var texts []string
			for _, i := range got.Incompatible {
				texts = append(texts, i.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(strings.Join(texts, "\n"), want) {
					t.Errorf("lacks %q: %q", want, texts)
				}
			}
			if len(texts) != len(tt.want) {
				t.Errorf("got %q", texts)
			}
		})
	}
}

// A new field is worth a warning, in a form of several as well.
func TestCompareWarns(t *testing.T) {
	t.Parallel()
	got := schemas.Compare(withSchema(t, `{"anyOf":[{"type":"null"},{"type":"object"}]}`), withSchema(t, `{"anyOf":[{"type":"null"},{"type":"object","properties":{"a":{"type":"integer"}}}]}`))
	if len(got.Incompatible) > 0 || len(got.Warnings) != 1 || got.Warnings[0].Field != "/anyOf/1/properties/a" {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([]string{"orders.made"}, got.Changed); diff != "" {
		t.Error(diff)
	}
}

// Schemas with very many forms are compared in bounded work.
func TestCompareIsBounded(t *testing.T) {
	t.Parallel()
	nested := func(leaf string) string {
		schema := leaf
		for range 9 {
			schema = `{"anyOf":[{"properties":{"a":` + schema + `}},{"properties":{"b":` + schema + `}}]}`
		}
		return schema
	}
	got := schemas.Compare(withSchema(t, nested(`{"type":"string"}`)), withSchema(t, nested(`{"type":"integer"}`)))
	if len(got.Incompatible)+len(got.Warnings) == 0 {
		t.Error("found compatible without a note")
	}
}

// FuzzCompare compares what it is given, which must come to an end and to the same in both
// runs; a version goes with itself.
func FuzzCompare(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}`, `{"type":"object","properties":{"a":{"type":"number","minimum":0}}}`, `{"a":1}`)
	f.Add(`{"enum":[1,"a",null]}`, `{"anyOf":[{"type":"null"},{"type":["integer","string"],"maxLength":1}]}`, `"a"`)
	f.Add(`{"prefixItems":[{"type":"string"}],"items":{"$ref":"#"}}`, `{"items":{"type":["array","string","null"]},"uniqueItems":true}`, `["a",[]]`)
	f.Add(`{"allOf":[{"required":["a"]},{"additionalProperties":{"type":"string"}}]}`, `{"patternProperties":{"^a":{"type":"string"}},"additionalProperties":{"type":["string"]},"minProperties":1}`, `{"a":"b"}`)
	f.Add(`{"oneOf":[{"type":"null"},{"type":"object"}]}`, `{"type":["object","null"],"dependentRequired":{"a":["b"]},"propertyNames":{"maxLength":3}}`, `{"a":1}`)
	f.Add(`{"not":{"type":"string"},"multipleOf":4}`, `{"not":{"type":"string"},"multipleOf":2,"if":{"const":1},"then":false}`, `8`)
	f.Fuzz(func(t *testing.T, old, next, data string) {
		if len(old)+len(next)+len(data) > 4096 {
			return
		}
		before, err := schemas.NewDomain("orders", bundle("made.schema.json", old, "made.example.json", data))
		if err != nil {
			return // among others because the data is refused
		}
		// Of the new version the schema alone, so that the example does not decide.
		files := bundle("made.schema.json", next, "made.example.json", data)
		after, err := schemas.NewDomain("orders", files)
		if err == nil {
			schemas.Compare(before, after) // must come to an end
			return
		}
		files["domain.json"] = json.RawMessage(`{"name":"orders"}`)
		for _, example := range []string{"{}", "[]", "1", `"a"`, "null", "true"} {
			files["made.example.json"] = json.RawMessage(example)
			if after, err = schemas.NewDomain("orders", files); err == nil {
				break
			}
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(schemas.Compare(before, after), schemas.Compare(before, after)); diff != "" {
			t.Error(diff)
		}
		if same := schemas.Compare(after, after); len(same.Incompatible)+len(same.Changed) > 0 {
			t.Errorf("does not go with itself: %+v", same)
		}
	})
}

func TestDecodeFiles(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"not JSON", `{"files":`, "is not valid JSON"},
		{"not an object", `[]`, "is not {\"files\""},
		{"no files", `{}`, "has no files"},
		{"another member", `{"files":{},"description":"x"}`, `unknown field "description"`},
		{"a file twice", `{"files":{"a":1,"a":2}}`, "/files/a is given twice"},
		{"a file that is nothing", `{"files":{"domain.json":null}}`, ""},
	} {
		_, err := schemas.DecodeFiles([]byte(tt.text))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestNewDomain(t *testing.T) {
	t.Parallel()
	d := domain(t, "created.schema.json", `{ "type" : "object" , "maximum": 1e2 }`, "created.example.json", `{"n":12345678901234567890.0, "html":"<&>"}`)
	if got := string(d.Types[0].Schema); got != `{"type":"object","maximum":1e2}` {
		t.Errorf("schema %s", got)
	}
	if got := string(d.Types[0].Examples[0].Data); got != `{"n":12345678901234567890.0,"html":"<&>"}` {
		t.Errorf("example %s", got)
	}
	for _, tt := range []struct {
		name  string
		files schemas.Files
		want  string
	}{
		{"no domain.json", schemas.Files{"a.schema.json": json.RawMessage("{}")}, "domain.json: is missing"},
		{"another name", bundle("domain.json", `{"name":"other"}`), "domain.json: has the name other in the folder orders"},
		{"a file of no kind", bundle("README.md", `{}`), "README.md: is none of domain.json"},
		{"a path", bundle("../a.schema.json", `{}`), "../a.schema.json: is none of"},
		{"null", bundle("domain.json", `null`), "domain.json: has no name"},
		{"a broken example", bundle("a.schema.json", `{"type":"object"}`, "a.example.json", `1`), "a.example.json: must be an object"},
		{"a reference out of the domain", bundle("a.schema.json", `{"$ref":"file:///etc/passwd"}`, "a.example.json", `1`), "nothing is fetched"},
		{"too large a file", bundle("a.defs.json", `{"x":"`+strings.Repeat("x", 300<<10)+`"}`), "a.defs.json: has 300 KiB"},
	} {
		if _, err := schemas.NewDomain("orders", tt.files); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// FuzzDecodeFiles: whatever comes in, an error says what is wrong with it, and what
// is accepted can be used.
func FuzzDecodeFiles(f *testing.F) {
	f.Add([]byte(`{"files":{"domain.json":{"name":"orders"},"a.schema.json":{"type":"object"},"a.example.json":{}}}`))
	f.Add([]byte(`{"files":{"domain.json":{"name":"orders","open":true,"events":{"a":{}}}}}`))
	f.Add([]byte(`{"files":{"domain.json":null,"a.schema.json":{"$ref":"b.defs.json#/$defs/c"},"b.defs.json":{"$defs":{"c":{"$ref":"#/$defs/c"}}}}}`))
	f.Add([]byte(`{"files":{"domain.json":[1,{"a":1e999}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		files, err := schemas.DecodeFiles(data)
		if err != nil {
			if files != nil || len(err.Error()) > 10_000 {
				t.Errorf("files with an error, or too long a one: %v", err)
			}
			return
		}
		d, err := schemas.NewDomain("orders", files)
		if err != nil {
			return
		}
		if again, err := schemas.NewDomain("orders", d.Files()); err != nil || len(schemas.Compare(d, again).Incompatible) > 0 {
			t.Errorf("its own files are refused: %v", err)
		}
		for _, typ := range d.Types {
			if typ.Schema == nil {
				continue
			}
			c, err := schemas.Load(folderOf(d))
			if err != nil {
				return // collides with a shipped domain
			}
			e := &event.Event{ID: "1", Source: "s", Type: typ.Name, Data: typ.Examples[0].Data}
			if err := c.Validate(e); err != nil {
				t.Errorf("an example is refused: %v", err)
			}
		}
	})
}

// folderOf is a domain as it would be in a folder.
func folderOf(d *schemas.Domain) fs.FS {
	files := fstest.MapFS{}
	for name, data := range d.Files() {
		files[name] = &fstest.MapFile{Data: data}
	}
	return files
}
