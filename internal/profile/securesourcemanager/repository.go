package securesourcemanager

import (
	"regexp"

	"github.com/jetpost/jetpost/internal/subscription/filter"
)

const namePart = `[A-Za-z0-9]([A-Za-z0-9._:-]{0,98}[A-Za-z0-9])?`

var repositoryPattern = regexp.MustCompile(`^projects/` + namePart + `/locations/` + namePart + `/repositories/` + namePart + `$`)

// ValidRepository reports whether name is the resource name of a repository:
// projects/*/locations/*/repositories/*. The project is its id or its number, and the
// two are not known to be the same.
func ValidRepository(name string) bool { return repositoryPattern.MatchString(name) }

// RepositoryFilter is the filter that wants the events of one repository, by its
// resource name, which must be valid. An event is of at most one:
//
//   - the one with whose name its source ends, after a slash or as the whole source:
//     that is what jetpost's git adapter writes;
//   - if its source has no such name in it, the one with whose name
//     repository.uris.api in its data ends: that is what the payloads of the original
//     have, whichever program publishes them, in pushes, pull requests and comments.
//
// Names and full names are not compared: repositories in two locations can share
// them.
func RepositoryFilter(name string) filter.Filter {
	return filter.Any(
		filter.Suffix(map[string]string{"source": "/" + name}),
		filter.All(
			filter.Suffix(map[string]string{"data.repository.uris.api": "/" + name}),
			filter.Not(filter.Glob(map[string]string{"source": "{,*/}projects/*/locations/*/repositories/*"})),
		),
		filter.Exact(map[string]string{"source": name}),
	)
}
