package jfrog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// selects compiles criteria and evaluates them as a router does.
func selects(tb testing.TB, domain, criteria string) func(data map[string]any, class string) bool {
	tb.Helper()
	filters, err := jfrog.Criteria(domain, json.RawMessage(criteria))
	if err != nil {
		tb.Fatalf("%s %s: %v", domain, criteria, err)
	}
	table, err := filter.NewTable(&subscription.Subscription{ID: "s", Types: []string{domain + ".*"}, Filters: filters, State: subscription.Active})
	if err != nil {
		tb.Fatalf("%s %s: %v", domain, criteria, err)
	}
	return func(data map[string]any, class string) bool {
		raw, err := json.Marshal(data)
		if err != nil {
			tb.Fatal(err)
		}
		e := &event.Event{ID: "1", Source: "jfrog/jfrt@1", Type: domain + ".x", DataContentType: "application/json", Data: raw}
		if class != "" {
			e.Extensions = []event.Attribute{{Name: "repoclass", Value: class}}
		}
		return len(table.Match(domain, e, nil)) == 1
	}
}

// item is the data of an event about repo/path, with the class after a space.
func item(text string) (data map[string]any, class string) {
	at, class, _ := strings.Cut(text, " ")
	repo, path, _ := strings.Cut(at, "/")
	return map[string]any{"repo_key": repo, "path": path, "name": path[strings.LastIndex(path, "/")+1:], "size": 1}, class
}

func TestRepositoryCriteria(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, criteria, yes, no string }{
		{"anyLocal alone", `{"anyLocal":true}`, "a/x,b/y local,c/", "a/x remote,a/x federated,a/x virtual"},
		{"anyRemote", `{"anyRemote":true}`, "a-cache/x remote", "a/x,a/x local,a/x federated"},
		{"anyFederated", `{"anyFederated":true}`, "a/x federated", "a/x,a/x local,a/x remote"},
		{"all classes", `{"anyLocal":true,"anyRemote":true,"anyFederated":true}`, "a/x,a/x local,a/x remote,a/x federated", "a/x virtual"},
		{"repoKeys", `{"repoKeys":["a","b"]}`, "a/x,b/x local,a/x remote,b/x federated", "c/x,A/x,ab/x"},
		{"nulls", `{"anyLocal":null,"anyRemote":null,"repoKeys":["a"],"includePatterns":null,"excludePatterns":null}`, "a/x", "b/x"},
		{"repoKeys or class", `{"anyRemote":true,"repoKeys":["a"]}`, "a/x,b/x remote", "b/x"},
		{"cache of a remote repository", `{"repoKeys":["docker-remote","b"]}`, "docker-remote-cache/x remote,docker-remote/x remote,b-cache/x remote", "docker-remote-cache/x local,docker-remote-cache/x,docker-remote-cache/x federated,docker-remote-cache-cache/x remote"},
		{"the cache itself", `{"repoKeys":["r-cache"]}`, "r-cache/x remote,r-cache/x local,r-cache-cache/x remote", "r/x remote"},
		{"include", `{"anyLocal":true,"includePatterns":["org/**","*.txt"]}`, "a/org/x/y,a/org,a/b.txt", "a/com/x,a/c/b.txt,a/org/x remote"},
		{"include with repoKeys", `{"repoKeys":["a"],"includePatterns":["org/**"]}`, "a/org/x", "b/org/x,a/x"},
		{"include does not select a repository", `{"repoKeys":["a"],"includePatterns":["**"]}`, "a/x,a/", "b/x"},
		{"no include: every path", `{"repoKeys":["a"],"includePatterns":[]}`, "a/x,a/,a/x/y/z", ""},
		{"exclude", `{"anyLocal":true,"excludePatterns":["**/*.tmp","tmp/"]}`, "a/x,a/tmpx,a/", "a/x.tmp,a/x/y.tmp,a/tmp/x,a/tmp"},
		{"exclude wins over include", `{"repoKeys":["a"],"includePatterns":["org/**"],"excludePatterns":["org/b/**"]}`, "a/org/a", "a/org/b/c,a/com"},
		{"patterns are case-sensitive", `{"repoKeys":["a"],"includePatterns":["*.json"]}`, "a/x.json", "a/x.JSON"},
		{"criteria of another domain that ask for nothing", `{"anyLocal":true,"anyBuild":false,"selectedBuilds":[],"selectedReleaseBundles":{}}`, "a/x", ""},
	} {
		for _, domain := range []string{"artifact", "artifact_property", "docker"} {
			match := selects(t, domain, tt.criteria)
			for event := range strings.SplitSeq(tt.yes, ",") {
				if !match(item(event)) {
					t.Errorf("%s: %s does not select %s", tt.name, domain, event)
				}
			}
			for event := range strings.SplitSeq(tt.no, ",") {
				if event != "" && match(item(event)) {
					t.Errorf("%s: %s selects %s", tt.name, domain, event)
				}
			}
		}
	}
}

