package schemas_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/schemas"
)

// A documented is what JFrog publishes about some events of a domain: their ids
// and the fields of their data in the order in which receivers see them. "?"
// marks a field that may be absent.
type documented struct{ domain, events, fields string }

func jfrogEvents() []documented {
	const (
		item        = "repo_key path name sha256 size"
		moved       = "repo_key path name sha256? size source_repo_path target_repo_path"
		image       = item + " image_name tag platforms image_type?"
		destination = "release_bundle_name release_bundle_version status_message"
		bundle      = "repository_key release_bundle_name release_bundle_version created"
		gate        = "application_key application_version stage evaluation_id"
		application = "application_key project_key display_name description criticality maturity_level labels owners timestamp"
		version     = "application_version application_key"
	)
	return []documented{
		{"artifact", "deployed deleted cached", item},
		{"artifact", "moved copied", moved},
		{"artifact_property", "added deleted", "repo_key path name sha256? size property_key property_values"},
		{"docker", "pushed deleted", image},
		{"docker", "promoted", image + " target_repo? target_tag?"},
		{"build", "uploaded deleted promoted", "build_name build_number build_started build_repo?"},
		{"release_bundle", "created signed deleted", "release_bundle_name release_bundle_size release_bundle_version"},
		{
			"distribution", "distribute_started distribute_completed distribute_aborted distribute_failed delete_started delete_completed delete_failed",
			"edge_node_info_list release_bundle_name release_bundle_size release_bundle_version status_message transaction_id",
		},
		{"destination", "received delete_started delete_completed delete_failed", destination},
		{"artifactory_release_bundle", "received delete_started delete_completed delete_failed", destination},
		{"release_bundle_v2", "release_bundle_v2_started release_bundle_v2_failed release_bundle_v2_completed", bundle},
		{
			"release_bundle_v2_promotion",
			"release_bundle_v2_promotion_started release_bundle_v2_promotion_failed release_bundle_v2_promotion_completed",
			"repository_key release_bundle_name release_bundle_version environment created created_millis",
		},
		{
			"user", "locked",
			"admin disable_ui_access email groups internal_password_disabled last_logged_in profile_updatable realm status username",
		},
		{"artifact_lifecycle", "archive restore", ""},
		{"xray_scan_status", "done failed partial not_supported", "resource overall details occurred_at"},
		{"app_trust", "entry_gate_evaluation_started exit_gate_evaluation_started", gate},
		{
			"app_trust", "entry_gate_evaluation_validation_passed entry_gate_evaluation_validation_failed " +
				"exit_gate_evaluation_validation_passed exit_gate_evaluation_validation_failed", gate + " decision explanation",
		},
		{"app_trust", "application_creation_started application_creation_completed application_creation_failed", application},
		{"app_trust", "application_update_started application_update_completed application_update_failed", application},
		{"app_trust", "application_deletion_started application_deletion_completed application_deletion_failed", application},
		{"app_trust", "version_creation_started version_creation_completed version_creation_failed", version},
		{"app_trust", "version_promotion_started version_promotion_completed version_promotion_failed", version + " stage"},
		{"app_trust", "release_started release_completed release_failed", version + " stage"},
	}
}

// jfrogFields are the documented fields of each event type.
func jfrogFields() map[string][]string {
	types := map[string][]string{}
	for _, d := range jfrogEvents() {
		for event := range strings.FieldsSeq(d.events) {
			types[d.domain+"."+event] = strings.Fields(d.fields)
		}
	}
	return types
}

// forEachJFrogType runs f for every documented type, in parallel.
func forEachJFrogType(t *testing.T, f func(t *testing.T, typ schemas.Type, fields []string)) {
	t.Helper()
	c := load(t)
	for name, fields := range jfrogFields() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			typ, err := c.Resolve(name)
			if err != nil {
				t.Fatal(err)
			}
			f(t, typ, fields)
		})
	}
}

