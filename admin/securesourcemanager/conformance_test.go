package securesourcemanager

import (
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What differs from run to run is replaced, after its form has been compared: times,
// uids, and the ids of operations.
var changing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`"(createTime|updateTime|endTime)":( ?)"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}){0,3}Z"`), `"$1":$2"TIME"`},
	{regexp.MustCompile(`"uid":( ?)"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`), `"uid":$1"UUID"`},
	{regexp.MustCompile(`operations/operation-[A-Za-z0-9_-]{20,}`), `operations/OPERATION`},
}

// The requests of a client that keeps hooks as a description says, one after the other,
// and the bytes of the answers.
func TestClientSequence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const (
		ci    = hooks + "/ci"
		other = "/v1/projects/1234567890/locations/north/repositories/tug/hooks"
	)
	f.play("sequence.http", []step{
		{"read before it exists", "GET", ci + "?alt=json", "", nil},
		{"create", "POST", hooks + "?alt=json&hook_id=ci", `{"targetUri":"` + target + `","disabled":false,"events":["PULL_REQUEST","PUSH"],"pushOption":{"branchFilter":"{main,release*}"},"sensitiveQueryString":"key=k&secret=hush"}`, nil},
		{"read back", "GET", ci + "?alt=json&prettyPrint=false", "", nil},
		{"create again", "POST", hooks + "?hookId=ci", `{"targetUri":"` + target + `"}`, nil},
		{"patch what has changed, and ignore the operation", "PATCH", ci + "?updateMask=disabled%2CpushOption&alt=json", `{"disabled":true,"pushOption":{"branchFilter":"main"}}`, nil},
		{"read at once", "GET", ci, "", nil},
		{"leave out what is false or empty", "PATCH", ci + "?update_mask=disabled,push_option.branch_filter", `{}`, nil},
		{"read at once", "GET", ci, "", nil},
		{"enums by number, names as in the definition", "POST", hooks + "?hook_id=by-number&%24alt=json%3Benum-encoding%3Dint", `{"target_uri":"` + target + `?x=1","events":[2,1,"PULL_REQUEST_COMMENT"],"push_option":{},"disabled":null,"name":"ignored","uid":"","create_time":"2020-01-01T00:00:00Z"}`, nil},
		{"the least", "POST", other + "?hookId=least", `{"targetUri":"` + target + `"}`, nil},
		{"list", "GET", hooks, "", nil},
		{"list a page", "GET", hooks + "?page_size=1", "", nil},
		{"list another repository", "GET", other, "", nil},
		{"list an unknown one", "GET", "/v1/projects/p/locations/l/repositories/r/hooks?pageSize=100", "", nil},
		{"the project by its number", "GET", other + "/least", "", nil},
		{"break lines", "GET", ci + "?prettyPrint=true", "", nil},
		{"a bad body", "PATCH", ci + "?updateMask=targetUri", `{"targetUri":""}`, nil},
		{"a bad filter", "PATCH", ci, `{"pushOption":{"branchFilter":"a{b,c"}}`, nil},
		{"delete", "DELETE", ci + "?alt=json", "", nil},
		{"read what is gone", "GET", ci, "", nil},
		{"delete what is gone", "DELETE", ci, "", nil},
		{"patch what is gone", "PATCH", ci + "?updateMask=disabled", `{"disabled":true}`, nil},
		{"what is not served", "GET", "/v1/projects/p/locations/l/repositories/r", "", nil},
	})
}

// A step is a request of a client. What its answer has to plan is checked by plan, which
// may be nil.
type step struct {
	note, method, path, body string

	plan *plan
}

// play makes requests one after the other and compares the bytes of the answers, and
// what the client plans after each, with a golden file.
func (f *fixture) play(file string, steps []step) {
	f.T.Helper()
	var story strings.Builder
	for _, step := range steps {
		got := f.do(step.method, step.path, step.body)
		body := got.body
		for _, c := range changing {
			body = c.pattern.ReplaceAllString(body, c.with)
		}
		fmt.Fprintf(&story, "### %s\n%s %s\n", step.note, step.method, step.path)
		if step.body != "" {
			fmt.Fprintf(&story, "%s\n", step.body)
		}
		fmt.Fprintf(&story, "\n%d %s\n%s\n", got.status, got.header.Get("Content-Type"), body)
		if step.plan != nil {
			differences := step.plan.differences(f.T, got.body)
			fmt.Fprintf(&story, "plan: %s\n\n", cmp.Or(strings.Join(differences, ", "), "no changes"))
			if len(differences) > 0 {
				f.T.Errorf("%s: %s plans %v", step.note, got.body, differences)
			}
		}
		if strings.Contains(got.body, "hush") {
			f.T.Errorf("%s shows the secret: %s", step.note, got.body)
		}
	}
	golden := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(golden, []byte(story.String()), 0o600); err != nil {
			f.T.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		f.T.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), story.String()); diff != "" {
		f.T.Errorf("(-want +got):\n%s", diff)
	}
}

// The requests of Google's Terraform resource: create, refresh, plan again, and update
// with the push option set, emptied and left out.
func TestTerraformSequence(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const hook = hooks + "/tf"
	empty := &plan{name: parent + "/hooks/tf", target: target, events: []string{"PUSH"}, hasPush: true}
	main := *empty
	main.branch = "main"
	f.play("terraform.http", []step{
		{"apply: push_option {}", "POST", hooks + "?alt=json&hookId=tf", `{"events":["PUSH"],"pushOption":{},"sensitiveQueryString":"key=k&secret=hush","targetUri":"` + target + `"}`, nil},
		{"refresh", "GET", hook + "?alt=json", "", empty},
		{"second plan", "GET", hook + "?alt=json", "", empty},
		{"apply: a branch filter", "PATCH", hook + "?alt=json&updateMask=pushOption", `{"events":["PUSH"],"pushOption":{"branchFilter":"main"},"targetUri":"` + target + `"}`, nil},
		{"refresh", "GET", hook + "?alt=json", "", &main},
		{"apply: push_option {} again", "PATCH", hook + "?alt=json&updateMask=pushOption", `{"events":["PUSH"],"pushOption":{},"targetUri":"` + target + `"}`, nil},
		{"refresh", "GET", hook + "?alt=json", "", empty},
		{"apply: the branch filter once more", "PATCH", hook + "?alt=json&updateMask=pushOption.branchFilter", `{"pushOption":{"branchFilter":"main"}}`, nil},
		{"apply: null", "PATCH", hook + "?alt=json&updateMask=pushOption", `{"pushOption":null}`, nil},
		{"second plan", "GET", hook + "?alt=json", "", empty},
		{"the hooks of all repositories", "GET", strings.Replace(hooks, "tug", "-", 1) + "?alt=json", "", nil},
		{"destroy", "DELETE", hook + "?alt=json", "", nil},
		{"refresh", "GET", hook + "?alt=json", "", nil},
	})
}

// What was not let in is answered in the form of the API as well.
func TestRefuse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for code, name := range map[int]string{
		http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED",
		http.StatusTooManyRequests: "RESOURCE_EXHAUSTED", http.StatusServiceUnavailable: "UNAVAILABLE",
	} {
		w := httptest.NewRecorder()
		Refuse(w, code, "some_code", "because of this")
		reason := name
		if code == http.StatusTooManyRequests {
			reason = "RATE_LIMITED"
		}
		reply{f.T, name, w.Code, w.Header(), w.Body.String()}.refuses(code, name, reason)
	}
}