// TestSourceCriteria is about events that name two repositories.
func TestSourceCriteria(t *testing.T) {
	t.Parallel()
	for domain, data := range map[string]map[string]any{
		"artifact": {"repo_key": "from", "path": "a/x.jar", "name": "x.jar", "size": 1, "source_repo_path": "from/a/x.jar", "target_repo_path": "to/b/x.jar"},
		"docker":   {"repo_key": "from", "path": "a/1/manifest.json", "name": "manifest.json", "image_name": "a", "tag": "1", "target_repo": "to", "target_tag": "2"},
	} {
		if !selects(t, domain, `{"repoKeys":["from"],"includePatterns":["a/**"]}`)(data, "") {
			t.Errorf("%s: the source is not looked at", domain)
		}
		if selects(t, domain, `{"repoKeys":["to"]}`)(data, "") || selects(t, domain, `{"anyLocal":true,"includePatterns":["b/**"]}`)(data, "") {
			t.Errorf("%s: the target is looked at", domain)
		}
	}
}

func TestNameCriteria(t *testing.T) {
	t.Parallel()
	builds := []struct{ name, criteria, yes, no string }{
		{"any", `{"ANY":true}`, "a,b,a/b", ""},
		{"selected", `{"LIST":["a","b"]}`, "a,b", "c,A,ab"},
		{"include only", `{"includePatterns":["rel-*"]}`, "rel-1", "a,xrel-1,rel-1/x"},
		{"selected or include", `{"LIST":["a"],"includePatterns":["rel-*","**/nightly"]}`, "a,rel-1,nightly,x/y/nightly", "b"},
		{"any with include: include adds nothing", `{"ANY":true,"includePatterns":["rel-*"]}`, "rel-1,other", ""},
		{"empty include: no additional name", `{"LIST":["a"],"includePatterns":[]}`, "a", "b"},
		{"exclude wins over any", `{"ANY":true,"excludePatterns":["tmp-*"]}`, "a", "tmp-1"},
		{"exclude wins over selected and include", `{"LIST":["tmp-1","a"],"includePatterns":["tmp-*"],"excludePatterns":["tmp-1"]}`, "a,tmp-2", "tmp-1"},
		{"nulls", `{"ANY":null,"LIST":["a"],"includePatterns":null,"excludePatterns":null}`, "a", "b"},
	}
	for _, domain := range []struct{ name, any, list, field string }{
		{"build", "anyBuild", "selectedBuilds", "build_name"},
		{"release_bundle", "anyReleaseBundle", "registeredReleaseBundlesNames", "release_bundle_name"},
		{"distribution", "anyReleaseBundle", "registeredReleaseBundlesNames", "release_bundle_name"},
		{"destination", "anyReleaseBundle", "registeredReleaseBundlesNames", "release_bundle_name"},
		{"artifactory_release_bundle", "anyReleaseBundle", "registeredReleaseBundlesNames", "release_bundle_name"},
	} {
		for _, tt := range builds {
			match := selects(t, domain.name, strings.NewReplacer("ANY", domain.any, "LIST", domain.list).Replace(tt.criteria))
			for name := range strings.SplitSeq(tt.yes, ",") {
				if !match(map[string]any{domain.field: name}, "") {
					t.Errorf("%s %s: %s is not selected", domain.name, tt.name, name)
				}
			}
			for name := range strings.SplitSeq(tt.no, ",") {
				if name != "" && match(map[string]any{domain.field: name}, "") {
					t.Errorf("%s %s: %s is selected", domain.name, tt.name, name)
				}
			}
		}
	}
}

