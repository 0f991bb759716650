package securesourcemanager

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	var story strings.Builder
	for _, step := range []struct{ note, method, path, body string }{
		{"read before it exists", "GET", ci + "?alt=json", ""},
		{"create", "POST", hooks + "?alt=json&hook_id=ci", `{"targetUri":"` + target + `","disabled":false,"events":["PULL_REQUEST","PUSH"],"pushOption":{"branchFilter":"{main,release*}"},"sensitiveQueryString":"key=k&secret=hush"}`},
		{"read back", "GET", ci + "?alt=json&prettyPrint=false", ""},
		{"create again", "POST", hooks + "?hookId=ci", `{"targetUri":"` + target + `"}`},
		{"patch what has changed, and ignore the operation", "PATCH", ci + "?updateMask=disabled%2CpushOption&alt=json", `{"disabled":true,"pushOption":{"branchFilter":"main"}}`},
		{"read at once", "GET", ci, ""},
		{"leave out what is false or empty", "PATCH", ci + "?update_mask=disabled,push_option.branch_filter", `{}`},
		{"read at once", "GET", ci, ""},
		{"enums by number, names as in the definition", "POST", hooks + "?hook_id=by-number&%24alt=json%3Benum-encoding%3Dint", `{"target_uri":"` + target + `?x=1","events":[2,1,"PULL_REQUEST_COMMENT"],"push_option":{},"disabled":null,"name":"ignored","uid":"","create_time":"2020-01-01T00:00:00Z"}`},
		{"the least", "POST", other + "?hookId=least", `{"targetUri":"` + target + `"}`},
		{"list", "GET", hooks, ""},
		{"list a page", "GET", hooks + "?page_size=1", ""},
		{"list another repository", "GET", other, ""},
		{"list one that nobody has heard of", "GET", "/v1/projects/p/locations/l/repositories/r/hooks?pageSize=100", ""},
		{"the project by its number", "GET", other + "/least", ""},
		{"break lines", "GET", ci + "?prettyPrint=true", ""},
		{"a bad body", "PATCH", ci + "?updateMask=targetUri", `{"targetUri":""}`},
		{"a bad filter", "PATCH", ci, `{"pushOption":{"branchFilter":"a{b,c"}}`},
		{"delete", "DELETE", ci + "?alt=json", ""},
		{"read what is gone", "GET", ci, ""},
		{"delete what is gone", "DELETE", ci, ""},
		{"patch what is gone", "PATCH", ci + "?updateMask=disabled", `{"disabled":true}`},
		{"what is not served", "GET", "/v1/projects/p/locations/l/repositories/r", ""},
	} {
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
		if step.path != hooks && strings.Contains(got.body, "hush") {
			t.Errorf("%s shows the secret: %s", step.note, got.body)
		}
	}
	golden := filepath.Join("testdata", "sequence.http")
	if *update {
		if err := os.WriteFile(golden, []byte(story.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), story.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
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
