package securesourcemanager

import (
	"fmt"
	"strings"

	"github.com/gobwas/glob"

	"github.com/jetpost/jetpost/internal/subscription/filter"
)

const (
	branchRefs = "refs/heads/"
	// maxBranchFilter leaves room for branchRefs in a pattern of 512 bytes.
	maxBranchFilter = 500
)

// BranchFilter turns the branch filter of a hook into filters on the ref of a push.
// The product applies it to pushes only: a hook that also lists other triggers needs
// Any(Not(Exact type git.push), All(filters...)), or a subscription for each.
//
// No filters, and no error, mean every push, those of tags included: that is what an
// empty filter, * and ** stand for. Any other filter is a glob without separators,
// so that * matches a / as well, for the name of a branch without refs/heads/; if
// refs/ occurs in it, it may match the full ref instead. A tag has no branch name.
//
// An error of syntax wraps a *glob.SyntaxError with its offset in the pattern.
func BranchFilter(pattern string) ([]filter.Filter, error) {
	if pattern == "" || pattern == "*" || pattern == "**" {
		return nil, nil
	}
	if len(pattern) > maxBranchFilter {
		return nil, fmt.Errorf("the branch filter has %d bytes, at most %d are allowed", len(pattern), maxBranchFilter)
	}
	if _, err := glob.Compile(pattern); err != nil {
		return nil, fmt.Errorf("read the branch filter: %w", err)
	}
	// What stands before a whole pattern does not change what it means: a pattern
	// has no beginning that looks back, and its braces are closed.
	refs := filter.Glob(map[string]string{"data.ref": branchRefs + pattern})
	if strings.Contains(pattern, "refs/") {
		refs = filter.Any(refs, filter.Glob(map[string]string{"data.ref": pattern}))
	}
	if err := refs.Validate(); err != nil {
		return nil, fmt.Errorf("the branch filter %q cannot be used: %w", pattern, err)
	}
	return []filter.Filter{refs}, nil
}
