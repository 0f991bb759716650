package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/testkit"
)

const applied = `# two of them
id: ci
types: [git.push]
endpoint:
  url: http://127.0.0.1:9000/hook?token=swordfish
  secret_headers:
    X-Key: {file: key}
    X-Other: swordfish
labels: {from: git}
---
- id: jars
  types: ["artifact.*"]
  profile: jfrog-custom
  endpoint: {url: "http://127.0.0.1:9000/jars"}
  template:
    payload: |
      {"text": "one",
       "more": "two"}
    secrets: {token: {file: key}}
  delivery: {max_in_flight: 3, breaker: {mode: off}}
  labels: {from: git}
`

// appliedIn writes files into a folder.
func appliedIn(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// results are what apply says about each subscription.
func (r cliResult) results() map[string]string {
	r.tb.Helper()
	found := map[string]string{}
	for _, one := range r.shownList() {
		found[one["id"].(string)] = one["result"].(string)
	}
	return found
}

// Files are applied, applied again without a change, and changed in a few places.
func TestApply(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	dir := appliedIn(t, map[string]string{"subs.yaml": applied, "key": "sardine\n"})
	file := filepath.Join(dir, "subs.yaml")

	dry := s.cli("apply", "-f", file, "--dry-run").ok("ci would be created  ("+file+":2)", "+ endpoint.query: [secret]", "+ delivery.breaker.mode: off").stdout
	if strings.Contains(dry, "swordfish") || strings.Contains(dry, "sardine") {
		t.Errorf("a secret is shown:\n%s", dry)
	}
	s.cli("subscription", "get", "ci").fails("not found")
	if err := s.cli("apply", "-f", file, "--dry-run", "--exit-code").err; exitCode(err) != 2 {
		t.Errorf("got %v", err)
	}
	s.cli("apply", "-f", file).ok("ci created", "jars created", "2 created", "jetpost subscription secret ID")
	if got := s.cli("apply", "-f", file, "-o", "json").results(); !cmp.Equal(got, map[string]string{"ci": "unchanged", "jars": "unchanged"}) {
		t.Errorf("got %v", got)
	}
	s.cli("apply", "-f", file, "--dry-run", "--exit-code").ok("2 unchanged")
	s.cli("subscription", "secret", "ci").ok("whsec_")

	// What is paused by hand stays so, and the signing secret too.
	secret := s.cli("subscription", "secret", "ci").ok().stdout
	s.cli("subscription", "pause", "ci").ok()
	changed := strings.NewReplacer("git.push]", "git.push, git.pull_request]", `"two"}`, `"three"}`, "max_in_flight: 3", "max_in_flight: 4", "X-Other: swordfish", "X-Other: sturgeon").Replace(applied)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	dry = s.cli("apply", "-f", dir, "--dry-run").ok("ci would be changed", "jars would be changed",
		`    - types: ["git.push"]`, `    + types: ["git.push","git.pull_request"]`, "    - delivery.max_in_flight: 3\n    + delivery.max_in_flight: 4",
		"~ endpoint.secret_headers.X-Other: another secret, which is not shown", `    ~ template.payload:`, `-  "more": "two"}`, `+  "more": "three"}`).stdout
	if strings.Contains(dry, "X-Key") || strings.Contains(dry, "sturgeon") || strings.Contains(dry, "endpoint.query") {
		t.Errorf("got\n%s", dry)
	}
	s.cli("apply", "-f", dir).ok("ci changed", ": endpoint.secret_headers.X-Other, types", "2 changed")
	got := s.cli("subscription", "get", "ci", "-o", "json").shownJSON()
	if got["state"] != "paused" || !cmp.Equal(got["types"], []any{"git.push", "git.pull_request"}) || s.cli("subscription", "secret", "ci").ok().stdout != secret {
		t.Errorf("got %v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("sardine two"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cli("apply", "-f", dir, "--dry-run").ok("~ endpoint.secret_headers.X-Key: another", "~ template.secrets.token: another")
}

// Secrets that a file does not have are not sent to another host that it has.
func TestApplyKeepsSecretsAtHome(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	const text = "id: ci\ntypes: [git.push]\nendpoint:\n  url: http://127.0.0.1:9000/hook\n  secret_headers:\n    X-Key: swordfish\n"
	file := filepath.Join(appliedIn(t, map[string]string{"a.yaml": text}), "a.yaml")
	s.cli("apply", "-f", file).ok("ci created")
	write := func(old ...string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(strings.NewReplacer(old...).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("9000", "9001", "swordfish", "'[secret]'")
	for _, dryRun := range [][]string{{"--dry-run"}, nil} {
		s.cli(append([]string{"apply", "-f", file}, dryRun...)...).fails("a.yaml:6: endpoint.secret_headers.X-Key: is stored for http://127.0.0.1:9000 and would be sent to http://127.0.0.1:9001", "keep_secrets")
	}
	s.cli("subscription", "update", "ci", "--url", "http://127.0.0.1:9002/").fails("endpoint.secret_headers.X-Key", "http://127.0.0.1:9002")
	s.cli("apply", "-f", file, "--keep-secrets", "--dry-run").ok("ci would be changed", "endpoint.url")
	s.cli("apply", "-f", file, "--keep-secrets").ok("ci changed", ": endpoint.url")
	write("9000", "9003")
	s.cli("apply", "-f", file).ok("ci changed", ": endpoint.url")
	s.cli("subscription", "update", "ci", "--url", "http://127.0.0.1:9004/", "--keep-secrets").ok("9004")
	s.cli("audit", "--action", "subscription.change").ok("stored secrets are kept for http://127.0.0.1:9004")
}

// Nothing is changed when anything is wrong, and all that is wrong is said, each with
// its place.
func TestApplyMistakes(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	const good = "id: good\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/'}\n"
	for _, each := range []struct {
		name, text string
		want       []string
	}{
		{"an unknown field", good + "lables: {a: b}\n", []string{"a.yaml:4: lables: is not a field: use id,"}},
		{"a field in a field", good + "delivery:\n  retry:\n    scedule: [0s]\n", []string{"a.yaml:6: delivery.retry.scedule: is not a field"}},
		{"a wrong type", good + "delivery: {max_in_flight: many}\n", []string{"a.yaml:4: delivery.max_in_flight: must be a whole number, not a string"}},
		{"a field twice", good + "types: [git.push]\n", []string{"a.yaml:4: types: is given twice"}},
		{"no id", strings.Replace(good, "id: good", "description: x", 1), []string{"a.yaml:1: there is no id"}},
		{"an id twice", good + "---\n" + good, []string{"a.yaml:5: id: good is in ", "a.yaml:1 already"}},
		{"not YAML", good + "  x: [", []string{"a.yaml:"}},
		{"not a subscription", "- 1\n", []string{"a.yaml:1: this is not a subscription"}},
		{"no variable", good + "secret: {env: JETPOST_NOT_SET_ANYWHERE}\n", []string{"a.yaml:4: secret: the environment has no variable"}},
		{"no file", good + "secret: {file: nope}\n", []string{"a.yaml:4: secret: open ", "no such file"}},
		{"a secret that is none", good + "secret: swordfish\n", []string{"a.yaml:4: secrets[0].secret: "}},
		{"a list for a secret", "id: x\nendpoint: {query: [secret]}", []string{"a.yaml:2: endpoint.query: is a secret: write where it is"}},
		{"what only the server knows", "id: x\ntypes:\n  - git.push\n  - git.nope\nendpoint:\n  url: http://10.0.0.1/\n---\nid: y\ntypes: [nope.x]\nendpoint: {url: 'http://127.0.0.1/'}", []string{
			`a.yaml:4: types[1]: unknown event type "git.nope"`, "a.yaml:6: endpoint.url: ", "a.yaml:9: types[0]: ",
		}},
		{"a secret that is not there", good + "---\nid: z\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1/', query: '[secret]'}\n", []string{"a.yaml:7: endpoint.query: [secret] stands for a secret that this server does not have"}},
		{"nothing", "# nothing\n", []string{"there are no subscriptions in"}},
		{"something around itself", "id: &x [*x]\n", []string{"a.yaml:"}},
		{"a bomb", "id: x\ntypes: &a [x,x,x,x,x,x,x,x,x]\nfilters: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nlabels: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nendpoint: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\nsettings: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nprofile: &f [*e,*e,*e,*e,*e,*e]\n", []string{"is too large"}},
		{"something merged into itself", "id: x\nendpoint: &e {<<: *e}\n", []string{"a.yaml:"}},
	} {
		dir := appliedIn(t, map[string]string{"a.yaml": each.text, "b.yml": strings.Replace(good, "good", "other", 1)})
		paths := []string{"apply", "-f", dir}
		if each.name == "nothing" {
			paths = []string{"apply", "-f", filepath.Join(dir, "a.yaml")}
		}
		r := s.cli(paths...).fails(each.want...)
		if strings.Contains(r.err.Error(), "\n") && !strings.Contains(r.err.Error(), "nothing was changed") {
			t.Errorf("%s: %v", each.name, r.err)
		}
	}
	if got := s.cli("subscription", "list", "-o", "json").shownList(); len(got) != 0 {
		t.Errorf("something was changed: %v", got)
	}
}

// JSON is taken like YAML, from standard input as well, with what JSON may have and
// YAML may not.
func TestApplyJSON(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	text := "{\n\t\"id\": \"ci\",\n\t\"types\": [\"git.push\"], \"description\": \"\\ud83d\\ude80 \\/\",\n\t\"endpoint\": {\"url\": \"http:\\/\\/127.0.0.1\\/\"}}\n{\"id\":\"b\",\"types\":[\"git.push\"],\"endpoint\":{\"url\":\"http://127.0.0.1/\"}}"
	s.cliWith(t.Context(), text, "apply", "-f", "-").ok("ci created  (stdin:1)", "b created  (stdin:5)")
	if got := s.cli("subscription", "get", "ci", "-o", "json").shownJSON()["description"]; got != "🚀 /" {
		t.Errorf("got %v", got)
	}
	// What other commands print is taken as well.
	for _, format := range []string{"json", "yaml"} {
		s.cliWith(t.Context(), s.cli("subscription", "list", "-o", format).ok().stdout, "apply", "-f", "-").ok("2 unchanged")
		s.cliWith(t.Context(), s.cli("subscription", "get", "b", "-o", format).ok().stdout, "apply", "-f", "-").ok("b unchanged")
	}
	s.cliWith(t.Context(), `{"id":"ci",
"id":"ci"}`, "apply", "-f", "-").fails("stdin:2: id: is given twice")
	// Shared parts, by anchors.
	s.cliWith(t.Context(), `
- id: b
  types: [git.push]
  endpoint: &endpoint {url: "http://127.0.0.1/", timeout: 3s}
- id: c
  types: [git.push]
  endpoint: {<<: *endpoint, timeout: 0x5s}
`, "apply", "-f", "-").fails("stdin:7: endpoint.timeout: ")
	s.cliWith(t.Context(), `
- id: b
  types: &types [git.push]
  endpoint: &endpoint {url: "http://127.0.0.1/", timeout: 3s}
- {id: c, types: *types, endpoint: {<<: *endpoint, timeout: 5s}, delivery: {max_in_flight: 0x10}}
`, "apply", "-f", "-").ok("b changed", "c created")
	if got := s.cli("subscription", "get", "c", "-o", "json").shownJSON(); got["endpoint"].(map[string]any)["timeout"] != "5s" || got["delivery"].(map[string]any)["max_in_flight"] != 16.0 {
		t.Errorf("got %v", got)
	}
}

func TestApplyPrune(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	create := func(id string, label ...string) {
		s.cli(append([]string{"subscription", "create", "--id", id, "--types", "git.push", "--url", "http://127.0.0.1:9000/"}, label...)...).ok()
	}
	create("old", "--label", "from=git")
	create("older", "--label", "from=git")
	create("elsewhere", "--label", "from=console")
	create("plain")
	file := testkit.File(t, "subs.yaml", "id: ci\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/'}\nlabels: {from: git}\n")
	s.cli("apply", "-f", file, "--prune").fails("--prune needs --label")
	s.cli("apply", "-f", file, "--prune", "--label", "from=svn").fails("subs.yaml:4: labels: ci does not have the label from=svn")
	s.cli("apply", "-f", file, "--prune", "--label", "from=git").fails("nothing was changed: --prune would delete 2 subscriptions that are not in the files: old, older", "--yes")
	s.cli("subscription", "get", "ci").fails("not found")
	s.cli("apply", "-f", file, "--prune", "--label", "from=git", "--dry-run").ok("ci would be created", "old would be deleted", "older would be deleted", "1 created, 2 deleted")
	s.cli("apply", "-f", file, "--prune", "--label", "from=git", "--yes").ok("ci created", "old deleted", "older deleted", "1 created, 2 deleted")
	var ids []string
	for _, sub := range s.cli("subscription", "list", "-o", "json").shownList() {
		ids = append(ids, sub["id"].(string))
	}
	if !cmp.Equal(ids, []string{"ci", "elsewhere", "plain"}) {
		t.Errorf("got %v", ids)
	}
	s.cli("apply", "-f", file, "--exit-code").fails("--exit-code goes with --dry-run")
}

// Another client changes a subscription between the plan and the change: nothing
// of theirs is lost unseen, and what fails does not hold up the others.
func TestApplyConflict(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	const two = "id: a\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/%'}\n---\nid: b\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/%'}\n"
	file := testkit.File(t, "subs.yaml", strings.ReplaceAll(two, "%", "one"))
	s.cli("apply", "-f", file).ok("2 created")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(two, "%", "two")), 0o600); err != nil {
		t.Fatal(err)
	}
	var meddled atomic.Int32
	most := int32(1)
	meddle := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Path == "/v1/subscriptions/a" && !r.URL.Query().Has("dry_run") && meddled.Load() < most {
			label := `{"labels":{"n":"` + strings.Repeat("x", int(meddled.Add(1))) + `"}}`
			other := httptest.NewRequestWithContext(r.Context(), http.MethodPatch, r.URL.Path, strings.NewReader(label))
			other.Header.Set("Authorization", "Bearer "+apiToken)
			answer := httptest.NewRecorder()
			if s.pass(answer, other); answer.Code != http.StatusOK {
				t.Errorf("got %d: %s", answer.Code, answer.Body)
			}
		}
		s.pass(w, r)
	}
	s.setIntercept(meddle)
	if r := s.cli("apply", "-f", file).ok("a changed", ": endpoint.url, labels", "2 changed"); !strings.Contains(r.stderr, "a was changed by another client meanwhile, planning again") {
		t.Errorf("got %s", r.stderr)
	}
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(two, "%", "three")), 0o600); err != nil {
		t.Fatal(err)
	}
	most = 100
	r := s.cli("apply", "-f", file).fails("1 of 2 subscriptions could not be applied")
	if !strings.Contains(r.stdout, "a failed") || !strings.Contains(r.stdout, "b changed") || !strings.Contains(r.stderr, "is not what If-Match names") {
		t.Errorf("got\n%s%s", r.stdout, r.stderr)
	}
}