func TestOtherCriteria(t *testing.T) {
	t.Parallel()
	bundle := func(repository, name string) map[string]any {
		return map[string]any{"repository_key": repository, "release_bundle_name": name}
	}
	env := func(name string) map[string]any { return map[string]any{"environment": name} }
	for _, tt := range []struct {
		domain, criteria string
		data             map[string]any
		want             bool
	}{
		{"release_bundle_v2", `{"selectedReleaseBundles":{"release-bundles-v2":["a","b"]}}`, bundle("release-bundles-v2", "b"), true},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"release-bundles-v2":["a","b"]}}`, bundle("release-bundles-v2", "c"), false},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"release-bundles-v2":["a"]}}`, bundle("my-release-bundles-v2", "a"), false},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"one":["a"],"two":["b"]}}`, bundle("two", "b"), true},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"one":["a"],"two":["b"]}}`, bundle("two", "a"), false},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"one":["a"],"two":null},"excludePatterns":["a"]}`, bundle("one", "a"), false},
		{"release_bundle_v2", `{"includePatterns":["rel*"]}`, bundle("any", "rel1"), true},
		{"release_bundle_v2", `{"anyReleaseBundle":true,"selectedReleaseBundles":{}}`, bundle("any", "x"), true},
		{"release_bundle_v2_promotion", `{"selectedEnvironments":["PROD","QA"]}`, env("QA"), true},
		{"release_bundle_v2_promotion", `{"selectedEnvironments":["PROD"]}`, env("DEV"), false},
		{"release_bundle_v2_promotion", `{"selectedEnvironments":[]}`, env("DEV"), true},
		{"release_bundle_v2_promotion", `{}`, env("DEV"), true},
		{"release_bundle_v2_promotion", `null`, env("DEV"), true},
		{"user", ``, map[string]any{"username": "x"}, true},
		{"user", `{}`, map[string]any{"username": "x"}, true},
		{"user", `null`, map[string]any{"username": "x"}, true},
		{"artifact_lifecycle", ``, map[string]any{}, true},
		{"xray_scan_status", `{"anyLocal":false,"repoKeys":[]}`, map[string]any{}, true},
		{"app_trust", `{}`, map[string]any{"application_key": "a"}, true},
		{"app_trust", `{"applicationKeys":["a"],"stages":[],"projectKey":""}`, map[string]any{"application_key": "a"}, true},
		{"app_trust", `{"applicationKeys":["a"]}`, map[string]any{"application_key": "b"}, false},
		{"app_trust", `{"applicationKeys":["a"],"stages":["QA"]}`, map[string]any{"application_key": "a", "stage": "DEV"}, false},
		{"app_trust", `{"stages":["QA"]}`, map[string]any{"application_key": "a", "stage": "QA"}, true},
	} {
		if got := selects(t, tt.domain, tt.criteria)(tt.data, ""); got != tt.want {
			t.Errorf("%s %s on %v: got %t, want %t", tt.domain, tt.criteria, tt.data, got, tt.want)
		}
	}
}

func TestCriteriaRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		domain, criteria string
		want             []string
	}{
		{"artifact", ``, []string{"criteria: select no repository"}},
		{"docker", `null`, []string{"criteria: select no repository"}},
		{"artifact", `{}`, []string{"criteria: select no repository"}},
		{"artifact_property", `{"anyLocal":false,"repoKeys":[],"includePatterns":["**"]}`, []string{"criteria: select no repository"}},
		{"build", `{}`, []string{"criteria: select no build"}},
		{"build", `{"excludePatterns":["x"]}`, []string{"criteria: select no build"}},
		{"distribution", `{"anyReleaseBundle":false,"registeredReleaseBundlesNames":[]}`, []string{"criteria: select no release bundle"}},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"release-bundles-v2":[]}}`, []string{"criteria: select no release bundle"}},
		{"release_bundle_v2", `{"selectedReleaseBundles":["a"]}`, []string{"criteria.selectedReleaseBundles: must be an object of names by repository"}},
		{"release_bundle_v2", `{"selectedReleaseBundles":{"":["a"],"r":["b",""],"s":"c"}}`, []string{"criteria.selectedReleaseBundles: without a name", "criteria.selectedReleaseBundles.r[1]: is empty", "criteria.selectedReleaseBundles.s: must be an array"}},
		{"release_bundle_v2", `{"selectedReleaseBundles":7}`, []string{"criteria.selectedReleaseBundles: must be an object"}},
		{"user", `{"anyLocal":true}`, []string{"criteria.anyLocal: leave the criteria out"}},
		{"artifact_lifecycle", `{"repoKeys":["a"]}`, []string{"criteria.repoKeys: leave the criteria out"}},
		{"user", `[]`, []string{"criteria: must be an object"}},
		{"artifact", `"x"`, []string{"criteria: must be an object"}},
		{"artifact", `{"anyLocal":true`, []string{"criteria: is not valid JSON"}},
		{"artifact", `{"anyLocal":true,"anyLocal":false}`, []string{`criteria: has "anyLocal" twice`}},
		{"artifact", `{"anyLocale":true,"AnyLocal":true,"anyBuild":true,"repoKeys":["a"]}`, []string{"criteria.anyLocale: is not a criterion of domain artifact: use anyLocal, anyRemote", "criteria.AnyLocal: is not", "criteria.anyBuild: is not"}},
		{"artifact", `{"anyLocal":"true","anyRemote":1,"repoKeys":"a","includePatterns":["a",1,null,""],"excludePatterns":{}}`, []string{
			"criteria.anyLocal: must be true or false", "criteria.anyRemote: must be true or false", "criteria.repoKeys: must be an array of strings",
			"criteria.includePatterns[1]: must be a string", "criteria.includePatterns[2]: must be a string", "criteria.includePatterns[3]: is empty", "criteria.excludePatterns: must be an array",
		}},
		{"artifact", `{"includePatterns":["` + strings.Repeat("a", 513) + `"]}`, []string{"criteria.includePatterns[0]: is a pattern of 513 bytes", "criteria: select no repository"}},
		{"build", `{"anyBuild":true,"excludePatterns":["x","` + strings.Repeat("*/", 300) + `"]}`, []string{"criteria.excludePatterns[1]: is a pattern of 600 bytes"}},
		{"release_bundle_v2_promotion", `{"selectedEnvironments":"PROD"}`, []string{"criteria.selectedEnvironments: must be an array"}},
		{"app_trust", `{"projectKey":"p"}`, []string{"criteria.projectKey: cannot be used"}},
		{"app_trust", `{"projectKey":1}`, []string{"criteria.projectKey: must be a string"}},
	} {
		_, err := jfrog.Criteria(tt.domain, json.RawMessage(tt.criteria))
		invalid, ok := errors.AsType[*subscription.ValidationError](err)
		if !ok || len(invalid.Problems) != len(tt.want) {
			t.Errorf("%s %.60s: got %v, want %d problems", tt.domain, tt.criteria, err, len(tt.want))
			continue
		}
		for i, want := range tt.want {
			field, message, _ := strings.Cut(want, ": ")
			if p := invalid.Problems[i]; p.Field != field || !strings.Contains(p.Message, message) {
				t.Errorf("%s %.60s: got %s: %s, want %s", tt.domain, tt.criteria, p.Field, p.Message, want)
			}
		}
	}
}

