package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/internal/testkit"
)

// The story of an event, and the explanation of one, as people and programs read them.
func TestShowAndExplain(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("subscription", "create", "--url", "http://127.0.0.1:9000/a", "--id", "main", "--types", "artifact.deployed", "--exact", "subject=main").ok()
	s.cli("subscription", "create", "--url", "http://127.0.0.1:9000/b", "--id", "dev", "--types", "artifact.deployed", "--exact", "subject=dev").ok()
	const event = `{"specversion":"1.0","id":"e1","source":"/cli","type":"artifact.deployed","subject":"main","data":{}}`
	file := testkit.File(t, "event.json", event)

	s.cli("explain", "--event", file).ok("would be refused", "main          yes", "dev           no", `it wants that subject is "dev", and it is "main"`)
	s.cli("explain", "--event", file, "--subscription", "dev").ok(`✗ filters[0].exact.subject "dev"   subject "main"`)
	var answer struct {
		Event struct{ ID string }
		Items []struct {
			ID string `json:"subscription_id"`
		}
	}
	if err := json.Unmarshal([]byte(s.cli("explain", "--event", file, "--only", "matched", "-o", "json").ok().stdout), &answer); err != nil || answer.Event.ID != "e1" || len(answer.Items) != 1 || answer.Items[0].ID != "main" {
		t.Errorf("got %+v, %v", answer, err)
	}
	s.cli("explain").fails("git/42")
	s.cli("explain", "git").fails("git/42")
	s.cli("explain", "--event", testkit.File(t, "broken.json", "{")).fails("not JSON")

	s.cli("publish", "--type", "artifact.deployed", "--source", "/cli", "--subject", "main", "--id", "e2", "--data", artifact(2)).ok()
	const place = "artifact/1"
	s.cli("events", "show", place).ok(place, `"id": "e2"`)
	if story := s.cli("event", "show", place, "--story").ok("  artifact  1  artifact.deployed  main  e2 from /cli"); strings.Contains(story.stdout, `"specversion"`) {
		t.Errorf("the story has the data of the event: %s", story.stdout)
	}
	s.cli("events", "show", place, "--subscription", "dev").fails("give --story")
	s.cli("event", "show", place, "--story").ok("routed: waiting", "DOES NOT WANT IT", "dev")
	s.cli("events", "show", "--source", "/cli", "--id", "e2", "--story", "--subscription", "dev").ok("not_matched", "filters[0].exact.subject")
	s.cli("events", "show", "--source", "/cli", "--id", "e2", "-o", "json").ok(`"sequence": 1`)
	s.cli("explain", place, "--subscription", "main").ok("main")
	s.cli("events", "show").fails("--source and --id")

	odd := "{ " /* white space around it would be the envelope's */ + strings.ReplaceAll(strings.TrimPrefix(artifact(3), "{"), ",", " ,\r\n\t")
	s.cli("publish", "--type", "artifact.deployed", "--source", "/cli", "--id", "e3", "--data", odd).ok()
	for _, args := range [][]string{{"artifact/2"}, {"--source", "/cli", "--id", "e3"}} {
		if got := s.cli(append([]string{"events", "show", "--data"}, args...)...).ok().stdout; got != odd {
			t.Errorf("the data is printed as %q, want %q", got, odd)
		}
	}
	if got := s.cli("events", "list", "--data").ok().stdout; strings.Count(got, "\n") != 4 || strings.Contains(got, "\ufffd") {
		t.Errorf("want two lines for each event:\n%s", got)
	}
	s.cli("events", "show", "artifact/2", "--data", "-o", "json").fails("leave --output out")
	s.cli("events", "show", "artifact/2", "--data", "--story").fails("--data")
	s.cli("events", "show", "artifact/999").fails("30 days")

	s.cli("subscription", "backlog").ok("SUBSCRIPTION", "main", "dev")
	s.cli("subscription", "backlog", "main").ok("closed")
	s.cli("subscription", "backlog", "unknown").fails("unknown")
}
