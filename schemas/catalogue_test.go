package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

// load makes a catalogue of what ships and of a user's files, given as pairs of
// name and text.
func load(tb testing.TB, files ...string) *schemas.Catalogue {
	tb.Helper()
	var extra []fs.FS
	if len(files) > 0 {
		extra = append(extra, folder(files...))
	}
	c, err := schemas.Load(extra...)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func newEvent(eventType string, data []byte) *event.Event {
	return &event.Event{ID: "1", Source: "/test", Type: eventType, DataContentType: "application/json", Data: data}
}

// example returns the data of an example of the catalogue, "" for the main one.
func example(tb testing.TB, c *schemas.Catalogue, eventType, name string) json.RawMessage {
	tb.Helper()
	typ, err := c.Resolve(eventType)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range typ.Examples {
		if e.Name == name {
			return e.Data
		}
	}
	tb.Fatalf("%s has no example %q", eventType, name)
	return nil
}

// forEachExample runs f for every example that ships, in parallel.
func forEachExample(t *testing.T, f func(t *testing.T, c *schemas.Catalogue, typ schemas.Type, data json.RawMessage)) {
	t.Helper()
	c := load(t)
	for _, typ := range c.Types() {
		for _, example := range typ.Examples {
			t.Run(strings.TrimSuffix(typ.Name+"."+example.Name, "."), func(t *testing.T) {
				t.Parallel()
				f(t, c, typ, example.Data)
			})
		}
	}
}

func TestShippedTypes(t *testing.T) {
	t.Parallel()
	c := load(t)
	var got []string
	for _, typ := range c.Types() {
		if typ.Domain == "git" { // jfrogEvents has the others
			got = append(got, typ.Event)
		}
		if typ.Name != typ.Domain+"."+typ.Event {
			t.Errorf("%s is the event %s of the domain %s", typ.Name, typ.Event, typ.Domain)
		}
		if typ.Description == "" {
			t.Errorf("%s has no description", typ.Name)
		}
	}
	if diff := cmp.Diff([]string{"pull_request", "pull_request_comment", "push"}, got); diff != "" {
		t.Error(diff)
	}
	domains := []string{"git", "jetpost"}
	for _, d := range jfrogEvents() {
		if !slices.Contains(domains, d.domain) {
			domains = append(domains, d.domain)
		}
	}
	slices.Sort(domains)
	var names []string
	for _, d := range c.Domains() {
		names = append(names, d.Name)
		if d.Validation != schemas.Enforce || !d.Shipped || d.Open || d.Description == "" || d.TypePrefix != d.Name+"." {
			t.Errorf("domain %+v, want a described one of ours that enforces", d)
		}
	}
	if diff := cmp.Diff(domains, names); diff != "" {
		t.Error(diff)
	}
}

// TestNothingIsLeftOut compares what is embedded with what lies in the folder.
func TestNothingIsLeftOut(t *testing.T) {
	t.Parallel()
	domains, err := filepath.Glob("*/domain.json")
	if err != nil {
		t.Fatal(err)
	}
	c := load(t)
	for _, file := range domains {
		name := filepath.Dir(file)
		d, ok := c.Domain(name)
		if !ok {
			t.Errorf("the domain %s is not in the catalogue", name)
			continue
		}
		var examples int
		for _, typ := range d.Types {
			examples += len(typ.Examples)
		}
		got := 1 + len(d.Types) + examples + len(d.Definitions)
		entries, err := os.ReadDir(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != len(entries) {
			t.Errorf("the catalogue has %d files of %s, the folder %d", got, name, len(entries))
		}
	}
	if len(domains) != len(c.Domains()) {
		t.Errorf("the catalogue has %d domains, the folder %d", len(c.Domains()), len(domains))
	}
}

func TestExamplesAreValid(t *testing.T) {
	t.Parallel()
	forEachExample(t, func(t *testing.T, c *schemas.Catalogue, typ schemas.Type, data json.RawMessage) {
		t.Helper()
		verdict, err := c.Check(newEvent(typ.Name, data))
		if err != nil || verdict.Warning != nil {
			t.Fatalf("error %v, warning %v", err, verdict.Warning)
		}
		if verdict.Type.Name != typ.Name {
			t.Errorf("checked as %s", verdict.Type.Name)
		}
	})
}

// TestRequiredFieldsAreNamed removes each required field, at any depth, from
// each example and expects an error about exactly that field.
func TestRequiredFieldsAreNamed(t *testing.T) {
	t.Parallel()
	forEachExample(t, func(t *testing.T, c *schemas.Catalogue, typ schemas.Type, data json.RawMessage) {
		t.Helper()
		domain, _ := c.Domain(typ.Domain)
		w := walker{t: t, domain: domain}
		removed := 0
		root := parse(t, data)
		schema := parse(t, typ.Schema).(map[string]any)
		w.required(schema, "", root, "/data", func(object map[string]any, name, field string) {
			value := object[name]
			delete(object, name)
			broken, err := json.Marshal(root)
			object[name] = value
			if err != nil {
				t.Fatal(err)
			}
			removed++
			var invalid *schemas.ValidationError
			if err := c.Validate(newEvent(typ.Name, broken)); !errors.As(err, &invalid) {
				t.Errorf("without %s: %v, want a ValidationError", field, err)
				return
			}
			want := []schemas.Problem{{Field: field, Message: "is required"}}
			if diff := cmp.Diff(want, invalid.Problems); diff != "" {
				t.Errorf("without %s: %s", field, diff)
			}
			if text := "validate " + typ.Name + ": " + field + " is required"; invalid.Error() != text {
				t.Errorf("got %q, want %q", invalid.Error(), text)
			}
		})
		if list, _ := schema["required"].([]any); removed < len(list) {
			t.Errorf("removed only %d fields of %d", removed, len(list))
		}
	})
}

func parse(tb testing.TB, data []byte) any {
	tb.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// A walker follows schema and data together.
type walker struct {
	t      *testing.T
	domain schemas.Domain
}

// deref follows $ref; file is the one that schema is in, "" for an event's.
func (w walker) deref(schema map[string]any, file string) (map[string]any, string) {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema, file
	}
	target, fragment, _ := strings.Cut(ref, "#/$defs/")
	if target == "" {
		target = file
	}
	doc := parse(w.t, w.domain.Definitions[target]).(map[string]any)
	return w.deref(doc["$defs"].(map[string]any)[fragment].(map[string]any), target)
}

// required calls f for each required field that data has.
func (w walker) required(schema map[string]any, file string, data any, at string, f func(object map[string]any, name, field string)) {
	schema, file = w.deref(schema, file)
	if forms, ok := schema["anyOf"].([]any); ok { // null or something
		if data != nil {
			w.required(forms[1].(map[string]any), file, data, at, f)
		}
		return
	}
	switch data := data.(type) {
	case map[string]any:
		if list, ok := schema["required"].([]any); ok {
			for _, name := range list {
				f(data, name.(string), at+"/"+name.(string))
			}
		}
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(data)) {
			if s, ok := properties[name].(map[string]any); ok {
				w.required(s, file, data[name], at+"/"+name, f)
			}
		}
	case []any:
		if items, ok := schema["items"].(map[string]any); ok {
			for i, item := range data {
				w.required(items, file, item, at+"/"+strconv.Itoa(i), f)
			}
		}
	}
}

// TestSchemasAreDocumented expects every file to have an $id that says where it
// is, and every field a description and examples that are valid.
func TestSchemasAreDocumented(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, d := range c.Domains() {
		w := walker{t: t, domain: d}
		check := func(file string, text json.RawMessage) {
			schema := parse(t, text).(map[string]any)
			if want := "https://github.com/jetpost/jetpost/schemas/" + d.Name + "/" + file; schema["$id"] != want {
				t.Errorf("%s/%s: $id is %v, want %s", d.Name, file, schema["$id"], want)
			}
			for _, keyword := range []string{"$schema", "title", "description"} {
				if schema[keyword] == nil {
					t.Errorf("%s/%s: no %s", d.Name, file, keyword)
				}
			}
			w.documented(schema, file, d.Name+"/"+file)
		}
		for _, typ := range d.Types {
			check(typ.Event+".schema.json", typ.Schema)
		}
		for file, text := range d.Definitions {
			check(file, text)
		}
	}
}

func (w walker) documented(schema map[string]any, file, at string) {
	for _, keyword := range []string{"properties", "$defs"} {
		members, _ := schema[keyword].(map[string]any)
		for name, member := range members {
			s, at := member.(map[string]any), at+"/"+name
			target, _ := w.deref(s, file)
			if s["description"] == nil && target["description"] == nil {
				w.t.Errorf("%s has no description", at)
			}
			w.examples(s, at)
			w.documented(s, file, at)
		}
	}
}

// examples holds the examples of a field against it, where it is simple enough
// to stand alone.
func (w walker) examples(schema map[string]any, at string) {
	if schema["properties"] != nil || schema["items"] != nil || schema["$ref"] != nil || schema["anyOf"] != nil || schema["const"] != nil {
		return
	}
	list, _ := schema["examples"].([]any)
	if len(list) == 0 {
		w.t.Errorf("%s has no examples", at)
		return
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("test:///field", schema); err != nil {
		w.t.Fatal(err)
	}
	compiled, err := compiler.Compile("test:///field")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, example := range list {
		if err := compiled.Validate(example); err != nil {
			w.t.Errorf("%s: example %v: %v", at, example, err)
		}
	}
}

// TestGitExamplesKeepTheOrderOfKeys guards the documented order of keys, which
// receivers see byte for byte. TestJFrogExamples does so for the other domains.
func TestGitExamplesKeepTheOrderOfKeys(t *testing.T) {
	t.Parallel()
	c := load(t)
	user := "id login full_name email avatar_url language is_admin last_login created restricted username"
	repository := "id owner name full_name description empty private fork template parent mirror size html_url ssh_url clone_url original_url " +
		"website stars_count forks_count watchers_count open_issues_count open_pr_counter release_counter default_branch archived created_at " +
		"updated_at permissions has_issues internal_tracker has_wiki has_pull_requests has_projects ignore_whitespace_conflicts " +
		"allow_merge_commits allow_rebase allow_rebase_explicit allow_squash_merge avatar_url internal mirror_interval uris"
	for _, tt := range []struct{ eventType, path, want string }{
		{"git.push", "", "secret ref before after compare_url commits head_commit repository pusher sender"},
		{"git.push", "commits/0", "id message url author committer verification timestamp added removed modified"},
		{"git.push", "commits/0/author", "name email username"},
		{"git.push", "pusher", user},
		{"git.push", "repository", repository},
		{"git.push", "repository/owner", user},
		{"git.pull_request", "", "secret action number pull_request repository sender review"},
		{
			"git.pull_request", "pull_request", "id url number user title body labels milestone assignee assignees state is_locked comments html_url " +
				"diff_url patch_url mergeable merged merged_at merge_commit_sha merged_by base head merge_base due_date created_at updated_at closed_at",
		},
		{"git.pull_request", "pull_request/base", "label ref sha repo_id repo"},
		{"git.pull_request", "pull_request/head/repo", repository},
		{"git.pull_request_comment", "", "secret action issue comment repository sender is_pull"},
	} {
		data := example(t, c, tt.eventType, "")
		for step := range strings.SplitSeq(tt.path, "/") {
			data = child(t, data, step)
		}
		if got := strings.Join(keys(t, data), " "); got != tt.want {
			t.Errorf("%s %s:\n got %s\nwant %s", tt.eventType, tt.path, got, tt.want)
		}
	}
}

// child is the member or item of that name, "" for data itself.
func child(t *testing.T, data json.RawMessage, name string) json.RawMessage {
	t.Helper()
	if name == "" {
		return data
	}
	if i, err := strconv.Atoi(name); err == nil {
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			t.Fatal(err)
		}
		return items[i]
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	return members[name]
}

// keys are the members of an object in the order of the text.
func keys(t *testing.T, data json.RawMessage) []string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(name))
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestListsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	c := load(t)
	d, _ := c.Domain("git")
	d.Types[0].Name = "changed"
	clear(d.Definitions)
	c.Types()[0].Name = "changed"
	again, _ := c.Domain("git")
	if again.Types[0].Name != "git.pull_request" || len(again.Definitions) != 1 || c.Types()[0].Name == "changed" {
		t.Error("changing a list changed the catalogue")
	}
	if _, ok := c.Domain("nope"); ok {
		t.Error("found a domain that is not there")
	}
}
