package securesourcemanager

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/subscription"
)

const hookIDRule = "use 1 to 63 lower-case letters, digits and dashes, a letter first and no dash last"

var hookIDPattern = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// parentOf is the repository that the path names. It need not exist: the API has
// hooks only.
func parentOf(r *http.Request) (string, error) {
	name := "projects/" + r.PathValue("project") + "/locations/" + r.PathValue("location") + "/repositories/" + r.PathValue("repository")
	if !securesourcemanager.ValidRepository(name) {
		return "", badField("INVALID_PARENT", "parent", "\"{parent}\" is not the name of a repository: write projects/*/locations/*/repositories/*, with letters, digits and . _ : - in each part.", "parent", name)
	}
	return name, nil
}

// wildcard stands in the parent of a list for every location or every repository
// (AIP-159). No resource has that name.
const wildcard = "-"

// listParentOf is parentOf for a list: its location and its repository may be wildcard.
func listParentOf(r *http.Request) (parent string, isChild func(hook string) bool, err error) {
	want := []string{"projects", r.PathValue("project"), "locations", r.PathValue("location"), "repositories", r.PathValue("repository")}
	named := slices.Clone(want)
	for _, part := range []int{3, 5} {
		if named[part] == wildcard {
			named[part] = "any"
		}
	}
	if !securesourcemanager.ValidRepository(strings.Join(named, "/")) {
		_, err := parentOf(r)
		return "", nil, err
	}
	return strings.Join(want, "/"), func(hook string) bool {
		parent, _ := splitHook(hook)
		have := strings.Split(parent, "/")
		return slices.EqualFunc(want, have, func(want, have string) bool { return want == wildcard || want == have })
	}, nil
}

// hookOf is the full name of the hook that the path names.
func hookOf(r *http.Request) (string, error) {
	parent, err := parentOf(r)
	if err != nil {
		return "", err
	}
	id := r.PathValue("hook")
	if !hookIDPattern.MatchString(id) {
		return "", badField("INVALID_HOOK_ID", "name", "\"{hookId}\" is not the id of a hook: "+hookIDRule+".", "hookId", id)
	}
	return hookName(parent, id), nil
}

func hookName(parent, id string) string { return parent + "/hooks/" + id }

// splitHook takes the name of a hook apart.
func splitHook(name string) (parent, id string) {
	parent, id, _ = strings.Cut(name, "/hooks/")
	return parent, id
}

// subscriptionID is the id of the subscription that a hook is. Ids of hooks are
// unique in their repository only, so it is the hash of the whole name that tells.
func subscriptionID(name string) string {
	_, id := splitHook(name)
	return subscription.ManagedID("ssm", id, name)
}

// keeps reports whether sub is the hook of a name. Those of other APIs are not there.
func keeps(sub *subscription.Subscription, name string) bool {
	return sub.Managed.By == subscription.ManagedBySecureSourceManager && sub.Managed.Name == name
}
