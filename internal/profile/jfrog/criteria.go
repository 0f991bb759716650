package jfrog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/internal/subscription/strict"
)

// Criteria compiles the criteria of a subscription to a domain into filters. No
// filters mean every event of the domain. An error is a *subscription.ValidationError
// that names all that is wrong, each by its place, as in criteria.repoKeys[2].
//
// Absent criteria may be nil or null. In objects a missing or null boolean is false
// and a missing or null array is empty. Keys that no domain has are refused, for they
// are typing errors; those of other domains are too, unless they ask for nothing.
// Criteria that select nothing at all are refused.
//
// One set of filters does for all events of a domain: those about moved, copied and
// promoted items have the repository and the path that an item comes from in
// repo_key and path, which are what criteria are about.
func Criteria(domain string, raw json.RawMessage) ([]filter.Filter, error) {
	var c criteria
	own := keysOf(domain)
	c.read(raw, own, domain)
	if len(c.problems) == 0 {
		c.check(domain)
	}
	var filters []filter.Filter
	if len(c.problems) == 0 {
		filters = c.filters(domain)
		for _, f := range filters {
			if invalid, ok := errors.AsType[*subscription.ValidationError](f.Validate()); ok {
				c.locate(invalid)
			}
		}
	}
	if len(c.problems) > 0 {
		return nil, &subscription.ValidationError{Problems: c.problems}
	}
	return filters, nil
}

// The keys of criteria.
const (
	keyAnyLocal     = "anyLocal"
	keyAnyRemote    = "anyRemote"
	keyAnyFederated = "anyFederated"
	keyRepos        = "repoKeys"
	keyAnyBuild     = "anyBuild"
	keyBuilds       = "selectedBuilds"
	keyAnyBundle    = "anyReleaseBundle"
	keyBundles      = "registeredReleaseBundlesNames"
	keyBundlesV2    = "selectedReleaseBundles"
	keyEnvironments = "selectedEnvironments"
	keyApplications = "applicationKeys"
	keyStages       = "stages"
	keyProject      = "projectKey"
	keyInclude      = "includePatterns"
	keyExclude      = "excludePatterns"
)

// CriteriaKeys are the keys of the criteria of a domain, in the order in which they are
// written; none for a domain without.
func CriteriaKeys(domain string) []string { return keysOf(domain) }

// keysOf are the keys of a domain's criteria; none for a domain without.
func keysOf(domain string) []string {
	switch domain {
	case "artifact", "artifact_property", "docker":
		return []string{keyAnyLocal, keyAnyRemote, keyAnyFederated, keyRepos, keyInclude, keyExclude}
	case "build":
		return []string{keyAnyBuild, keyBuilds, keyInclude, keyExclude}
	case "release_bundle", "distribution", "destination", "artifactory_release_bundle":
		return []string{keyAnyBundle, keyBundles, keyInclude, keyExclude}
	case "release_bundle_v2":
		return []string{keyAnyBundle, keyBundlesV2, keyInclude, keyExclude}
	case "release_bundle_v2_promotion":
		return []string{keyEnvironments}
	case "app_trust":
		return []string{keyApplications, keyStages, keyProject}
	default:
		return nil
	}
}

// criteria are what a user wrote, and what is wrong with it.
type criteria struct {
	flags    map[string]bool
	lists    map[string][]string
	bundles  map[string][]string // release_bundle_v2: names by repository
	problems []subscription.Problem
}

func (c *criteria) refuse(field, format string, args ...any) {
	if field != "" {
		field = "." + field
	}
	c.problems = append(c.problems, subscription.Problem{Field: "criteria" + field, Message: fmt.Sprintf(format, args...)})
}

func (c *criteria) read(raw json.RawMessage, own []string, domain string) {
	c.flags, c.lists, c.bundles = map[string]bool{}, map[string][]string{}, map[string][]string{}
	if isNull(raw) {
		return
	}
	members, err := strict.Object(raw)
	if err != nil {
		c.refuse("", "%s", err)
		return
	}
	known := slices.Concat(keysOf("artifact"), keysOf("build"), keysOf("distribution"), keysOf("release_bundle_v2"), keysOf("release_bundle_v2_promotion"), keysOf("app_trust"))
	for _, m := range members {
		switch {
		case isNull(m.Value):
		case slices.Contains(own, m.Name):
			c.set(m)
		case slices.Contains(known, m.Name) && asksNothing(m.Value):
		case len(own) == 0:
			c.refuse(m.Name, "is given, but events of domain %s cannot be selected: leave the criteria out", domain)
		default:
			c.refuse(m.Name, "is not a criterion of domain %s: use %s", domain, strings.Join(own, ", "))
		}
	}
}

