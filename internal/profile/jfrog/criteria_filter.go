package jfrog

import (
	"maps"
	"slices"

	"github.com/jetpost/jetpost/internal/subscription/filter"
	"github.com/jetpost/jetpost/schemas"
)

// filters compiles criteria that have been checked.
func (c *criteria) filters(domain string) []filter.Filter {
	switch domain {
	case "artifact", "artifact_property", "docker":
		return c.repositories()
	case "build":
		return c.names(c.flags[keyAnyBuild], "data.build_name", exact("data.build_name", c.lists[keyBuilds]))
	case "release_bundle", "distribution", "destination", "artifactory_release_bundle":
		return c.names(c.flags[keyAnyBundle], "data.release_bundle_name", exact("data.release_bundle_name", c.lists[keyBundles]))
	case "release_bundle_v2":
		var selected []filter.Filter
		for _, repository := range slices.Sorted(maps.Keys(c.bundles)) {
			if names := exact("data.release_bundle_name", c.bundles[repository]); len(names) > 0 {
				selected = append(selected, filter.All(one("data.repository_key", repository), anyOf(names)))
			}
		}
		return c.names(c.flags[keyAnyBundle], "data.release_bundle_name", selected)
	case "release_bundle_v2_promotion":
		return wants(exact("data.environment", c.lists[keyEnvironments]))
	case "app_trust": // what its criteria mean is not published
		return slices.Concat(wants(exact("data.application_key", c.lists[keyApplications])), wants(exact("data.stage", c.lists[keyStages])))
	default:
		return nil
	}
}

// repositories: the repository is one of those selected, or of a class all of which
// are, and the path passes the patterns.
func (c *criteria) repositories() []filter.Filter {
	const repository = "data.repo_key"
	selected := exact(repository, c.lists[keyRepos])
	if len(selected) > 0 {
		// Events of a remote repository are about its cache.
		caches := make([]string, len(selected))
		for i, key := range c.lists[keyRepos] {
			caches[i] = key + "-cache"
		}
		selected = append(selected, filter.All(one(schemas.RepositoryClass, "remote"), anyOf(exact(repository, caches))))
	}
	if c.flags[keyAnyLocal] {
		known := filter.Glob(map[string]string{schemas.RepositoryClass: "*"}) // true when there is one
		selected = append(selected, one(schemas.RepositoryClass, "local"), filter.Not(known))
	}
	if c.flags[keyAnyRemote] {
		selected = append(selected, one(schemas.RepositoryClass, "remote"))
	}
	if c.flags[keyAnyFederated] {
		selected = append(selected, one(schemas.RepositoryClass, "federated"))
	}
	return slices.Concat(wants(selected), wants(c.patterns(keyInclude, "data.path")), c.excluded("data.path"))
}

// names: any name, or one that is selected or matches a pattern to include, but
// none that matches one to exclude.
func (c *criteria) names(all bool, name string, selected []filter.Filter) []filter.Filter {
	if all {
		return c.excluded(name)
	}
	return slices.Concat(wants(append(selected, c.patterns(keyInclude, name)...)), c.excluded(name))
}

func (c *criteria) excluded(of string) []filter.Filter {
	if patterns := c.patterns(keyExclude, of); len(patterns) > 0 {
		return []filter.Filter{filter.Not(anyOf(patterns))}
	}
	return nil
}

func (c *criteria) patterns(key, of string) []filter.Filter {
	var patterns []filter.Filter
	for _, p := range c.lists[key] {
		patterns = append(patterns, ant(of, p))
	}
	return patterns
}

func ant(of, pattern string) filter.Filter {
	return filter.Ant(map[string]string{of: pattern})
}

func one(of, value string) filter.Filter {
	return filter.Exact(map[string]string{of: value})
}

func exact(of string, values []string) []filter.Filter {
	var filters []filter.Filter
	for _, value := range values {
		filters = append(filters, one(of, value))
	}
	return filters
}

func anyOf(filters []filter.Filter) filter.Filter {
	if len(filters) == 1 {
		return filters[0]
	}
	return filter.Any(filters...)
}

// wants is no filter when there is nothing to choose from.
func wants(filters []filter.Filter) []filter.Filter {
	if len(filters) == 0 {
		return nil
	}
	return []filter.Filter{anyOf(filters)}
}
