package schemas_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/schemas"
)

// A maker makes random schemas and data of few words, so that they meet.
type maker struct{ *rand.Rand }

func (m maker) pick(words ...string) string { return words[m.IntN(len(words))] }

func (m maker) data(depth int) string {
	switch n := m.IntN(9); {
	case n < 4 || depth == 0:
		return m.pick("null", "true", "false", "0", "1", "2", "2.5", "-1", `""`, `"a"`, `"ab"`, `"abc"`, `"x-a"`)
	case n < 7:
		var members []string
		for _, name := range []string{"a", "b", "x-a"} {
			if m.IntN(2) == 0 {
				members = append(members, `"`+name+`":`+m.data(depth-1))
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	default:
		var items []string
		for range m.IntN(4) {
			items = append(items, m.data(depth-1))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
}

func (m maker) schemas(depth int) string {
	var all []string
	for range 1 + m.IntN(2) {
		all = append(all, m.schema(depth))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func (m maker) keyword(depth int) string {
	simple := []func() string{
		func() string {
			return `"type":` + m.pick(`"object"`, `"string"`, `"integer"`, `"number"`, `"array"`, `["string","null"]`, `["object","null"]`, `["object","integer"]`)
		},
		func() string { return `"enum":[` + m.data(1) + "," + m.data(1) + `]` },
		func() string { return `"const":` + m.data(1) },
		func() string {
			return `"` + m.pick("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") + `":` + m.pick("0", "1", "2", "2.5")
		},
		func() string { return `"multipleOf":` + m.pick("1", "2", "0.5") },
		func() string {
			return `"` + m.pick("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties") + `":` + m.pick("0", "1", "2")
		},
		func() string { return `"pattern":` + m.pick(`"^a"`, `"b$"`) },
		func() string { return `"required":` + m.pick(`["a"]`, `["b"]`, `["a","b"]`) },
		func() string { return `"dependentRequired":{"a":["b"]}` },
		func() string { return `"uniqueItems":true` },
		func() string { return `"additionalProperties":false` },
		func() string { return `"$ref":` + m.pick(`"#"`, `"#/$defs/a"`, `"#/$defs/b"`) },
	}
	if depth == 0 {
		return simple[m.IntN(len(simple))]()
	}
	switch m.IntN(22) {
	case 0, 1, 2, 3:
		return `"properties":{"` + m.pick("a", "b") + `":` + m.schema(depth-1) + `}`
	case 4:
		return `"properties":{"a":` + m.schema(depth-1) + `,"b":` + m.schema(depth-1) + `}`
	case 5:
		return `"patternProperties":{` + m.pick(`"^x-"`, `"a"`) + `:` + m.schema(depth-1) + `}`
	case 6:
		return `"additionalProperties":` + m.schema(depth-1)
	case 7:
		return `"items":` + m.schema(depth-1)
	case 8:
		return `"prefixItems":` + m.schemas(depth-1)
	case 9:
		return `"allOf":` + m.schemas(depth-1)
	case 10:
		return `"anyOf":` + m.schemas(depth-1)
	case 11:
		return `"oneOf":` + m.schemas(depth-1)
	case 12:
		return `"` + m.pick("not", "contains", "if", "then", "else", "propertyNames", "unevaluatedProperties", "unevaluatedItems") + `":` + m.schema(depth-1)
	case 13:
		return `"dependentSchemas":{"a":` + m.schema(depth-1) + `}`
	default:
		return simple[m.IntN(len(simple))]()
	}
}

func (m maker) schema(depth int) string {
	if m.IntN(12) == 0 {
		return m.pick("true", "false")
	}
	seen := map[string]bool{}
	var keywords []string
	for range m.IntN(4) {
		k := m.keyword(depth)
		if name, _, _ := strings.Cut(k, ":"); !seen[name] {
			seen[name] = true
			keywords = append(keywords, k)
		}
	}
	return "{" + strings.Join(keywords, ",") + "}"
}

func (m maker) root() string {
	body := strings.TrimPrefix(m.object(2), "{")
	comma := ","
	if body == "}" {
		comma = ""
	}
	return `{"$defs":{"a":` + m.schema(1) + `,"b":` + m.schema(1) + `}` + comma + body
}

func (m maker) object(depth int) string {
	for {
		if s := m.schema(depth); s[0] == '{' {
			return s
		}
	}
}

// change makes a new version of a schema: something taken out, or put in.
func (m maker) change(value any, depth int) any {
	object, ok := value.(map[string]any)
	if !ok || m.IntN(6) == 0 {
		var made any
		_ = json.Unmarshal([]byte(m.schema(depth)), &made)
		return made
	}
	changed := maps.Clone(object)
	for key, v := range object {
		switch m.IntN(5) {
		case 0:
			if key != "$defs" {
				delete(changed, key)
			}
		case 1, 2:
			switch key {
			case "properties", "patternProperties", "$defs", "dependentSchemas":
				members := map[string]any{}
				for name, member := range v.(map[string]any) {
					members[name] = m.change(member, max(0, depth-1))
				}
				changed[key] = members
			case "anyOf", "oneOf", "allOf", "prefixItems":
				var items []any
				for _, item := range v.([]any) {
					items = append(items, m.change(item, max(0, depth-1)))
				}
				changed[key] = items
			case "additionalProperties", "items", "not", "contains", "if", "then", "else", "propertyNames":
				changed[key] = m.change(v, max(0, depth-1))
			}
		}
	}
	if m.IntN(3) == 0 {
		var more map[string]any
		if json.Unmarshal([]byte("{"+m.keyword(depth)+"}"), &more) == nil {
			maps.Copy(changed, more)
		}
	}
	return changed
}

// What is found compatible without a word refuses no data that was accepted: random
// schemas, changed at random, on random data.
func TestCompareIsSound(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	m := maker{rand.New(rand.NewPCG(seed, 1))}
	made := func(schema string) *schemas.Domain {
		for range 20 {
			if d, err := schemas.NewDomain("orders", bundle("made.schema.json", schema, "made.example.json", m.data(2))); err == nil {
				return d
			}
		}
		return nil
	}
	accepts := func(d *schemas.Domain, data string) bool {
		return len(d.Types[0].CheckData([]byte(data))) == 0
	}
	compatible, judged := 0, 0
	for range 1200 {
		old := m.root()
		var value any
		if err := json.Unmarshal([]byte(old), &value); err != nil {
			t.Fatalf("%v: %s", err, old)
		}
		object, ok := m.change(value, 2).(map[string]any)
		if !ok {
			continue
		}
		if _, has := object["$defs"]; !has {
			object["$defs"] = value.(map[string]any)["$defs"]
		}
		next, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		before, after := made(old), made(string(next))
		if before == nil || after == nil {
			continue
		}
		judged++
		found := schemas.Compare(before, after)
		structural := 0
		for _, i := range found.Incompatible {
			if !strings.HasSuffix(i.File, ".example.json") {
				structural++
			}
		}
		if structural+len(found.Warnings) > 0 {
			continue
		}
		compatible++
		for range 60 {
			if data := m.data(3); accepts(before, data) && !accepts(after, data) {
				t.Fatalf("seed %d: found compatible, but %s was accepted and is not now\nold %s\nnew %s", seed, data, old, next)
			}
		}
	}
	if judged < 150 || compatible < 15 {
		t.Errorf("of %d pairs %d were compatible: the test shows nothing", judged, compatible)
	}
}
