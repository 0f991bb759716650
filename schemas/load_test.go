package schemas_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/schemas"
)

// TestUserDomain adds a domain with everything a domain may have.
func TestUserDomain(t *testing.T) {
	t.Parallel()
	c := load(t,
		"orders/domain.json", `{"name":"orders","description":"What customers order.","type_prefix":"com.example.orders.","validation":"warn",
			"events":{"created":{"description":"A customer has ordered."}}}`,
		"orders/created.schema.json", `{"$id":"https://example.com/any/place/created","description":"From the schema.","required":["id"],"properties":{"id":{"$ref":"common.defs.json#/$defs/id"}}}`,
		"orders/created.example.json", "{\n  \"id\": 12345678901234567890\n}\n",
		"orders/created.guest.example.json", `{"id":2}`,
		"orders/created.b2b.example.json", `{"id":3}`,
		"orders/created.twice.schema.json", `{"$id":"https://example.com/elsewhere/twice","description":"From the schema.","$ref":"https://example.com/any/place/created"}`,
		"orders/created.twice.example.json", `{"id":4}`,
		"orders/closed.schema.json", `{"$ref":"created.schema.json","title":"Order closed"}`,
		"orders/closed.example.json", `{"id":5}`,
		"orders/common.defs.json", `{"$defs":{"id":{"type":"integer"}}}`,
		"orders/README.md", `for people`,
		"orders/.hidden.json", `not read`,
		".git/domain.json", `not read`,
		"notes/todo.txt", `not read`,
	)
	d, ok := c.Domain("orders")
	if !ok || d.Description != "What customers order." || d.TypePrefix != "com.example.orders." || d.Validation != schemas.Warn || d.Shipped {
		t.Errorf("got the domain %+v", d)
	}
	type short struct{ Name, Event, Description, Examples string }
	var got []short
	for _, typ := range d.Types {
		s := short{typ.Name, typ.Event, typ.Description, ""}
		for _, e := range typ.Examples {
			s.Examples += e.Name + "=" + string(e.Data) + " "
		}
		got = append(got, s)
	}
	want := []short{
		{"com.example.orders.closed", "closed", "Order closed", `={"id":5} `},
		{"com.example.orders.created", "created", "A customer has ordered.", `={"id":12345678901234567890} b2b={"id":3} guest={"id":2} `},
		{"com.example.orders.created.twice", "created.twice", "From the schema.", `={"id":4} `},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := slices.Collect(maps.Keys(d.Definitions)); !slices.Equal(got, []string{"common.defs.json"}) {
		t.Errorf("definitions %v", got)
	}
	for _, typ := range d.Types {
		verdict, err := c.Check(newEvent(typ.Name, []byte(`{"id":"x"}`)))
		if err != nil || verdict.Warning == nil || verdict.Warning.Problems[0].Field != "/data/id" {
			t.Errorf("%s: error %v, warning %v", typ.Name, err, verdict.Warning)
		}
	}
	if own := load(t); len(c.Domains()) != len(own.Domains())+1 || len(c.Types()) != len(own.Types())+3 {
		t.Errorf("the catalogue has %d domains and %d types", len(c.Domains()), len(c.Types()))
	}
}

// An editor may save a file with a byte order mark and the line ends of Windows.
func TestFilesAsEditorsSaveThem(t *testing.T) {
	t.Parallel()
	c := load(t, "domain.json", "\ufeff{\r\n\"name\":\"orders\"}\r\n", "created.schema.json", "\ufeff{\"type\":\"object\"}", "created.example.json", "\ufeff{}\r\n")
	if got, err := c.Resolve("orders.created"); err != nil || string(got.Examples[0].Data) != "{}" {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := schemas.Load(folder("domain.json", "\xff\xfe{\x00}\x00"))
	if err == nil || !strings.Contains(err.Error(), "domain.json") || !strings.Contains(err.Error(), "save it as UTF-8") {
		t.Errorf("got %v", err)
	}
}

func TestFolderThatIsADomain(t *testing.T) {
	t.Parallel()
	c := load(t, "domain.json", `{"name":"orders"}`, "created.schema.json", `{"type":"object"}`, "created.example.json", `{}`)
	if _, err := c.Resolve("orders.created"); err != nil {
		t.Error(err)
	}
}

func TestSeveralFolders(t *testing.T) {
	t.Parallel()
	one, two := folder("a/domain.json", `{"name":"a","open":true}`), folder("b/domain.json", `{"name":"b","open":true}`)
	c, err := schemas.Load(one, two)
	if err != nil {
		t.Fatal(err)
	}
	if shipped := len(load(t).Domains()); len(c.Domains()) != shipped+2 {
		t.Errorf("got %d domains, %d are shipped", len(c.Domains()), shipped)
	}
}

// TestBadFolders expects all problems at once, with file and remedy.
func TestBadFolders(t *testing.T) {
	t.Parallel()
	good := []string{"my/domain.json", `{"name":"my"}`, "my/event.schema.json", `{"type":"object"}`, "my/event.example.json", `{}`}
	with := func(files ...string) []string { return append(slices.Clone(good), files...) }
	for _, tt := range []struct {
		name  string
		files []string // later ones replace earlier ones
		want  []string
	}{
		{"nothing in it", []string{"readme.txt", ""}, []string{`.: holds no domain: add a folder with a domain.json for each`}},
		{"no domain file", []string{"my/event.schema.json", `{}`}, []string{`my: has no domain.json: add one with at least {"name": "my"}`}},
		{"a domain in a domain", with("my/more/domain.json", `{}`), []string{`my/more: is a domain inside a domain and would not be read: move it out`}},

		{"a domain file that is no JSON", with("my/domain.json", "{\n \"name\": my}"), []string{
			`my/domain.json: is not valid JSON: invalid character 'm' looking for beginning of value (line 2, column 10)`,
		}},
		{"a domain file with a field twice", with("my/domain.json", `{"name":"my","name":"me"}`), []string{`my/domain.json: /name is given twice (line 1, column 14)`}},
		{"a domain file with an unknown field", with("my/domain.json", `{"name":"my","validate":"off"}`), []string{`my/domain.json: is not a domain file: unknown field "validate"`}},
		{"a domain file with a field of another type", with("my/domain.json", `{"name":"my","open":"yes"}`), []string{
			`my/domain.json: is not a domain file: cannot unmarshal string into Go struct field manifest.open of type bool`,
		}},
		{"no name", with("my/domain.json", `{}`), []string{`my/domain.json: has no name: add "name", the same as its folder's`}},
		{"another name than the folder", with("my/domain.json", `{"name":"mine"}`), []string{`my/domain.json: has the name mine in the folder my: make them the same`}},
		{"a name that can't be a stream's", []string{"A.b/domain.json", `{"name":"A.b","open":true}`}, []string{
			`A.b/domain.json: has the name "A.b": use 1 to 63 lower-case letters, digits, dashes and underscores, a letter first`,
		}},
		{"a prefix without a dot at the end", with("my/domain.json", `{"name":"my","type_prefix":"com.example"}`), []string{
			`my/domain.json: has the type_prefix "com.example": use letters, digits, dashes, underscores and single dots, at most 200, the last one a dot`,
		}},
		{"an unknown validation", with("my/domain.json", `{"name":"my","validation":"strict"}`), []string{`my/domain.json: has the validation "strict": use enforce, warn or off`}},
		{"no events", []string{"my/domain.json", `{"name":"my"}`}, []string{
			`my/domain.json: has no events: add <event>.schema.json and <event>.example.json, or "open": true to accept any`,
		}},
		{"a described event without a schema", with("my/domain.json", `{"name":"my","events":{"other":{},"A":{}}}`), []string{
			`my/domain.json: describes the event "A": use lower-case letters, digits, underscores and single dots`,
			`my/domain.json: describes the event other, which has no schema: add other.schema.json`,
		}},

		{"a shipped domain", []string{"git/domain.json", `{"name":"git","open":true,"type_prefix":"my.git."}`}, []string{
			`git/domain.json: the domain git is already defined by jetpost itself: choose another name`,
		}},
		{"a prefix within jetpost's own", []string{"mine/domain.json", `{"name":"mine","open":true,"type_prefix":"jetpost.mine."}`}, []string{
			`mine/domain.json: has the type_prefix jetpost.mine.: types that begin with jetpost. are jetpost's own, choose another one`,
		}},
		{"a shipped domain's prefix", []string{"vcs/domain.json", `{"name":"vcs","open":true,"type_prefix":"git."}`}, []string{
			`vcs/domain.json: the type_prefix git. already belongs to the domain git: choose another one`,
		}},
		{"a prefix that takes over a type", []string{
			"a/domain.json", `{"name":"a"}`, "a/b.c.schema.json", `{}`, "a/b.c.example.json", `1`,
			"ab/domain.json", `{"name":"ab","type_prefix":"a.b.","open":true}`,
		}, []string{`a/domain.json: the type a.b.c would belong to the domain ab, whose type_prefix a.b. is longer: change one of the prefixes`}},

		{"a misspelt file", with("my/event.shema.json", `{}`, "my/Event.schema.json", `{}`), []string{
			`my/Event.schema.json: is none of domain.json, <event>.schema.json, <event>.example.json, <event>.<name>.example.json and <name>.defs.json, in lower-case letters, digits and underscores: rename or remove it`,
			`my/event.shema.json: is none of domain.json, <event>.schema.json, <event>.example.json, <event>.<name>.example.json and <name>.defs.json, in lower-case letters, digits and underscores: rename or remove it`,
		}},
		{"an empty file", with("my/event.schema.json", ``), []string{`my/event.schema.json: is empty`}},
		{"a file that is too large", with("my/event.example.json", strings.Repeat(" ", 256<<10)+`{}`), []string{`my/event.example.json: cannot be read: it is larger than 256 KiB`}},
		{"no example", []string{"my/domain.json", `{"name":"my"}`, "my/event.schema.json", `{}`}, []string{
			`my/event.schema.json: has no example: add event.example.json with data as it should be`,
		}},
		{"only a named example", []string{"my/domain.json", `{"name":"my"}`, "my/event.schema.json", `{}`, "my/event.large.example.json", `{}`}, []string{
			`my/event.schema.json: has no example: add event.example.json with data as it should be`,
		}},
		{"an example of nothing", with("my/other.example.json", `{}`, "my/event.a.b.example.json", `{}`), []string{
			`my/event.a.b.example.json: belongs to no event: add event.a.schema.json, or remove it`,
			`my/other.example.json: belongs to no event: add other.schema.json, or remove it`,
		}},
		{"wrong examples", with("my/event.schema.json", `{"required":["id"],"properties":{"id":{"type":"integer"}}}`, "my/event.x.example.json", `{"id":"1"}`), []string{
			`my/event.example.json: /id is required, says event.schema.json`,
			`my/event.x.example.json: /id must be an integer, is a string, says event.schema.json`,
		}},
		{"a wrong example in a domain that does not validate", with("my/domain.json", `{"name":"my","validation":"off"}`, "my/event.example.json", `1`), []string{
			`my/event.example.json: must be an object, is a number, says event.schema.json`,
		}},

		{"a schema that is none", with("my/event.schema.json", `{"type":"strnig","required":"id","properties":{"a":{"minLength":-1}}}`), []string{
			`my/event.schema.json: is not a JSON Schema: /properties/a/minLength must be at least 0`,
			`my/event.schema.json: is not a JSON Schema: /required must be an array, is a string`,
			`my/event.schema.json: is not a JSON Schema: /type must be one of "array", "boolean", "integer", "null", "number", "object", "string", is "strnig"`,
		}},
		{"a schema that is no object", with("my/event.schema.json", `true`), []string{`my/event.schema.json: is not a JSON object: write a JSON Schema`}},
		{"another draft", with("my/event.schema.json", `{"$schema":"http://json-schema.org/draft-07/schema#"}`), []string{
			`my/event.schema.json: /$schema is "http://json-schema.org/draft-07/schema#": use "https://json-schema.org/draft/2020-12/schema"`,
		}},
		{"an unusable pattern", with("my/event.schema.json", `{"pattern":"(?=x)"}`), []string{`my/event.schema.json: is not a JSON Schema: /pattern is not a valid regex`}},
		{"a reference to the network", with("my/event.schema.json", `{"$ref":"https://example.com/event.json"}`), []string{
			`my/event.schema.json: refers to https://example.com/event.json, which is no file of this domain, and nothing is fetched: put it beside this file and refer to it by its file name`,
		}},
		{"a reference to a file of the machine", with("my/event.schema.json", `{"$ref":"file:///etc/passwd"}`), []string{
			`my/event.schema.json: refers to file:///etc/passwd, which is no file of this domain, and nothing is fetched: put it beside this file and refer to it by its file name`,
		}},
		{"a reference out of the domain", with("my/event.schema.json", `{"$ref":"../git/objects.defs.json"}`), []string{
			`my/event.schema.json: refers to git/objects.defs.json, which is not there: correct the $ref`,
		}},
		{"references to nothing", with("my/event.schema.json", `{"$ref":"#/$defs/a"}`, "my/x.defs.json", `{"$defs":{"a":{"$ref":"y.defs.json"},"b":{"$ref":"#anchor"}}}`), []string{
			`my/x.defs.json: refers to y.defs.json, which is not there: correct the $ref`,
			`my/event.schema.json: refers to event.schema.json#/$defs/a, which is not there: correct the $ref`,
		}},
		{"a reference to an anchor that is not there", with("my/event.schema.json", `{"$ref":"#anchor"}`), []string{
			`my/event.schema.json: refers to event.schema.json#anchor, which is not there: correct the $ref`,
		}},
		{"a reference to an example", with("my/event.schema.json", `{"$ref":"event.example.json"}`), []string{
			`my/event.schema.json: refers to event.example.json, which is not there: correct the $ref`,
		}},
		{"a broken file that others refer to is reported once", with(
			"my/event.schema.json", `{"$ref":"x.defs.json#/$defs/a"}`,
			"my/other.schema.json", `{"$id":"https://example.com/other","$ref":"x.defs.json#/$defs/a"}`, "my/other.example.json", `1`,
			"my/x.defs.json", `{"$defs":{"a":`,
		), []string{`my/x.defs.json: is not valid JSON: unexpected end of JSON input (line 1, column 14)`}},
		{"a wrong definition that others refer to is reported once", with(
			"my/event.schema.json", `{"$ref":"x.defs.json#/$defs/a"}`, "my/x.defs.json", `{"$defs":{"a":{"type":1}}}`,
		), []string{`my/x.defs.json: is not a JSON Schema: /$defs/a/type must be one of "array", "boolean", "integer", "null", "number", "object", "string"`}},
		{"an $id twice", with("my/event.schema.json", `{"$id":"https://example.com/x"}`, "my/x.defs.json", `{"$id":"https://example.com/x"}`), []string{
			`my/event.schema.json: has the same $id as x.defs.json: give each file its own`,
		}},

		{"much at once, in two domains", []string{
			"a/domain.json", `{"name":"b","validation":"no"}`, "a/x.schema.json", `{"type":1}`, "a/y.example.json", `nope`,
			"b/domain.json", `{`, "b/x.schema.json", `{}`,
		}, []string{
			`a/y.example.json: is not valid JSON: invalid character 'o' in literal null (expecting 'u') (line 1, column 2)`,
			`a/domain.json: has the name b in the folder a: make them the same`,
			`a/domain.json: has the validation "no": use enforce, warn or off`,
			`a/x.schema.json: is not a JSON Schema: /type must be one of "array", "boolean", "integer", "null", "number", "object", "string"`,
			`a/y.example.json: belongs to no event: add y.schema.json, or remove it`,
			`a/x.schema.json: has no example: add x.example.json with data as it should be`,
			`b/domain.json: is not valid JSON: unexpected end of JSON input (line 1, column 1)`,
			`b/x.schema.json: has no example: add x.example.json with data as it should be`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := schemas.Load(folder(tt.files...))
			var bad *schemas.LoadError
			if c != nil || !errors.As(err, &bad) {
				t.Fatalf("got %v and error %v, want a LoadError", c, err)
			}
			var got []string
			for _, p := range bad.Problems {
				got = append(got, p.File+": "+p.Message)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			for _, line := range got {
				if !strings.Contains(err.Error(), line) {
					t.Errorf("the error does not say %q:\n%v", line, err)
				}
			}
		})
	}
}

func TestFoldersCollide(t *testing.T) {
	t.Parallel()
	one := folder("my/domain.json", `{"name":"my","open":true}`)
	_, err := schemas.Load(one, one)
	want := "load schemas: my/domain.json: the domain my is already defined by my/domain.json: choose another name"
	if err == nil || err.Error() != want {
		t.Errorf("\n got %v\nwant %s", err, want)
	}
}

func TestTooMuch(t *testing.T) {
	t.Parallel()
	many := fstest.MapFS{}
	for i := range 257 {
		many["d"+strconv.Itoa(i)+"/domain.json"] = &fstest.MapFile{Data: []byte(`{"name":"x","open":true}`)}
	}
	if _, err := schemas.Load(many); err == nil || !strings.Contains(err.Error(), ".: holds 257 domains: use at most 256") {
		t.Errorf("got %v", err)
	}
	large := folder("my/domain.json", `{"name":"my","open":true}`)
	for i := range 1000 {
		large["my/"+strconv.Itoa(i)+".txt"] = &fstest.MapFile{}
	}
	if _, err := schemas.Load(large); err == nil || !strings.Contains(err.Error(), "my: holds 1001 files: use at most 1000 in a domain") {
		t.Errorf("got %v", err)
	}
}

// TestDir reads a real folder, with links as volumes of containers have them.
func TestDir(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("volume/..2025/domain.json", `{"name":"my"}`)
	write("volume/..2025/event.schema.json", `{"type":"object"}`)
	write("volume/..2025/event.example.json", `{}`)
	link("..2025", "volume/..data")
	for _, name := range []string{"domain.json", "event.schema.json", "event.example.json"} {
		link("..data/"+name, "volume/"+name)
	}
	c, err := schemas.Load(schemas.Dir(filepath.Join(root, "volume")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve("my.event"); err != nil {
		t.Error(err)
	}

	write("bad/my/domain.json", `{"name":"my"}`)
	write("bad/my/event.schema.json/x", ``)
	link("nowhere", "bad/my/other.schema.json")
	write("file", ``)
	for _, tt := range []struct{ path, want string }{
		{"bad", "bad/my/other.schema.json: cannot be read: no such file or directory"},
		{"bad", "bad/my/event.schema.json: is a folder: rename or remove it"},
		{"missing", "missing: cannot be read (no such file or directory): give a folder that holds one folder per domain"},
		{"file", "file: cannot be read (not a directory)"},
	} {
		_, err := schemas.Load(schemas.Dir(filepath.Join(root, tt.path)))
		if err == nil || !strings.Contains(err.Error(), root+"/"+tt.want) {
			t.Errorf("%s: got %v\nwant %s", tt.path, err, tt.want)
		}
	}
}

// A pipe that is opened blocks until it has a writer.
func TestPipesAreNotOpened(t *testing.T) {
	t.Parallel()
	fsys := folder("my/domain.json", `{"name":"my","open":true}`)
	fsys["my/event.schema.json"] = &fstest.MapFile{Mode: fs.ModeNamedPipe}
	_, err := schemas.Load(fsys)
	if err == nil || !strings.Contains(err.Error(), "my/event.schema.json: cannot be read: it is not a regular file") {
		t.Errorf("got %v", err)
	}
}