// TestManyRepositories is about criteria of large installations.
func TestManyRepositories(t *testing.T) {
	t.Parallel()
	criteria := func(n int) string {
		var keys []string
		for i := range n {
			keys = append(keys, fmt.Sprintf("%q", fmt.Sprintf("libs-release-local-%d", i)))
		}
		return `{"repoKeys":[` + strings.Join(keys, ",") + `],"includePatterns":["**/*.jar"]}`
	}
	match := selects(t, "artifact", criteria(900))
	for event, want := range map[string]bool{"libs-release-local-0/a.jar": true, "libs-release-local-899/a.jar": true, "libs-release-local-900/a.jar": false, "libs-release-local-5-cache/a.jar remote": true, "libs-release-local-5-cache/a.jar": false} {
		if match(item(event)) != want {
			t.Errorf("%s: got %t", event, !want)
		}
	}
	if _, err := jfrog.Criteria("artifact", json.RawMessage(criteria(2000))); err == nil || !strings.Contains(err.Error(), "criteria: cannot be used as filters") {
		t.Errorf("got %v", err)
	}
}

// TestCriteriaAgainstNaive compares compiled criteria with the rules as they are
// written down, on random criteria and events.
func TestCriteriaAgainstNaive(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	some := func(from ...string) []string {
		var list []string
		for range r.IntN(4) {
			list = append(list, from[r.IntN(len(from))])
		}
		return list
	}
	patterns := []string{"**", "*", "a/**", "**/b", "a/*/b", "b/", "?", "rel-*", "**/*.x"}
	names := []string{"a", "b", "rel-1", "a/b", "a/x/b", "b/q", "", "f.x", "a/f.x"}
	for range 3000 {
		domain := []string{"artifact", "docker", "build", "distribution", "release_bundle_v2", "release_bundle_v2_promotion"}[r.IntN(6)]
		c := map[string]any{}
		flag := func(key string) {
			if r.IntN(3) == 0 {
				c[key] = r.IntN(2) == 0
			}
		}
		if domain != "release_bundle_v2_promotion" {
			c["includePatterns"], c["excludePatterns"] = some(patterns...), some(patterns...)
		}
		switch domain {
		case "artifact", "docker":
			flag("anyLocal")
			flag("anyRemote")
			flag("anyFederated")
			c["repoKeys"] = some("r", "s", "t-cache")
		case "build":
			flag("anyBuild")
			c["selectedBuilds"] = some("a", "b", "rel-1")
		case "distribution":
			flag("anyReleaseBundle")
			c["registeredReleaseBundlesNames"] = some("a", "b", "rel-1")
		case "release_bundle_v2":
			flag("anyReleaseBundle")
			c["selectedReleaseBundles"] = map[string][]string{"r": some("a", "b"), "s": some("b", "rel-1")}
		case "release_bundle_v2_promotion":
			c["selectedEnvironments"] = some("a", "b")
		}
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jfrog.Criteria(domain, raw); err != nil {
			if !strings.Contains(err.Error(), "select no ") {
				t.Fatalf("%s %s: %v", domain, raw, err)
			}
			continue
		}
		match := selects(t, domain, string(raw))
		for range 5 {
			repo, name := []string{"r", "s", "r-cache", "t-cache", "q"}[r.IntN(5)], names[r.IntN(len(names))]
			data := map[string]any{"repo_key": repo, "path": name, "build_name": name, "release_bundle_name": name, "repository_key": repo, "environment": name}
			class := []string{"", "local", "remote", "federated", "other"}[r.IntN(5)]
			if got, want := match(data, class), naive(domain, raw, repo, name, class); got != want {
				t.Fatalf("seed %d: %s %s on %s %q, class %q: got %t, want %t", seed, domain, raw, repo, name, class, got, want)
			}
		}
	}
}