// What is exported changes nothing where it comes from, and makes the same again, but
// for secrets, where it does not.
func TestExport(t *testing.T) {
	t.Parallel()
	s, fresh := newAPIServer(t), newAPIServer(t)
	dir := appliedIn(t, map[string]string{"subs.yaml": applied, "key": "sardine\n"})
	s.cli("apply", "-f", dir).ok()
	s.cli("subscription", "create", "--id", "asked", "--types", "git.push", "--filter", `{"not":{"exact":{"data.n":"yes"}}}`, "--handshake", "required", "--handshake-rate", "120",
		"--url", "http://127.0.0.1:9000/", "--schedule", "0s,5s", "--rate", "2.5", "--ordered", "--description", "one: two # three\nfour").ok()
	s.cli("subscription", "create", "--id", "jf", "--types", "artifact.*", "--profile", "jfrog", "--secret", "swordfish", "--url", "http://127.0.0.1:9000/").ok()
	s.cli("subscription", "pause", "jf").ok()

	for _, args := range [][]string{{}, {"--full"}, {"-o", "json"}, {"-o", "yaml"}} {
		text := s.cli(append([]string{"export"}, args...)...).ok().stdout
		for _, secret := range []string{"swordfish", "sardine", "whsec_", "revision", "created_at", "queue"} {
			if strings.Contains(text, secret) {
				t.Errorf("%v: %s is exported:\n%s", args, secret, text)
			}
		}
		s.cliWith(t.Context(), text, "apply", "-f", "-", "--dry-run", "--exit-code").ok("4 unchanged")
	}
	minimal := s.cli("export", "ci").ok("endpoint:\n  url: http://127.0.0.1:9000/hook\n  query: '[secret]' # a secret: ", "secret: '[secret]' # stays as it is").stdout
	if strings.Contains(minimal, "delivery") || strings.Contains(minimal, "profile") || strings.Contains(minimal, "state") {
		t.Errorf("defaults are exported:\n%s", minimal)
	}
	s.cli("export", "--label", "from=git").ok("id: ci", "id: jars")
	s.cli("export", "nope").fails("not found")

	all := s.cli("export").ok().stdout
	fresh.cliWith(t.Context(), all, "apply", "-f", "-").fails("endpoint.query: [secret] stands for", "endpoint.secret_headers.X-Key", "template.secrets.token", "secret: [secret] stands for")
	fresh.cliWith(t.Context(), all, "apply", "-f", "-", "--without-secrets").ok("4 created")
	// With the secrets where the comments say, all is as it was.
	edited := strings.NewReplacer("query: '[secret]'", "query: token=swordfish", "X-Key: '[secret]'", "X-Key: sardine", "X-Other: '[secret]'", "X-Other: swordfish", "token: '[secret]'", "token: sardine").Replace(all)
	edited = strings.Replace(edited, "profile: jfrog\nstate: paused\nsecret: '[secret]'", "profile: jfrog\nstate: paused\nsecret: swordfish", 1)
	fresh.cliWith(t.Context(), edited, "apply", "-f", "-").ok()
	for _, id := range []string{"ci", "jars"} { // created paused
		if state := fresh.cli("subscription", "get", id, "-o", "json").shownJSON()["state"]; state != "paused" {
			t.Errorf("%s is %v", id, state)
		}
		fresh.cli("subscription", "resume", id).ok()
	}
	if diff := cmp.Diff(all, fresh.cli("export").ok().stdout); diff != "" {
		t.Errorf("the export of what was exported (-want +got):\n%s", diff)
	}
	fresh.cliWith(t.Context(), edited, "apply", "-f", "-", "--dry-run", "--exit-code").ok("4 unchanged")
}

