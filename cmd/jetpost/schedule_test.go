package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An empty schedule means one attempt, wherever it is written, and stays what it is on
// its way through the API, changes of other fields, export and files.
func TestEmptySchedule(t *testing.T) {
	t.Parallel()
	s, fresh := newAPIServer(t), newAPIServer(t)
	want := func(id string, attempts ...any) {
		t.Helper()
		retry := s.cli("subscription", "get", id, "-o", "json").shownJSON()["delivery"].(map[string]any)["retry"].(map[string]any)
		if diff := cmp.Diff(map[string]any{"schedule": append([]any{}, attempts...), "jitter": 0.2}, retry); diff != "" {
			t.Errorf("%s: retry (-want +got):\n%s", id, diff)
		}
	}
	s.cli("subscription", "create", "--id", "flag", "--types", "git.push", "--url", "http://127.0.0.1:9000/", "--no-retries").ok("attempts   one, no retries")
	s.cliWith(t.Context(), `{"id":"file","types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/"},"delivery":{"retry":{"schedule":[]}}}`,
		"subscription", "create", "--file", "-").ok("one, no retries")
	applied := "id: applied\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/'}\ndelivery:\n  retry: {schedule: []}\n"
	s.cliWith(t.Context(), applied, "apply", "-f", "-").ok("1 created")
	s.cliWith(t.Context(), applied, "apply", "-f", "-", "--dry-run", "--exit-code").ok("1 unchanged")
	for _, id := range []string{"flag", "file", "applied"} {
		want(id)
		s.cli("subscription", "update", id, "--description", "changed").ok()
		want(id)
	}
	// There and back, also without a word about it: absent and null are the default.
	s.cli("subscription", "update", "flag", "--schedule", "0s,5s").ok("0s 5s")
	want("flag", "0s", "5s")
	s.cli("subscription", "update", "flag", "--patch", `{"delivery":{"retry":{"schedule":[]}}}`).ok("one, no retries")
	want("flag")
	s.cli("subscription", "update", "file", "--patch", `{"delivery":{"retry":{"schedule":null}}}`).ok("0s 5s 5m")
	s.cli("subscription", "update", "file", "--no-retries").ok("one, no retries")
	want("file")
	s.cli("subscription", "update", "file", "--no-retries", "--schedule", "0s").fails("--no-retries")

	exported := s.cli("export").ok().stdout
	if n := strings.Count(exported, "schedule: []"); n != 3 {
		t.Errorf("the schedule is exported %d times, want 3:\n%s", n, exported)
	}
	fresh.cliWith(t.Context(), exported, "apply", "-f", "-", "--without-secrets").ok("3 created")
	if again := fresh.cli("export").ok().stdout; strings.Count(again, "schedule: []") != 3 {
		t.Errorf("the export of what was exported:\n%s", again)
	}
}