func naive(domain string, raw json.RawMessage, repo, name, class string) bool {
	var c struct {
		AnyLocal, AnyRemote, AnyFederated, AnyBuild, AnyReleaseBundle                                                   bool
		RepoKeys, SelectedBuilds, RegisteredReleaseBundlesNames, SelectedEnvironments, IncludePatterns, ExcludePatterns []string
		SelectedReleaseBundles                                                                                          map[string][]string
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		panic(err)
	}
	passes := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return segments(strings.Split(name, "/"), p) })
	}
	if passes(c.ExcludePatterns) {
		return false
	}
	switch domain {
	case "artifact", "docker":
		flags := map[string]bool{"": c.AnyLocal, "local": c.AnyLocal, "remote": c.AnyRemote, "federated": c.AnyFederated}
		selected := flags[class] || slices.Contains(c.RepoKeys, repo)
		if class == "remote" {
			selected = selected || slices.Contains(c.RepoKeys, strings.TrimSuffix(repo, "-cache"))
		}
		return selected && (len(c.IncludePatterns) == 0 || passes(c.IncludePatterns))
	case "release_bundle_v2_promotion":
		return len(c.SelectedEnvironments) == 0 || slices.Contains(c.SelectedEnvironments, name)
	}
	selected := slices.Concat(c.SelectedBuilds, c.RegisteredReleaseBundlesNames, c.SelectedReleaseBundles[repo])
	return c.AnyBuild || c.AnyReleaseBundle || slices.Contains(selected, name) || passes(c.IncludePatterns)
}