// asksNothing reports whether a value is what a client sends for a key that it does
// not use.
func asksNothing(value json.RawMessage) bool {
	return slices.Contains([]string{"false", "[]", "{}", `""`}, string(bytes.TrimSpace(value)))
}

func isNull(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) == 0 || string(raw) == "null"
}

// set reads a value of one of the domain's keys.
func (c *criteria) set(m strict.Member) {
	switch m.Name {
	case keyAnyLocal, keyAnyRemote, keyAnyFederated, keyAnyBuild, keyAnyBundle:
		var flag bool
		if json.Unmarshal(m.Value, &flag) != nil {
			c.refuse(m.Name, "must be true or false")
		}
		c.flags[m.Name] = flag
	case keyBundlesV2:
		if bytes.HasPrefix(bytes.TrimSpace(m.Value), []byte("[")) {
			c.refuse(m.Name, `must be an object of names by repository, such as {"release-bundles-v2":["name"]}: an array does not say in which repository the bundles are`)
			return
		}
		repositories, err := strict.Object(m.Value)
		if err != nil {
			c.refuse(m.Name, "%s", err)
		}
		for _, r := range repositories {
			if r.Name == "" {
				c.refuse(m.Name, "has a repository without a name")
			}
			c.bundles[r.Name] = c.list(m.Name+"."+r.Name, r.Value)
		}
	case keyProject:
		var project string
		if json.Unmarshal(m.Value, &project) != nil {
			c.refuse(m.Name, "must be a string")
		} else if project != "" {
			c.refuse(m.Name, "cannot be used: not every event of the domain says of which project it is")
		}
	default:
		c.lists[m.Name] = c.list(m.Name, m.Value)
	}
}

func (c *criteria) list(field string, raw json.RawMessage) []string {
	if isNull(raw) {
		return nil
	}
	var elements []json.RawMessage
	if json.Unmarshal(raw, &elements) != nil {
		c.refuse(field, "must be an array of strings")
		return nil
	}
	list := make([]string, len(elements))
	for i, element := range elements {
		if isNull(element) || json.Unmarshal(element, &list[i]) != nil {
			c.refuse(fmt.Sprintf("%s[%d]", field, i), "must be a string")
		} else if list[i] == "" {
			c.refuse(fmt.Sprintf("%s[%d]", field, i), "is empty: remove it")
		}
	}
	return list
}

// check refuses criteria that no event can meet, and patterns that cannot be used.
func (c *criteria) check(domain string) {
	for _, key := range []string{keyInclude, keyExclude} {
		for i, p := range c.lists[key] {
			if invalid, ok := errors.AsType[*subscription.ValidationError](ant("data.path", p).Validate()); ok {
				c.refuse(fmt.Sprintf("%s[%d]", key, i), "%s", invalid.Problems[0].Message)
			}
		}
	}
	names := len(slices.Concat(slices.Collect(maps.Values(c.bundles))...)) + len(c.lists[keyBuilds]) + len(c.lists[keyBundles]) + len(c.lists[keyInclude])
	switch domain {
	case "artifact", "artifact_property", "docker":
		if !c.flags[keyAnyLocal] && !c.flags[keyAnyRemote] && !c.flags[keyAnyFederated] && len(c.lists[keyRepos]) == 0 {
			c.refuse("", "select no repository: give repoKeys, or set anyLocal, anyRemote or anyFederated")
		}
	case "build":
		if !c.flags[keyAnyBuild] && names == 0 {
			c.refuse("", "select no build: give selectedBuilds or includePatterns, or set anyBuild")
		}
	case "release_bundle", "distribution", "destination", "artifactory_release_bundle", "release_bundle_v2":
		if !c.flags[keyAnyBundle] && names == 0 {
			c.refuse("", "select no release bundle: give names or includePatterns, or set anyReleaseBundle")
		}
	}
}

// locate reports what check has not foreseen: there are limits to filters.
func (c *criteria) locate(invalid *subscription.ValidationError) {
	for _, p := range invalid.Problems {
		c.refuse("", "cannot be used as filters: %s", strings.TrimSpace(p.Field+" "+p.Message))
	}
}
