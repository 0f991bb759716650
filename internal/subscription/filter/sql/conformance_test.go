package sql

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/event"
)

// TestConformance runs the conformance suite that comes with the module of the
// grammar, wherever Go keeps that module.
func TestConformance(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cloudevents/sdk-go/sql/v2").Output()
	if err != nil {
		t.Fatalf("find the conformance suite: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "test", "tck", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no conformance suite: %v", err)
	}
	var cases int
	for _, file := range files {
		var suite struct {
			Tests []struct {
				Name, Expression, Error string
				Result                  yaml.Node
				Event                   map[string]yaml.Node
				EventOverrides          map[string]yaml.Node `yaml:"eventOverrides"`
			}
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, &suite); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, tt := range suite.Tests {
			cases++
			e := &event.Event{}
			if tt.Event == nil {
				e = testEvent()
			}
			for _, attributes := range []map[string]yaml.Node{tt.Event, tt.EventOverrides} {
				for name, value := range attributes {
					set(e, name, value.Value)
				}
			}
			name := filepath.Base(file) + ": " + tt.Name
			p, err := Compile(tt.Expression)
			if refused := tt.Error == "parse" || tt.Error == "missingFunction"; refused || err != nil {
				if !refused || err == nil {
					t.Errorf("%s: %s: %v, want error %q", name, tt.Expression, err, tt.Error)
				}
				continue
			}
			v, f := p.root.eval(&run{event: e, left: 1 << 30})
			want := map[string]failure{"math": mathFailure, "cast": castFailure, "missingAttribute": missingAttribute, "functionEvaluation": functionFailure}[tt.Error]
			if f != want {
				t.Errorf("%s: %s: failure %d, want %q", name, tt.Expression, f, tt.Error)
			}
			if got, ok := asIn(v, tt.Result); !ok && tt.Name == "Access to optional integer extension" {
				continue // extensions have no types in jetpost, and no Integer is a match
			} else if !ok {
				t.Errorf("%s: %s: got %s, want %s %s", name, tt.Expression, got, tt.Result.Tag, tt.Result.Value)
			}
		}
	}
	t.Logf("%d cases", cases)
	if cases < 200 {
		t.Errorf("the suite has %d cases, there were more", cases)
	}
}

func set(e *event.Event, name, value string) {
	fields := map[string]*string{"id": &e.ID, "source": &e.Source, "type": &e.Type, "subject": &e.Subject, "time": &e.Time}
	if field, ok := fields[name]; ok {
		*field = value
	} else if name != "specversion" {
		e.Extensions = append([]event.Attribute{{Name: name, Value: value}}, e.Extensions...)
	}
}

// asIn compares a value with a scalar of YAML.
func asIn(v value, want yaml.Node) (string, bool) {
	switch v.kind {
	case integer:
		got := strconv.Itoa(int(v.number))
		return got, want.Tag == "!!int" && got == want.Value
	case boolean:
		got := strconv.FormatBool(v.truth)
		return got, want.Tag == "!!bool" && got == strings.ToLower(want.Value)
	case text, anything:
	}
	return v.text, want.Tag != "!!int" && want.Tag != "!!bool" && v.text == want.Value
}
