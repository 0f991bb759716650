package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/cli/publish"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/testkit"
)

// shownJSON is a subscription as --output json prints it.
func (r cliResult) shownJSON() map[string]any {
	r.tb.Helper()
	r.ok()
	var got map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		r.tb.Fatalf("%v in %s", err, r.stdout)
	}
	return got
}

// shownList is the same for a list.
func (r cliResult) shownList() []map[string]any {
	r.tb.Helper()
	r.ok()
	var got []map[string]any
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
		r.tb.Fatalf("%v in %s", err, r.stdout)
	}
	return got
}

func TestSubscriptionCreate(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook").
		ok("created subscription ci", "whsec_", "jetpost subscription test ci", "jetpost attempts ci --follow", "http://127.0.0.1:9000/hook")

	secret := testkit.File(t, "key", "swordfish\n")
	got := s.cli("sub", "create", "--id", "full", "--types", "git.push,git.pull_request", "--types", "artifact.*",
		"--url", "http://127.0.0.1:9000/hook?token=swordfish", "--profile", "standard",
		"--exact", "subject=main", "--exact", "data.ref=a,b=c", "--prefix", "data.path=org/", "--suffix", "data.name=.jar",
		"--filter", `{"not":{"exact":{"source":"/git/x"}}}`,
		"--header", "X-Team=red, blue", "--secret-header", "X-Key=swordfish", "--secret-header", "Authorization=@"+secret,
		"--max-in-flight", "3", "--schedule", "0s,5s,2m", "--timeout", "2s", "--label", "team=red", "--label", "env=a,b",
		"--description", "for the tests", "--output", "json").shownJSON()
	want := map[string]any{
		"types": []any{"git.push", "git.pull_request", "artifact.*"}, "profile": "standard", "description": "for the tests",
		"labels": map[string]any{"team": "red", "env": "a,b"},
		"filters": []any{
			map[string]any{"not": map[string]any{"exact": map[string]any{"source": "/git/x"}}},
			map[string]any{"exact": map[string]any{"subject": "main"}},
			map[string]any{"exact": map[string]any{"data.ref": "a,b=c"}},
			map[string]any{"prefix": map[string]any{"data.path": "org/"}},
			map[string]any{"suffix": map[string]any{"data.name": ".jar"}},
		},
		"endpoint": map[string]any{
			"url": "http://127.0.0.1:9000/hook", "query": "[secret]", "method": "POST", "timeout": "2s",
			"headers": map[string]any{"X-Team": "red, blue"}, "secret_headers": map[string]any{"X-Key": "[secret]", "Authorization": "[secret]"},
		},
	}
	for field, value := range want {
		if diff := cmp.Diff(value, got[field]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", field, diff)
		}
	}
	if retry := got["delivery"].(map[string]any)["retry"].(map[string]any); !cmp.Equal(retry["schedule"], []any{"0s", "5s", "2m"}) {
		t.Errorf("got %v", got["delivery"])
	}

	// From a file, with a flag over it.
	file := testkit.File(t, "sub.json", `{"id":"from-file","types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/","headers":{"A":"1"}},"delivery":{"max_in_flight":2,"retry":{"jitter":0}}}`)
	got = s.cli("subscription", "create", "--file", file, "--url", "http://127.0.0.1:9001/", "--header", "B=2", "--schedule", "0s,1s", "-o", "json").shownJSON()
	if endpoint := got["endpoint"].(map[string]any); endpoint["url"] != "http://127.0.0.1:9001/" || !cmp.Equal(endpoint["headers"], map[string]any{"A": "1", "B": "2"}) {
		t.Errorf("got %v", endpoint)
	}
	if diff := cmp.Diff(map[string]any{"max_in_flight": 2.0, "senders": 1.0, "max_age": "120h", "breaker": map[string]any{"mode": "on", "failures": 10.0, "disable_after": "120h"}, "retry": map[string]any{"schedule": []any{"0s", "1s"}, "jitter": 0.0}}, got["delivery"]); diff != "" {
		t.Error(diff)
	}
	s.cliWith(t.Context(), `{"types":["git.push"],"endpoint":{"url":"http://127.0.0.1:9000/"}}`, "subscription", "create", "--file", "-").ok("created subscription sub-")

	for args, want := range map[string]string{
		"--exact subject":             "--exact subject: write NAME=VALUE",
		"--filter {":                  "is not JSON",
		"--header x":                  "--header: write NAME=VALUE",
		"--secret-header swordfish":   "--secret-header: write NAME=VALUE",
		"--secret-header a=@/no/file": "/no/file",
		"--file /no/file":             "there is no file /no/file",
	} {
		name, value, _ := strings.Cut(args, " ")
		err := s.cli("subscription", "create", "--types", "git.push", "--url", "http://127.0.0.1:9000/", name, value).fails(want).err
		if strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%s: the error shows a secret", args)
		}
	}
}

