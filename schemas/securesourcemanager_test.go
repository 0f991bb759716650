package schemas_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/event"
)

// TestSecureSourceManagerFactsAreValid checks the published payloads, as they
// are, against our schemas.
func TestSecureSourceManagerFactsAreValid(t *testing.T) {
	t.Parallel()
	c := load(t)
	for file, eventType := range map[string]string{
		"ssm_push.json":         "git.push",
		"ssm_pull_request.json": "git.pull_request",
	} {
		verdict, err := c.Check(newEvent(eventType, factSheet(t, file)))
		if err != nil || verdict.Warning != nil {
			t.Errorf("%s: error %v, warning %v", file, err, verdict.Warning)
		}
	}
}

// TestGitExamplesHaveTheShapeOfTheFacts compares all names of fields, at any
// depth and in order, with the published payloads.
func TestGitExamplesHaveTheShapeOfTheFacts(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tt := range []struct{ file, eventType, example string }{
		{"ssm_push.json", "git.push", ""},
		{"ssm_push.json", "git.push", "test"},
		{"ssm_pull_request.json", "git.pull_request", ""},
	} {
		want := shape(t, factSheet(t, tt.file))
		if diff := cmp.Diff(want, shape(t, example(t, c, tt.eventType, tt.example))); diff != "" {
			t.Errorf("%s, example %q: %s", tt.eventType, tt.example, diff)
		}
	}
}

// shape names the fields of data, and of its objects and first items.
func shape(t *testing.T, data json.RawMessage) string {
	t.Helper()
	switch data[0] {
	case '{':
		var fields []string
		for _, name := range keys(t, data) {
			fields = append(fields, name+shape(t, child(t, data, name)))
		}
		return "{" + strings.Join(fields, " ") + "}"
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(data, &items); err != nil {
			t.Fatal(err)
		}
		if len(items) > 0 && items[0][0] == '{' {
			return "[" + shape(t, items[0]) + "]"
		}
		return "[]"
	default:
		return ""
	}
}

// TestGitTestPayload guards what the Test Delivery button sends: a push to the
// default branch that moves nothing, with one invented commit.
func TestGitTestPayload(t *testing.T) {
	t.Parallel()
	var push struct {
		Ref, Before, After string
		Commits            []struct{ ID string }
		Repository         struct {
			DefaultBranch string `json:"default_branch"`
		}
	}
	if err := json.Unmarshal(example(t, load(t), "git.push", "test"), &push); err != nil {
		t.Fatal(err)
	}
	if push.Ref != "refs/heads/"+push.Repository.DefaultBranch || push.Before != push.After || len(push.Commits) != 1 || push.Commits[0].ID != push.After {
		t.Errorf("got %+v", push)
	}
}

// TestGitOptionalFieldsKeepTheirPlace looks at the fields that only some events
// have.
func TestGitOptionalFieldsKeepTheirPlace(t *testing.T) {
	t.Parallel()
	c := load(t)
	for _, tt := range []struct{ eventType, path, want string }{
		{"git.pull_request", "", "secret action number changes pull_request repository sender review"},
		{"git.pull_request", "changes/title", "from"},
		{"git.pull_request_comment", "", "secret action issue comment changes repository sender is_pull"},
		{"git.pull_request_comment", "changes/body", "from"},
	} {
		data := example(t, c, tt.eventType, "edited")
		for step := range strings.SplitSeq(tt.path, "/") {
			data = child(t, data, step)
		}
		if got := strings.Join(keys(t, data), " "); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.eventType, tt.path, got, tt.want)
		}
	}
}

// TestGitRefusesASecret keeps a secret out of the data: it would be stored
// in the event log and shown to auditors.
func TestGitRefusesASecret(t *testing.T) {
	t.Parallel()
	c := load(t)
	data := strings.Replace(string(factSheet(t, "ssm_push.json")), `"secret": ""`, `"secret": "swordfish"`, 1)
	err := c.Validate(&event.Event{ID: "1", Source: "/test", Type: "git.push", Data: []byte(data)})
	if got := fieldProblems(t, err); len(got) != 1 || got[0].Field != "/data/secret" || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("got %v", err)
	}
}