// segments knows the patterns of the test: a segment has one * or ? at most.
func segments(path []string, pattern string) bool {
	if len(path) == 1 && path[0] == "" {
		path = nil
	}
	if strings.HasSuffix(pattern, "/") {
		pattern += "**"
	}
	first, rest, more := strings.Cut(pattern, "/")
	if first == "**" {
		if !more {
			return true
		}
		return segments(path, rest) || len(path) > 0 && segments(path[1:], pattern)
	}
	if len(path) == 0 {
		return false
	}
	before, after, star := strings.Cut(first, "*")
	fits := path[0] == first || first == "?" && len(path[0]) == 1 || star && len(path[0]) >= len(before+after) && strings.HasPrefix(path[0], before) && strings.HasSuffix(path[0], after)
	if !more {
		return fits && len(path) == 1
	}
	if len(path) == 1 { // only ** is left to match nothing
		return fits && rest == "**"
	}
	return fits && segments(path[1:], rest)
}

func FuzzCriteria(f *testing.F) {
	for _, domain := range []string{"artifact", "build", "release_bundle_v2", "release_bundle_v2_promotion", "user", "app_trust"} {
		for _, criteria := range []string{
			`{"anyLocal":true,"repoKeys":["a"],"includePatterns":["a/**"],"excludePatterns":["*.x"]}`, `{"anyBuild":true,"selectedBuilds":["a"]}`,
			`{"selectedReleaseBundles":{"r":["a"]},"includePatterns":["**"]}`, `{"selectedEnvironments":["a"]}`, `null`, `{"stages":["a"]}`, `{"anyLocal":1}`, `{"a":`, `[]`,
		} {
			f.Add(domain, []byte(criteria), "a/b.x")
		}
	}
	f.Fuzz(func(t *testing.T, domain string, criteria []byte, path string) {
		if _, err := jfrog.Criteria(domain, criteria); err == nil && stream.ValidDomain(domain) {
			selects(t, domain, string(criteria))(map[string]any{"repo_key": "a", "path": path, "build_name": path}, "remote")
		}
	})
}

// BenchmarkCriteria matches an event with 10,000 subscriptions.
func BenchmarkCriteria(b *testing.B) {
	event := &event.Event{
		ID: "1", Source: "jfrog/jfrt@1", Type: "artifact.deployed", DataContentType: "application/json", Extensions: []event.Attribute{{Name: "repoclass", Value: "local"}},
		Data: []byte(`{"repo_key":"repo-5000","path":"team-5000/app/1.0/app-1.0.jar","name":"app-1.0.jar","sha256":"` + strings.Repeat("ab", 32) + `","size":12345,"notes":"` + strings.Repeat("x", 760) + `"}`),
	}
	for name, criteria := range map[string]func(i int) string{
		"1_repo_and_include": func(i int) string {
			return fmt.Sprintf(`{"repoKeys":["repo-%d"],"includePatterns":["team-*/**/*.jar"]}`, i)
		},
		"3_repos_and_include": func(i int) string {
			return fmt.Sprintf(`{"repoKeys":["repo-%d","repo-x%[1]d","repo-y%[1]d"],"includePatterns":["**/*.jar"],"excludePatterns":["tmp/**"]}`, i)
		},
		"anyLocal_and_include": func(i int) string { return fmt.Sprintf(`{"anyLocal":true,"includePatterns":["team-%d/**"]}`, i) },
		"anyRemote_and_include": func(i int) string {
			return fmt.Sprintf(`{"anyRemote":true,"anyLocal":true,"includePatterns":["team-%d/**"],"excludePatterns":["**/*.tmp"]}`, i)
		},
		"same_repo_and_include": func(i int) string {
			return fmt.Sprintf(`{"repoKeys":["repo-5000"],"includePatterns":["team-%d/**"]}`, i)
		},
		"anyLocal_and_suffix": func(i int) string { return fmt.Sprintf(`{"anyLocal":true,"includePatterns":["**/*-%d.jar"]}`, i) },
	} {
		for _, n := range []int{10, 10_000} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				subs := make([]*subscription.Subscription, n)
				for i := range subs {
					filters, err := jfrog.Criteria("artifact", json.RawMessage(criteria(5000+i-n/2)))
					if err != nil {
						b.Fatal(err)
					}
					subs[i] = &subscription.Subscription{ID: fmt.Sprintf("s%05d", i), Types: []string{"artifact.deployed"}, Filters: filters, State: subscription.Active}
				}
				table, err := filter.NewTable(subs...)
				if err != nil {
					b.Fatal(err)
				}
				var dst []*subscription.Subscription
				b.ReportAllocs()
				for b.Loop() {
					dst = table.Match("artifact", event, dst[:0])
				}
				b.ReportMetric(float64(len(dst)), "matches")
			})
		}
	}
}
