package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hook makes a request to the API of Secure Source Manager, which must succeed.
func (s *server) hook(t *testing.T, method, path string, body any) string {
	t.Helper()
	r := s.do(t, method, "/v1/"+path, body)
	if r.status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return string(r.body)
}

// newRepositoryAs is newRepository for one whose pushes are announced under a
// resource name.
func (s *server) newRepositoryAs(t *testing.T, name string) *repository {
	t.Helper()
	r := newRepository(t, s.home)
	s.run(t, "git", "install", r.bare, "--repository", name, "--api-url", "https://git-api.example.com/")
	r.commit("first", map[string]string{"README.md": "one"})
	return r
}

// A hook gets the events of its own repository, those that its branch filter passes,
// at its target with the sensitive query; events of jetpost's git adapter, and payloads
// of the original that a client publishes. A change is in force for the next push.
func TestHookJourney(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := startCatcher(t, nil)
	const (
		location = "projects/harbor/locations/north"
		tugName  = location + "/repositories/tug"
		barge    = location + "/repositories/barge"
		vendors  = "projects/my-project/locations/us-central1/repositories/my-repo"
	)
	create := func(repository, id, path string, more object) {
		t.Helper()
		more["targetUri"] = c.URL + path
		s.hook(t, http.MethodPost, repository+"/hooks?hook_id="+id, more)
	}
	create(tugName, "ci", "/tug", object{"pushOption": object{"branchFilter": "{main,release*}"}, "sensitiveQueryString": "key=k&secret=hush"})
	create(barge, "ci", "/barge", object{"events": []string{"PUSH", "PULL_REQUEST"}, "pushOption": object{"branchFilter": "main"}})
	create("projects/42/locations/north/repositories/tug", "ci", "/by-number", object{})
	create(location+"/repositories/tug2", "ci", "/tug2", object{})
	create(vendors, "ci", "/vendor", object{"events": []string{"PULL_REQUEST", "PUSH"}})
	create(vendors, "off", "/off", object{"disabled": true})
	s.subscribeAs(t, "secure-source-manager", "everything", c.URL+"/all", []string{"git.*"}, object{})

	tug, other := s.newRepositoryAs(t, tugName), s.newRepositoryAs(t, barge)
	for _, r := range []*repository{tug, other} {
		r.git(r.work, "push", "-q", "origin", "main", "main:feature/x", "main:release/1")
	}
	// In the shape of the original, about a repository of jetpost's own and one of theirs.
	pull := func(api string) string {
		data, err := os.ReadFile(filepath.Join("..", "..", "schemas", "git", "pull_request.example.json"))
		if err != nil {
			t.Fatal(err)
		}
		const there = "https://git-api.example.com/v1/projects/harbor/locations/europe-north9/repositories/tugboat"
		if !strings.Contains(string(data), there) {
			t.Fatalf("there is no %s in %s", there, data)
		}
		return strings.ReplaceAll(string(data), there, api)
	}
	s.publish(t, happening{id: "pull-1", source: "https://git.example.com", kind: "git.pull_request", data: pull("https://git-api.example.com/v1/" + barge)})
	for file, kind := range map[string]string{"ssm_push.json": "git.push", "ssm_pull_request.json": "git.pull_request"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "schemas", "testdata", "facts", file))
		if err != nil {
			t.Fatal(err)
		}
		s.publish(t, happening{id: file, source: "https://ssm.example.com", kind: kind, data: string(data)})
	}

	want := []string{
		"/tug?key=k&secret=hush push refs/heads/main harbor/tug", "/tug?key=k&secret=hush push refs/heads/release/1 harbor/tug",
		"/barge push refs/heads/main harbor/barge", "/barge pull_request harbor/tugboat",
		"/vendor push refs/heads/main my-project/my-repo", "/vendor pull_request my-project/my-repo",
	}
	describe := func(arrivals []*arrival) (got []string) {
		for _, a := range arrivals {
			var body struct {
				Ref        string
				Repository struct {
					FullName string `json:"full_name"`
					URIs     struct{ API string }
				}
			}
			if err := json.Unmarshal(a.body, &body); err != nil {
				t.Fatalf("%v in %s", err, a.body)
			}
			if strings.HasPrefix(a.target, "/all") {
				continue
			}
			if body.Repository.FullName == "harbor/tug" && body.Repository.URIs.API != "https://git-api.example.com/v1/"+tugName {
				t.Errorf("the API of the repository is at %s", body.Repository.URIs.API)
			}
			got = append(got, strings.Join(strings.Fields(a.target+" "+a.header.Get("X-SecureSourceManager-Event")+" "+body.Ref+" "+body.Repository.FullName), " "))
		}
		slices.Sort(got)
		return got
	}
	const published = 3 + 3 + 1 + 2 // each arrives at the subscription to everything as well
	slices.Sort(want)
	if diff := cmp.Diff(want, describe(c.waitFor(t, len(want)+published))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The next push goes by what was just changed.
	s.hook(t, http.MethodPatch, tugName+"/hooks/ci?updateMask=targetUri,pushOption,sensitive_query_string", object{"targetUri": c.URL + "/moved?a=1", "sensitiveQueryString": "&b=2"})
	s.hook(t, http.MethodDelete, barge+"/hooks/ci", nil)
	for _, r := range []*repository{tug, other} {
		r.git(r.work, "push", "-q", "origin", "main:feature/y")
	}
	after := c.waitFor(t, len(want)+published+1+2)[len(want)+published:]
	if diff := cmp.Diff([]string{"/moved?a=1&b=2 push refs/heads/feature/y harbor/tug"}, describe(after)); diff != "" {
		t.Errorf("after the changes (-want +got):\n%s", diff)
	}
	shown := s.hook(t, http.MethodGet, tugName+"/hooks", nil) + s.hook(t, http.MethodGet, location+"/operations", nil)
	if strings.Contains(shown, "b=2") || strings.Contains(shown, "hush") {
		t.Errorf("the secret is shown: %s", shown)
	}
}

func TestGitInstallRefuses(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	r := newRepository(t, s.home)
	for _, args := range [][]string{
		{"--repository", "tug"},
		{"--api-url", "https://example.com"},
		{"--repository", "projects/p/locations/l/repositories/r", "--source", "/git/r"},
	} {
		p := s.start(t, append([]string{"git", "install", r.bare}, args...)...)
		if code := p.wait(t); code == 0 || !strings.Contains(p.stderr.String(), "--repository") && !strings.Contains(p.stderr.String(), "repositories/") {
			t.Errorf("%v: exit code %d, %s", args, code, p.stderr)
		}
	}
}