func TestSubscriptionChanges(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	for _, id := range []string{"a", "b", "c"} {
		s.cli("subscription", "create", "--id", id, "--types", "git.push", "--url", "http://127.0.0.1:9000/"+id, "--label", "name="+id).ok()
	}
	list := s.cli("subscription", "list").ok("ID", "a ", "b ", "c ", "http://127.0.0.1:9000/b").stdout
	if strings.Count(list, "\n") != 4 || strings.Contains(list, "whsec_") {
		t.Errorf("got\n%s", list)
	}
	if got := s.cli("subscription", "list", "--label", "name=b").ok().stdout; strings.Count(got, "\n") != 2 {
		t.Errorf("got\n%s", got)
	}
	s.cli("subscription", "pause", "b", "--reason", "maintenance").ok("paused", "jetpost subscription resume b")
	s.cli("subscription", "get", "b").ok("paused (maintenance)")
	var paused []map[string]any
	if err := json.Unmarshal([]byte(s.cli("subscription", "list", "--state", "paused", "-o", "json").ok().stdout), &paused); err != nil || len(paused) != 1 {
		t.Errorf("got %v, %v", paused, err)
	}
	s.cli("subscription", "resume", "b").ok("subscription b is active")

	s.cli("subscription", "update", "a", "--types", "git.*", "--max-in-flight", "7").ok("git.*", "at most 7", "http://127.0.0.1:9000/a", "name=a")
	s.cli("subscription", "update", "a", "--ordered").ok("one at a time, in order")
	s.cli("subscription", "update", "a", "--max-in-flight", "7").fails("delivery.ordered")
	s.cli("subscription", "update", "a", "--no-ordered", "--max-in-flight", "7").ok("at most 7")
	s.cli("subscription", "update", "a", "--patch", `{"labels":null,"description":"x"}`).ok("description")
	got := s.cli("subscription", "get", "a", "--output", "json").shownJSON()
	if got["labels"] != nil || got["description"] != "x" {
		t.Errorf("got %v", got)
	}
	// What is read can be changed and sent back.
	got["description"] = "from a file"
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	s.cli("subscription", "update", "a", "--file", testkit.File(t, "a.json", string(text))).ok("from a file", "git.*")
	s.cli("subscription", "update", "a").fails("nothing to change")
	s.cli("subscription", "update", "a", "--patch", "{}", "--url", "http://127.0.0.1/").fails("--patch goes alone")

	first := s.cli("subscription", "rotate", "c").ok("whsec_", "signs as well until").stdout
	again := s.cli("subscription", "rotate", "c", "--overlap", "0s").ok("whsec_").stdout
	if secret := regexp.MustCompile(`whsec_\S+`); secret.FindString(first) == secret.FindString(again) {
		t.Error("two rotations made the same secret")
	}
	s.cli("subscription", "rotate", "c", "--overlap", "300h").fails("overlap")

	s.cli("subscription", "delete", "a", "b").ok("deleted subscription a; 0 waiting", "deleted subscription b")
	s.cli("subscription", "delete", "a").fails("delete a", "not found")
	if got := s.cli("subscription", "list").ok().stdout; strings.Count(got, "\n") != 2 {
		t.Errorf("got\n%s", got)
	}
}

func TestSubscriptionTest(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook").ok()
	if r := s.cli("subscription", "test", "ci", "--wait", "0s").ok("sent git.push as dlv_"); r.stderr != "" {
		t.Errorf("got %s", r.stderr)
	}
	if r := s.cli("subscription", "test", "ci", "--wait", "50ms").ok("sent git.push"); !strings.Contains(r.stderr, "no attempt within 50ms") {
		t.Errorf("got %s", r.stderr)
	}
	// The test plays the sender: of what has been sent, and of something else.
	answer := func(outcome delivery.Outcome, status int) *following {
		f := s.background("subscription", "test", "ci", "--wait", "30s")
		sent := regexp.MustCompile(`dlv_\w+`).FindString(f.until("dlv_"))
		for sent == "" || len(sent) < len("dlv_")+26 {
			sent = regexp.MustCompile(`dlv_\w{26}`).FindString(f.until("\n"))
		}
		s.record("ci", "dlv_other"+outcome.String(), nil)
		s.record("ci", sent, func(a *delivery.Attempt) { a.Outcome, a.Status, a.ResponseBody = outcome, status, "thanks" })
		return f
	}
	f := answer(delivery.Delivered, http.StatusAccepted)
	f.until("delivered  202")
	f.until("thanks")
	if err := f.stop(); err != nil {
		t.Errorf("got %v", err)
	}
	f = answer(delivery.Retry, http.StatusInternalServerError)
	f.until("thanks")
	if err := f.stop(); err == nil || !strings.Contains(err.Error(), "will be tried again") {
		t.Errorf("got %v", err)
	}
	s.cli("subscription", "pause", "ci").ok()
	if r := s.cli("subscription", "test", "ci").ok(); !strings.Contains(r.stderr, "is paused") {
		t.Errorf("got %s", r.stderr)
	}
	s.cli("subscription", "test", "nope").fails("not found")
}