func TestJFrogTypes(t *testing.T) {
	t.Parallel()
	want, domains := map[string]bool{}, map[string]bool{}
	for _, d := range jfrogEvents() {
		domains[d.domain] = true
		for event := range strings.FieldsSeq(d.events) {
			want[d.domain+"."+event] = true
		}
	}
	if len(want) != 68 || len(domains) != 14 {
		t.Fatalf("the table has %d pairs in %d domains, JFrog documents 68 in 14", len(want), len(domains))
	}
	got := map[string]bool{}
	for _, typ := range load(t).Types() {
		if domains[typ.Domain] {
			got[typ.Domain+"."+typ.Event] = true
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestJFrogSchemas compares the fields of each schema, and which of them are
// required, with the documented ones.
func TestJFrogSchemas(t *testing.T) {
	t.Parallel()
	forEachJFrogType(t, func(t *testing.T, typ schemas.Type, fields []string) {
		t.Helper()
		var schema struct {
			Required   []string        `json:"required"`
			Properties json.RawMessage `json:"properties"`
		}
		if err := json.Unmarshal(typ.Schema, &schema); err != nil {
			t.Fatal(err)
		}
		var got []string
		if schema.Properties != nil {
			got = keys(t, schema.Properties)
		}
		for i, name := range got {
			if !slices.Contains(schema.Required, name) {
				got[i] += "?"
			}
		}
		if diff := cmp.Diff(strings.Join(fields, " "), strings.Join(got, " ")); diff != "" {
			t.Error(diff)
		}
	})
}

// TestJFrogExamples expects every example to have its fields in the documented
// order, the main one all of them, and each optional field to be absent once.
func TestJFrogExamples(t *testing.T) {
	t.Parallel()
	forEachJFrogType(t, func(t *testing.T, typ schemas.Type, fields []string) {
		t.Helper()
		if len(fields) == 0 {
			return // any object
		}
		absent := map[string]bool{}
		for _, example := range typ.Examples {
			given := keys(t, example.Data)
			var want []string
			for _, field := range fields {
				name, optional := strings.CutSuffix(field, "?")
				if optional && example.Name != "" && !slices.Contains(given, name) {
					absent[field] = true
					continue
				}
				want = append(want, name)
			}
			if diff := cmp.Diff(want, given); diff != "" {
				t.Errorf("example %q: %s", example.Name, diff)
			}
		}
		for _, field := range fields {
			if strings.HasSuffix(field, "?") && !absent[field] {
				t.Errorf("no example is without %s", field)
			}
		}
	})
}

func TestJFrogObjectsKeepTheOrderOfKeys(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tt := range []struct{ eventType, path, want string }{
		{"docker.pushed", "platforms/0", "architecture os"},
		{"distribution.distribute_started", "edge_node_info_list/0", "edge_node_address edge_node_name"},
		{"xray_scan_status.done", "resource", "type repo path name"},
		{"xray_scan_status.done", "overall", "status updated_at"},
		{"xray_scan_status.failed", "overall", "status updated_at error"},
		{"xray_scan_status.partial", "details", "sca violations exposures contextual_analysis"},
		{"xray_scan_status.partial", "details/contextual_analysis", "status updated_at error"},
		{"app_trust.application_creation_started", "labels/0", "key value"},
		{"app_trust.application_creation_started", "owners/0", "name type"},
	} {
		data := example(t, c, tt.eventType, "")
		for step := range strings.SplitSeq(tt.path, "/") {
			data = child(t, data, step)
		}
		if got := strings.Join(keys(t, data), " "); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.eventType, tt.path, got, tt.want)
		}
	}
}

// A fact is an entry of the collected samples: a published or captured webhook.
type fact struct {
	Domain    string `json:"domain"`
	EventType string `json:"event_type"`
	Payload   struct {
		Domain    string          `json:"domain"`
		EventType string          `json:"event_type"`
		Data      json.RawMessage `json:"data"` // as in the file: transaction_id does not fit a float64
	} `json:"payload"`
}

func jfrogFacts(t *testing.T) []fact {
	t.Helper()
	var facts []fact
	if err := json.Unmarshal(factSheet(t, "jfrog_examples.json"), &facts); err != nil {
		t.Fatal(err)
	}
	return facts
}

// factSheet reads a file of samples. They lie one folder deeper than what is
// embedded.
func factSheet(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "facts", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestJFrogFactsAreValid(t *testing.T) {
	t.Parallel()
	c, facts, fields := load(t), jfrogFacts(t), jfrogFields()
	pairs := map[string]bool{}
	for i, f := range facts {
		name := f.Domain + "." + f.EventType
		pairs[name] = true
		if f.Payload.Domain != f.Domain || f.Payload.EventType != f.EventType {
			t.Errorf("entry %d: filed as %s, is %s.%s", i, name, f.Payload.Domain, f.Payload.EventType)
		}
		e := newEvent(name, slices.Clone(f.Payload.Data))
		verdict, err := c.Check(e)
		if err != nil || verdict.Warning != nil {
			t.Errorf("entry %d: error %v, warning %v", i, err, verdict.Warning)
		}
		if string(e.Data) != string(f.Payload.Data) {
			t.Errorf("entry %d: checking it changed its data", i)
		}
		var want []string
		given := keys(t, f.Payload.Data)
		for _, field := range fields[name] {
			if name, optional := strings.CutSuffix(field, "?"); !optional || slices.Contains(given, name) {
				want = append(want, name)
			}
		}
		if diff := cmp.Diff(want, given); diff != "" {
			t.Errorf("entry %d, %s: %s", i, name, diff)
		}
	}
	if len(facts) != 72 || len(pairs) != 64 {
		t.Errorf("%d entries of %d pairs, want 72 of 64", len(facts), len(pairs))
	}
}

// TestJFrogTestPayloads compares the example "test" of each type with what the
// Test button of the original sends. Where that is not known, it is the sample.
func TestJFrogTestPayloads(t *testing.T) {
	t.Parallel()
	const (
		item  = `"repo_key":"sample_repo","path":"sample_dir/sample.txt","name":"sample.txt","sha256":"sample_checksum","size":0`
		moved = `{` + item + `,"source_repo_path":"sample_repo","target_repo_path":"sample_target_repo"}`
		// The original shifts the values of these fields by one.
		image = `{` + item + `,"image_name":"sample_arch","tag":"sample_image","platforms":[{"architecture":"sample_os","os":"sample_tag"}]}`
		build = `{"build_name":"sample_build_name","build_number":"1","build_started":"1970-01-01T00:00:00.000+0000","build_repo":"artifactory-build-info"}`
	)
	known := map[string]string{
		"artifact.moved": moved, "artifact.copied": moved,
		"artifact": `{` + item + `}`, "docker": image, "build": build,
		"artifact_property": `{` + item + `,"property_key":"sample_prop_key","property_values":["sample_value"]}`,
	}
	samples := map[string]string{}
	for _, f := range jfrogFacts(t) {
		name := f.Domain + "." + f.EventType
		samples[name] = string(f.Payload.Data)
		if f.Domain == "destination" {
			samples["artifactory_release_bundle."+f.EventType] = samples[name]
		}
	}
	forEachJFrogType(t, func(t *testing.T, typ schemas.Type, _ []string) {
		t.Helper()
		want, ok := known[typ.Name]
		if !ok {
			want, ok = known[typ.Domain]
		}
		if !ok {
			want, ok = samples[typ.Name]
		}
		if !ok {
			t.Fatal("no payload is known")
		}
		i := slices.IndexFunc(typ.Examples, func(e schemas.Example) bool { return e.Name == "test" })
		if i < 0 {
			t.Fatal(`has no example "test"`)
		}
		if diff := cmp.Diff(want, string(typ.Examples[i].Data)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestJFrogBigNumbersStayExact uses numbers that a float64 would round.
func TestJFrogBigNumbersStayExact(t *testing.T) {
	t.Parallel()
	c := load(t)
	const sample, before, after = "395969746957422600", `"transaction_id":`, "}"
	data := string(example(t, c, "distribution.distribute_started", "test"))
	if !strings.HasSuffix(data, before+sample+after) {
		t.Fatalf("the transaction is no longer %s in %s", sample, data)
	}
	for _, tt := range []struct{ number, problem string }{
		{sample, ""},
		{"395969746957422601", ""},
		{"9007199254740993", ""},
		{"9223372036854775807", ""},
		{"9223372036854775808", "must be at most 9223372036854775807"},
		{"-9223372036854775809", "must be at least -9223372036854775808"},
		{"395969746957422600.5", "must be an integer, is a number"},
		{`"395969746957422600"`, "must be an integer, is a string"},
	} {
		text := strings.TrimSuffix(data, sample+after) + tt.number + after
		e := newEvent("distribution.distribute_started", []byte(text))
		got := fieldProblems(t, c.Validate(e))
		var want []schemas.Problem
		if tt.problem != "" {
			want = []schemas.Problem{{Field: "/data/transaction_id", Message: tt.problem}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", tt.number, diff)
		}
		if string(e.Data) != text {
			t.Errorf("%s: the data is now %s", tt.number, e.Data)
		}
	}
}

func fieldProblems(t *testing.T, err error) []schemas.Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	var invalid *schemas.ValidationError
	if !errors.As(err, &invalid) {
		t.Fatalf("%v is no ValidationError", err)
	}
	return invalid.Problems
}

// TestJFrogData changes the main example of a type by replacing a piece of it.
func TestJFrogData(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tt := range []struct{ name, eventType, old, new, want string }{
		{"a name is missing", "artifact.deployed", `"name":"anvil-2.4.0.jar",`, ``, "/data/name is required"},
		{"a size is missing", "artifact.deployed", `,"size":1843277`, ``, "/data/size is required"},
		{"a size in quotes", "artifact.deployed", `:1843277`, `:"1843277"`, "/data/size must be an integer, is a string"},
		{"a negative size", "artifact.deployed", `:1843277`, `:-1`, "/data/size must be at least 0"},
		{"a size is too large", "artifact.deployed", `:1843277`, `:9223372036854775808`, "/data/size must be at most 9223372036854775807"},
		{"a leading slash", "artifact_property.added", `"path":"`, `"path":"/`, "/data/path must match the pattern ^([^/]|$)"},
		{"a property has one value", "artifact_property.added", `["qa","security"]`, `"qa"`, "/data/property_values must be an array, is a string"},
		{"a value is a number", "artifact_property.added", `"qa"`, `1`, "/data/property_values/0 must be a string, is a number"},
		{"a property is cleared", "artifact_property.deleted", `["qa","security"]`, `[]`, ""},
		{"no platforms", "docker.pushed", `"platforms":[{"architecture":"amd64","os":"linux"}],`, ``, "/data/platforms is required"},
		{"a platform has no os", "docker.pushed", `,"os":"linux"`, ``, "/data/platforms/0/os is required"},
		{"an unknown kind of image", "docker.pushed", `"image_type":"docker"`, `"image_type":"wasm"`, ""},
		{"a build number without quotes", "build.uploaded", `"218"`, `218`, "/data/build_number must be a string, is a number"},
		{"another time format", "build.uploaded", `2025-11-02T09:41:07.312+0100`, `2025-11-02 09:41`, ""},
		{"an edge node has no name", "distribution.delete_failed", `,"edge_node_name":"edge-south"`, ``, "/data/edge_node_info_list/0/edge_node_name is required"},
		{"no status", "destination.received", `,"status_message":"COMPLETED"`, ``, "/data/status_message is required"},
		{"the alias is as strict", "artifactory_release_bundle.received", `,"status_message":"COMPLETED"`, ``, "/data/status_message is required"},
		{"no environment", "release_bundle_v2_promotion.release_bundle_v2_promotion_completed", `"environment":"PROD",`, ``, "/data/environment is required"},
		{"milliseconds as text", "release_bundle_v2_promotion.release_bundle_v2_promotion_completed", `1762074750517`, `"1762074750517"`, ""},
		{"a group is no list", "user.locked", `["readers","team-anvil"]`, `"readers"`, "/data/groups must be an array, is a string"},
		{"a flag in quotes", "user.locked", `"admin":false`, `"admin":"false"`, "/data/admin must be a boolean, is a string"},
		{"never logged in", "user.locked", `"2025-11-01T18:22:04.117Z"`, `null`, ""},
		{"an object of its own", "artifact_lifecycle.archive", `"policy"`, `"anything"`, ""},
		{"no status of a scan", "xray_scan_status.done", `"overall":{"status":"done",`, `"overall":{`, "/data/overall/status is required"},
		{"a part was not scanned", "xray_scan_status.done", `"exposures":{"status":"done","updated_at":"2025-11-02T09:44:02Z"}`, `"exposures":null`, ""},
		{"a part of a scan is missing", "xray_scan_status.done", `"exposures":{"status":"done","updated_at":"2025-11-02T09:44:02Z"},`, ``, "/data/details/exposures is required"},
		{"no stage", "app_trust.release_completed", `,"stage":"PROD"`, ``, "/data/stage is required"},
		{"no owners", "app_trust.application_creation_completed", `[{"name":"ada","type":"user"},{"name":"team-anvil","type":"group"}]`, `null`, ""},
		{"a field of a later edition", "docker.pushed", `"image_type"`, `"digest":"x","image_type"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			data := string(example(t, c, tt.eventType, ""))
			if !strings.Contains(data, tt.old) {
				t.Fatalf("%s is not in %s", tt.old, data)
			}
			changed := strings.Replace(data, tt.old, tt.new, 1)
			var got []string
			for _, p := range fieldProblems(t, c.Validate(newEvent(tt.eventType, []byte(changed)))) {
				got = append(got, p.String())
			}
			if strings.Join(got, "; ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	for _, data := range []string{`[]`, `"archived"`, `null`} {
		got := fieldProblems(t, c.Validate(newEvent("artifact_lifecycle.archive", []byte(data))))
		if len(got) != 1 || got[0].Field != "/data" {
			t.Errorf("%s: got %v, want a problem with the data as a whole", data, got)
		}
	}
}