// What a compatible API keeps is not deleted by files that know nothing of it, and not
// exported into such files.
func TestManagedSubscriptionsAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	for _, id := range []string{"hook", "old"} {
		s.cli("subscription", "create", "--id", id, "--types", "git.push", "--url", "http://127.0.0.1:9000/", "--label", "from=git").ok()
	}
	s.setIntercept(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		s.pass(answer, r)
		w.WriteHeader(answer.Code)
		_, _ = w.Write([]byte(strings.Replace(answer.Body.String(), `"id":"hook",`, `"id":"hook","managed":{"by":"jfrog","name":"releases"},`, 1)))
	})
	file := testkit.File(t, "subs.yaml", "id: ci\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/'}\nlabels: {from: git}\n")
	s.cli("apply", "-f", file, "--prune", "--label", "from", "--yes").ok("ci created", "old deleted", "1 created, 1 deleted")
	s.cli("subscription", "get", "hook").ok()
	r := s.cli("export").ok("id: ci")
	if strings.Contains(r.stdout, "hook") || !strings.Contains(r.stderr, "subscription hook is left out: the jfrog API keeps it") {
		t.Errorf("got\n%s%s", r.stdout, r.stderr)
	}
	s.cli("export", "hook").fails("is kept by the jfrog API")
}

// A server that is busy is asked again.
func TestApplyIsPatient(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	var asked atomic.Int32
	s.setIntercept(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		s.pass(w, r)
	})
	s.cliWith(t.Context(), "id: ci\ntypes: [git.push]\nendpoint: {url: 'http://127.0.0.1:9000/'}\n", "apply", "-f", "-").ok("ci created")
}
