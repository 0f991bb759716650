package schemas_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

const deployed = `{"repo_key":"libs","path":"a/b.jar","name":"b.jar","sha256":"00","size":1}`

func TestAccepted(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tt := range []struct{ name, eventType, contentType, data string }{
		{"a placeholder for the checksum", "artifact.deployed", "", `{"repo_key":"sample_repo","path":"sample_dir/sample.txt","name":"sample.txt","sha256":"sample_checksum","size":0}`},
		{
			"a bare repository as source and target, no checksum", "artifact.moved", "",
			`{"repo_key":"sample_repo","path":"sample_dir/sample.txt","name":"sample.txt","size":0,"source_repo_path":"sample_repo","target_repo_path":"sample_target_repo"}`,
		},
		{"the largest size", "artifact.deployed", "", strings.Replace(deployed, `"size":1`, `"size":9223372036854775807`, 1)},
		{"an integer with a fraction of zero", "artifact.deployed", "", strings.Replace(deployed, `"size":1`, `"size":1.0`, 1)},
		{"an integer with an exponent", "artifact.deployed", "", strings.Replace(deployed, `"size":1`, `"size":12e3`, 1)},
		{"fields we do not know", "artifact.deployed", "", strings.Replace(deployed, "{", `{"new":{"deep":[1,null,true]},`, 1)},
		{"white space everywhere", "artifact.deployed", "", "\r\n\t " + strings.NewReplacer(":", "\n:\t", ",", " , ", "{", "{ ", "}", "\t}\n").Replace(deployed)},
		{"a JSON type with parameters", "artifact.deployed", "Application/JSON; charset=utf-8", deployed},
		{"another JSON type", "artifact.deployed", "application/vnd.acme.artifact+json", deployed},
		{"text/json", "artifact.deployed", "text/json", deployed},
		{"escapes in names", "artifact.deployed", "", strings.Replace(deployed, `"size"`, `"\u0073iz\u0065"`, 1)},
		{"an unpaired surrogate in text", "artifact.deployed", "", strings.Replace(deployed, `"b.jar"`, `"b\ud83d.jar"`, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEvent(tt.eventType, []byte(tt.data))
			e.DataContentType = tt.contentType
			if err := c.Validate(e); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tt := range []struct{ name, eventType, data, want string }{
		{"no data", "artifact.deployed", "", "/data is missing"},
		{"not JSON", "artifact.deployed", `{"size":}`, "/data is not valid JSON: invalid character '}' looking for beginning of value (byte 9)"},
		{"cut off", "artifact.deployed", deployed[:20], "/data is not valid JSON: unexpected end of JSON input (byte 20)"},
		{"something after it", "artifact.deployed", deployed + " x", "/data is not valid JSON: invalid character 'x' after top-level value (byte 76)"},
		{"two values", "artifact.deployed", deployed + deployed, "/data is not valid JSON: invalid character '{' after top-level value (byte 75)"},
		{"not UTF-8", "artifact.deployed", "{\"size\":\"\xff\"}", "/data is not valid UTF-8 (byte 10)"},
		{"a byte order mark", "artifact.deployed", "\ufeff" + deployed, "/data is not valid JSON: invalid character 'ï' looking for beginning of value (byte 1)"},
		{"a field twice", "artifact.deployed", strings.Replace(deployed, "{", `{"size":2,`, 1), "/data/size is given twice"},
		{"a field twice, spelt differently", "artifact.deployed", strings.Replace(deployed, "{", `{"siz\u0065":2,`, 1), "/data/size is given twice"},
		{"a field twice, deep down", "artifact.deployed", strings.Replace(deployed, "{", `{"x":[0,{"a/b":1,"a/b":1}],`, 1), "/data/x/1/a~1b is given twice"},
		{"null", "artifact.deployed", "null", "/data must be an object, is null"},
		{"an array", "artifact.deployed", "[]", "/data must be an object, is an array"},
		{"several fields", "artifact.deployed", `{"repo_key":"","path":"/a","name":5,"size":-1}`, "/data/name must be a string, is a number; " +
			"/data/path must match the pattern ^[^/]; /data/repo_key must not be empty; /data/sha256 is required; /data/size must be at least 0"},
		{"a fraction", "artifact.deployed", strings.Replace(deployed, `"size":1`, `"size":1.5`, 1), "/data/size must be an integer, is a number"},
		{"one more than an int64", "artifact.deployed", strings.Replace(deployed, `"size":1`, `"size":9223372036854775808`, 1), "/data/size must be at most 9223372036854775807"},
		{"a number as text", "artifact.deployed", strings.Replace(deployed, `"size":1`, `"size":"1"`, 1), "/data/size must be an integer, is a string"},
		{"not a ref", "git.push", edit(t, c, "git.push", `"ref":"refs/heads/main"`, `"ref":"main"`), "/data/ref must match the pattern ^refs/."},
		{"not an object id", "git.push", edit(t, c, "git.push", `"after":"`, `"after":"xyz`), "/data/after must match the pattern ^([0-9a-f]{40}|[0-9a-f]{64})$"},
		{"not a commit", "git.push", edit(t, c, "git.push", `"head_commit":null`, `"head_commit":"latest"`), "/data/head_commit must be null or an object"},
		{"half a commit", "git.push", edit(t, c, "git.push", `"author":{"name":"Ben Mate",`, `"author":{`), "/data/commits/0/author/name is required"},
		{"a time with a zone beyond a day", "git.push", edit(t, c, "git.push", "2025-11-02T09:02:18Z", "2025-11-02T09:02:18+24:00"), "/data/commits/0/timestamp is not a valid date-time"},
		{"a time with a sign in its clock", "git.push", edit(t, c, "git.push", "2025-11-02T09:02:18Z", "2025-11-02T+9:02:18Z"), "/data/commits/0/timestamp is not a valid date-time"},
		{"not a time", "git.push", edit(t, c, "git.push", "2025-11-02T09:02:18Z", "yesterday"), "/data/commits/0/timestamp is not a valid date-time"},
		{"a secret is not repeated", "git.push", edit(t, c, "git.push", `"secret":""`, `"secret":"hunter2"`), "/data/secret must have at most 0 characters, has 7"},
		{"not one of a list", "git.pull_request", edit(t, c, "git.pull_request", `"action":"opened"`, `"action":"merged"`), `/data/action must be one of "opened", "closed", "reopened", "edited", is "merged"`},
		{
			"a long one is not repeated", "git.pull_request", edit(t, c, "git.pull_request", `"action":"opened"`, `"action":"`+strings.Repeat("x", 33)+`"`),
			`/data/action must be one of "opened", "closed", "reopened", "edited"`,
		},
		{"not a pull request", "git.pull_request_comment", edit(t, c, "git.pull_request_comment", `"is_pull":true`, `"is_pull":false`), "/data/is_pull must be true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := c.Validate(newEvent(tt.eventType, []byte(tt.data)))
			if _, ok := errors.AsType[*schemas.ValidationError](err); !ok {
				t.Fatalf("got %v, want a ValidationError", err)
			}
			if want := "validate " + tt.eventType + ": " + tt.want; err.Error() != want {
				t.Errorf("\n got %s\nwant %s", err, want)
			}
		})
	}
}

// edit changes the main example of a type.
func edit(t *testing.T, c *schemas.Catalogue, eventType, from, to string) string {
	t.Helper()
	data := string(example(t, c, eventType, ""))
	if !strings.Contains(data, from) {
		t.Fatalf("the example of %s does not contain %s", eventType, from)
	}
	return strings.Replace(data, from, to, 1)
}

func TestContentTypeMustBeJSON(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, contentType := range []string{"text/plain", "application/jsonp", "application/xml", "json", "text/plain; x=/json", "+json"} {
		e := newEvent("artifact.deployed", []byte(deployed))
		e.DataContentType = contentType
		var invalid *schemas.ValidationError
		if err := c.Validate(e); !errors.As(err, &invalid) || invalid.Problems[0].Field != "/datacontenttype" {
			t.Errorf("%s: got %v, want a problem with the content type", contentType, err)
		}
	}
}

// What a content type says is not worth less for a malformed parameter.
func TestContentTypeWithMalformedParameters(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, contentType := range []string{"application/json; utf-8", "application/json; charset", "application/vnd.a+json;;="} {
		e := newEvent("artifact.deployed", []byte(deployed))
		e.DataContentType = contentType
		if err := c.Validate(e); err != nil {
			t.Errorf("%s: %v", contentType, err)
		}
	}
}

// TestHostileData is about data that is small and would be a lot of work, or
// break the validator.
func TestHostileData(t *testing.T) {
	t.Parallel()
	c := load(t, "any/domain.json", `{"name":"any"}`,
		"any/thing.schema.json", `{"properties":{"n":{"type":"number","minimum":0,"multipleOf":0.5},"list":{"uniqueItems":true},"tree":{"$ref":"#/$defs/tree"}},
			"$defs":{"tree":{"type":"array","items":{"$ref":"#/$defs/tree"}}}}`,
		"any/thing.example.json", `{"n":1}`)
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct{ name, data, want string }{
		{"a number with a huge exponent", `{"n":1e999999999}`, "/data/n is a number out of bounds"},
		{"a number with a tiny exponent", `{"n":1e-1000000}`, "/data/n is a number out of bounds"},
		{"an exponent that is no int", `{"n":1e99999999999999999999}`, "/data/n is a number out of bounds"},
		{"a number of many digits", `{"n":` + strings.Repeat("9", 100_000) + `}`, "/data/n is a number out of bounds"},
		{"many huge numbers to compare", `{"list":[` + strings.Repeat("1e1000000,", 20_000) + `0]}`, "/data/list/0 is a number out of bounds"},
		{"nested too deep", `{"x":` + deep(128) + `}`, "is nested deeper than 128 levels"},
		{"nested ten thousand times", deep(10_000), "is nested deeper than 128 levels"},
		{"nested beyond the scanner", deep(100_000), "exceeded max depth"},
		{"nested and not closed", strings.Repeat(`{"a":`, 50_000), "/data is not valid JSON"},
		{"a long name", `{"` + strings.Repeat("x", 100_000) + `":1,"` + strings.Repeat("x", 100_000) + `":1}`, "xx… is given twice"},
		{"a name for a terminal", `{"\u001b[2J":1,"\u001b[2J":2}`, `"/data/\x1b[2J" is given twice`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := c.Validate(newEvent("any.thing", []byte(tt.data)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %.300v, want %s", err, tt.want)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
	for name, data := range map[string]string{
		"as deep as allowed":             `{"x":` + deep(127) + `}`,
		"as deep as allowed, and looked": `{"tree":` + deep(127) + `}`,
		"as large as allowed":            `{"n":1e400}`,
		"many numbers to compare":        `{"list":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22e-3]}`,
	} {
		if err := c.Validate(newEvent("any.thing", []byte(data))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyProblemsMakeAShortError(t *testing.T) {
	t.Parallel()
	c := load(t)
	commits := "[" + strings.Repeat("1,", 30_000) + "1]"
	data := `{"ref":"refs/heads/main","commits":` + commits + `}`
	var invalid *schemas.ValidationError
	if err := c.Validate(newEvent("git.push", []byte(data))); !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	if len(invalid.Problems) != 20 || invalid.More != 30_001+5-20 {
		t.Errorf("%d problems and %d more", len(invalid.Problems), invalid.More)
	}
	if text := invalid.Error(); len(text) > 2000 || !strings.HasSuffix(text, "; and 29986 more") {
		t.Errorf("the error ends in %q", text[max(0, len(text)-100):])
	}
}

// TestMessages has a case for every keyword that a user's schema may have.
func TestMessages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ schema, data, want string }{
		{`{"const":{"a":1}}`, `2`, `/data must be {"a":1}`},
		{`{"enum":[1,null,"x"]}`, `2`, `/data must be one of 1, null, "x"`},
		{`{"type":["string","array"]}`, `true`, `/data must be a string or an array, is a boolean`},
		{`{"minLength":2}`, `"ä"`, `/data must have at least 2 characters, has 1`},
		{`{"maxLength":1}`, `"äö"`, `/data must have at most 1 character, has 2`},
		{`{"exclusiveMinimum":0}`, `0`, `/data must be more than 0`},
		{`{"exclusiveMaximum":0.5}`, `1`, `/data must be less than 0.500000`},
		{`{"multipleOf":3}`, `4`, `/data must be a multiple of 3`},
		{`{"format":"ipv4"}`, `"secret"`, `/data is not a valid ipv4`},
		{`{"format":"uri"}`, `"secret"`, `/data is not a valid uri`},
		{`{"minItems":2}`, `[1]`, `/data must have at least 2 items, has 1`},
		{`{"maxItems":1}`, `[1,2]`, `/data must have at most 1 item, has 2`},
		{`{"uniqueItems":true}`, `[1,2,1]`, `/data must not repeat an item, items 0 and 2 are equal`},
		{`{"contains":{"type":"string"}}`, `[1]`, `/data has no item of the required form`},
		{`{"contains":{"type":"string"},"minContains":2}`, `["a"]`, `/data must have at least 2 items of the required form, has 1`},
		{`{"contains":{"type":"string"},"maxContains":1}`, `["a","b"]`, `/data must have at most 1 item of that form, has 2`},
		{`{"minProperties":1}`, `{}`, `/data must have at least 1 member, has 0`},
		{`{"maxProperties":1}`, `{"a":1,"b":2}`, `/data must have at most 1 member, has 2`},
		{`{"additionalProperties":false}`, `{"b":1,"a/b":2}`, `/data/a~1b is not a known property; /data/b is not a known property`},
		{`{"unevaluatedProperties":false}`, `{"b":1}`, `/data/b is not allowed`},
		{`{"propertyNames":{"maxLength":1}}`, `{"bb":1}`, `/data has, at some depth, a member with a name that is not allowed: "bb"`},
		{`{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, `/data/b is required when "a" is given`},
		{`{"properties":{"a":false}}`, `{"a":1}`, `/data/a is not allowed`},
		{`{"not":{"type":"string"}}`, `"a"`, `/data has a form that is not allowed`},
		{`{"allOf":[{"required":["a"]},{"required":["a","b"]}]}`, `{}`, `/data/a is required; /data/b is required`},
		{`{"anyOf":[{"type":"string"},{"type":"array"}]}`, `1`, `/data must be a string or an array`},
		{`{"anyOf":[{"type":"object","required":["a"]},{"type":"null"}]}`, `{}`, `/data/a is required`},
		{`{"anyOf":[{"required":["a"]},{"required":["b"]}]}`, `{}`, `/data has none of the allowed forms`},
		{`{"oneOf":[{"type":"object","required":["a"]},{"type":"null"}]}`, `{}`, `/data/a is required`},
		{`{"oneOf":[{"type":"string"},{"maxLength":3}]}`, `"a"`, `/data has several of the allowed forms, must have exactly one`},
		{`{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"a":1}`, `/data/b is required`},
		{`{"$ref":"#/$defs/x","$defs":{"x":{"$ref":"#/$defs/y"},"y":{"required":["a"]}}}`, `{}`, `/data/a is required`},
	} {
		c, err := schemas.Load(folder("my/domain.json", `{"name":"my"}`,
			"my/event.schema.json", `{"if":{"const":"the example"},"else":`+schemaAt(tt.schema)+`}`, "my/event.example.json", `"the example"`))
		if err != nil {
			t.Errorf("%s: %v", tt.schema, err)
			continue
		}
		err = c.Validate(newEvent("my.event", []byte(tt.data)))
		if err == nil || err.Error() != "validate my.event: "+tt.want {
			t.Errorf("%s of %s:\n got %v\nwant %s", tt.schema, tt.data, err, tt.want)
		}
	}
}

// schemaAt keeps references to the root working in a schema that is moved.
func schemaAt(schema string) string { return strings.ReplaceAll(schema, "#/$defs", "#/else/$defs") }

func TestModes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode             string
		refused, warning bool
	}{{"", true, false}, {`,"validation":"enforce"`, true, false}, {`,"validation":"warn"`, false, true}, {`,"validation":"off"`, false, false}} {
		c := load(t, "my/domain.json", `{"name":"my"`+tt.mode+`}`, "my/event.schema.json", `{"type":"object"}`, "my/event.example.json", `{}`)
		for _, data := range []string{`1`, `not JSON`, ``} {
			verdict, err := c.Check(newEvent("my.event", []byte(data)))
			if (err != nil) != tt.refused || (verdict.Warning != nil) != tt.warning {
				t.Errorf("%s, data %q: error %v, warning %v", tt.mode, data, err, verdict.Warning)
			}
			if err == nil && verdict.Type.Name != "my.event" {
				t.Errorf("%s: type %q", tt.mode, verdict.Type.Name)
			}
		}
		if _, err := c.Check(newEvent("my.other", nil)); !errors.Is(err, schemas.ErrUnknownType) {
			t.Errorf("%s: an unknown type gives %v", tt.mode, err)
		}
	}
}

// TestValidateFromManyGoroutines is for the race detector.
func TestValidateFromManyGoroutines(t *testing.T) {
	t.Parallel()
	c := load(t)
	good, bad := example(t, c, "git.push", ""), edit(t, c, "git.push", `"ref":"refs/heads/main"`, `"ref":1`)
	want := c.Validate(newEvent("git.push", []byte(bad))).Error()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := c.Validate(newEvent("git.push", good)); err != nil {
					t.Error(err)
				}
				if err := c.Validate(newEvent("git.push", []byte(bad))); err == nil || err.Error() != want {
					t.Errorf("got %v, want %s", err, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestCheckDoesNotChangeTheEvent(t *testing.T) {
	t.Parallel()
	c := load(t)
	e, same := newEvent("artifact.deployed", []byte(deployed)), newEvent("artifact.deployed", []byte(deployed))
	if err := c.Validate(e); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(same, e); diff != "" {
		t.Error(diff)
	}
}

// folder makes a user's folder of pairs of name and text.
func folder(files ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		fsys[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return fsys
}

func FuzzValidate(f *testing.F) {
	c := load(f, "any/domain.json", `{"name":"any"}`, "any/thing.schema.json", `{
		"properties": {
			"formats": {"properties": {"a":{"format":"date-time"},"b":{"format":"uri"},"c":{"format":"email"},"d":{"format":"duration"},"e":{"format":"uri-template"},
				"f":{"format":"hostname"},"g":{"format":"ipv6"},"h":{"format":"regex"},"i":{"format":"json-pointer"},"j":{"format":"uuid"},"k":{"format":"semver"}}},
			"number": {"type": "number", "minimum": -1, "exclusiveMaximum": 1e300, "multipleOf": 0.01},
			"list": {"uniqueItems": true, "items": {"anyOf": [{"type": "null"}, {"$ref": "#"}, {"enum": [1, "x"]}]}},
			"names": {"propertyNames": {"pattern": "^a"}, "unevaluatedProperties": false}
		}}`, "any/thing.example.json", `{}`)
	f.Add("git.push", []byte(example(f, c, "git.push", "")))
	f.Add("any.thing", []byte(`{"formats":{"a":"2025-11-02T09:14:51Z","e":"{x}","h":"(a|b)*"},"number":1e400,"list":[1,null,{"list":["x"]}],"names":{"b":1}}`))
	f.Add("any.thing", []byte(`{"list":[[[[[[{"a":1,"a":1}]]]]]]}`))
	f.Fuzz(func(t *testing.T, eventType string, data []byte) {
		err := c.Validate(&event.Event{ID: "1", Source: "/fuzz", Type: eventType, Data: data})
		var invalid *schemas.ValidationError
		switch {
		case err == nil, errors.Is(err, schemas.ErrUnknownType):
		case !errors.As(err, &invalid):
			t.Fatalf("an error of another kind: %v", err)
		case len(invalid.Problems) == 0:
			t.Fatal("an error without a problem")
		default:
			for _, p := range invalid.Problems {
				if !strings.HasPrefix(p.Field, "/data") || p.Message == "" {
					t.Errorf("a problem without a field or a message: %+v", p)
				}
			}
		}
		if err != nil && len(err.Error()) > 20_000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