func TestAttemptsCommand(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook").ok()
	if r := s.cli("attempts", "ci").ok(); r.stdout != "" || !strings.Contains(r.stderr, "no attempts") {
		t.Errorf("got %q, %q", r.stdout, r.stderr)
	}
	next := time.Now().Add(time.Hour)
	s.record("ci", "dlv_1", func(a *delivery.Attempt) {
		a.Outcome, a.Status, a.NextAttempt, a.Error = delivery.Retry, 0, &next, "connection refused\x1b[31m"
	})
	s.record("other", "dlv_2", nil)
	s.record("ci", "dlv_3", nil)
	one := s.cli("attempts", "ci").ok("dlv_1", "dlv_3", "retry", "---", "next in ", "connection refused", "delivered", "200", "1.9 ms", "git.push 85c7e78e").stdout
	if strings.Contains(one, "dlv_2") || strings.Index(one, "dlv_1") > strings.Index(one, "dlv_3") || strings.Contains(one, "\x1b") {
		t.Errorf("got\n%s", one)
	}
	s.cli("attempts").ok("other", "dlv_2", "dlv_3")
	if got := s.cli("attempts", "-n", "1", "-o", "json").shownList(); len(got) != 1 || got[0]["delivery_id"] != "dlv_3" {
		t.Errorf("got %v", got)
	}
	f := s.background("attempts", "ci", "--follow", "-n", "1")
	f.until("dlv_3")
	s.record("ci", "dlv_4", nil)
	if got := f.until("dlv_4"); strings.Contains(got, "dlv_1") || strings.Count(got, "dlv_3") != 1 {
		t.Errorf("got\n%s", got)
	}
	if err := f.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	s.cli("attempts", "nope").fails("not found")
}

func TestDeadlettersCommand(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("subscription", "create", "--id", "ci", "--types", "git.push", "--url", "http://127.0.0.1:9000/hook").ok()
	if r := s.cli("deadletters", "ci").ok(); !strings.Contains(r.stderr, "no dead letters") {
		t.Errorf("got %q", r.stderr)
	}
	event, err := (&publish.EventFields{Type: "git.push", Source: "/x", ContentType: "application/json"}).Event("e1", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	d := &delivery.Delivery{ID: "dlv_1", SubscriptionID: "ci", Event: event, Origin: "EVENTS_git:1:ci", Attempt: 3}
	if err := delivery.NewDeadLetters(s.js, s.layout).GiveUp(t.Context(), d, delivery.ReasonExhausted, 3, &delivery.Attempt{Status: 503}); err != nil {
		t.Fatal(err)
	}
	s.cli("deadletters", "ci").ok("REASON", "exhausted", "503", "git.push e1")
	s.cli("dead-letters", "ci", "--output", "json").ok(`"reason": "exhausted"`)
	s.cli("deadletters", "--invalid").ok()
	s.cli("deadletters").ok("exhausted")
	s.cli("deadletters", "ci", "--invalid").fails("not both")
}

func TestVersionCommand(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&terminal.Env{Ctx: t.Context(), Stdout: &out, Stderr: &out}, []string{"version"}); err != nil || !strings.HasPrefix(out.String(), "jetpost "+version+" (go1.") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	out.Reset()
	if err := run(&terminal.Env{Ctx: t.Context(), Stdout: &out, Stderr: &out}, []string{"version", "--output", "json"}); err != nil || !json.Valid([]byte(out.String())) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// Every command explains itself.
func TestHelpTexts(t *testing.T) {
	t.Parallel()
	for _, command := range [][]string{
		{"subscription", "create"},
		{"subscription", "update"},
		{"subscription", "rotate"},
		{"attempts"},
		{"deadletters"},
		{"deadletters", "list"},
		{"deadletters", "show"},
		{"deadletters", "redrive"},
		{"deadletters", "jobs"},
		{"deadletters", "cancel"},
		{"deadletters", "discard"},
		{"redeliver"},
		{"events", "list"},
		{"events", "tail"},
		{"publish"},
		{"git", "install"},
		{"watch"},
	} {
		var out strings.Builder
		err := run(&terminal.Env{Ctx: t.Context(), Stdout: &out, Stderr: &out}, append(command, "--help"))
		if err != nil || !strings.Contains(out.String(), "jetpost "+strings.Join(command, " ")) || strings.Count(out.String(), "\n    jetpost ") == 0 {
			t.Errorf("%v: %v\n%s", command, err, out.String())
		}
	}
}
