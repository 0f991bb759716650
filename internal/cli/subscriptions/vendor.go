package subscriptions

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/profile/jfrog"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// vendorFields are filters in the words of other systems.
type vendorFields struct {
	JFrogCriteria string  `name:"jfrog-criteria" env:"-" group:"Filters" placeholder:"JSON" help:"The criteria of a JFrog webhook, such as {\"anyLocal\":true,\"includePatterns\":[\"org/**\"]}; @FILE reads a file. All --types must be of one domain."`
	BranchFilter  *string `env:"-" group:"Filters" placeholder:"GLOB" help:"The branch filter of a Secure Source Manager hook, such as {main,release*}. It applies to pushes only."`
}

const pushType = "git.push"

// compile returns the filters that the flags stand for, of a subscription to types; none are
// known where only other fields of it are changed.
func (f *vendorFields) compile(types []string) ([]filter.Filter, error) {
	var filters []filter.Filter
	if f.JFrogCriteria != "" {
		compiled, err := f.criteria(types)
		if err != nil {
			return nil, err
		}
		filters = compiled
	}
	if f.BranchFilter != nil {
		pushes, err := securesourcemanager.BranchFilter(*f.BranchFilter)
		if err != nil {
			return nil, fmt.Errorf("--branch-filter: %w", err)
		}
		if len(pushes) > 0 && (len(types) != 1 || types[0] != pushType) {
			other := filter.Not(filter.Exact(map[string]string{"type": pushType}))
			pushes = []filter.Filter{filter.Any(other, filter.All(pushes...))}
		}
		filters = append(filters, pushes...)
	}
	return filters, nil
}

func (f *vendorFields) criteria(types []string) ([]filter.Filter, error) {
	text := f.JFrogCriteria
	if path, isFile := strings.CutPrefix(text, "@"); isFile {
		read, err := plain.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read --jfrog-criteria: %w", err)
		}
		text = string(read)
	}
	if len(types) == 0 {
		return nil, errors.New("--jfrog-criteria: give --types as well, they say of which domain the criteria are")
	}
	domain, _, _ := strings.Cut(types[0], ".")
	for _, other := range types[1:] {
		if d, _, _ := strings.Cut(other, "."); d != domain {
			return nil, fmt.Errorf("--jfrog-criteria: the types are of the domains %s and %s: make a subscription for each", domain, d)
		}
	}
	filters, err := jfrog.Criteria(domain, json.RawMessage(text))
	if invalid, ok := errors.AsType[*subscription.ValidationError](err); ok {
		problems := make([]string, len(invalid.Problems))
		for i, p := range invalid.Problems {
			problems[i] = strings.TrimSpace(p.Field + " " + p.Message)
		}
		return nil, fmt.Errorf("--jfrog-criteria: %s", strings.Join(problems, "; "))
	}
	if err != nil {
		return nil, fmt.Errorf("--jfrog-criteria: %w", err)
	}
	return filters, nil
}
