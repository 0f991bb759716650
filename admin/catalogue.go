package admin

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/schemas"
)

// catalogueTimeout bounds the wait for a newer catalogue. After it the one that is
// known here has to do.
const catalogueTimeout = 2 * time.Second

// A catalogue answers by what is registered now: where it knows nothing of what it
// is asked for, another process may have registered it a moment ago.
type catalogue struct {
	live *schemas.Live
	sees func(domain string) bool // nil: all domains
}

// Resolve is that of schemas.Catalogue.
func (c catalogue) Resolve(eventType string) (schemas.Type, error) {
	t, err := c.only(c.live.Current()).Resolve(eventType)
	if err != nil {
		t, err = c.newest().Resolve(eventType)
	}
	return t, err
}

// Domain is that of schemas.Catalogue.
func (c catalogue) Domain(name string) (schemas.Domain, bool) {
	d, known := c.only(c.live.Current()).Domain(name)
	if !known {
		d, known = c.newest().Domain(name)
	}
	return d, known
}

// Domains is that of schemas.Catalogue.
func (c catalogue) Domains() []schemas.Domain { return c.newest().Domains() }

func (c catalogue) newest() *schemas.Catalogue {
	ctx, cancel := context.WithTimeout(context.Background(), catalogueTimeout)
	defer cancel()
	newest, err := c.live.Sync(ctx)
	if err != nil {
		return c.only(c.live.Current())
	}
	return c.only(newest)
}

// problem says why no event can have a type.
func (c catalogue) problem(eventType string) string {
	const seeTypes = "; GET /v1/event-types lists them"
	if domain, ok := strings.CutSuffix(eventType, ".*"); ok {
		if _, known := c.Domain(domain); known {
			return ""
		}
		if meant := c.prefixProblem(domain); meant != "" {
			return meant
		}
		var names []string
		for _, d := range c.Domains() {
			names = append(names, d.Name)
		}
		return "there is no domain " + strconv.Quote(domain) + ": the domains are " + strings.Join(names, ", ") + seeTypes
	}
	if _, err := c.Resolve(eventType); err != nil {
		return err.Error() + seeTypes
	}
	return ""
}

// prefixProblem is for a name that no domain has. If types begin with it, it says which
// domain is meant. It is not taken for the domain: where types are stored, what was
// written has to be what is read back, and a domain of that name may be registered later.
func (c catalogue) prefixProblem(name string) string {
	for _, d := range c.Domains() {
		if d.Name == name {
			return ""
		}
		if d.TypePrefix == name+"." {
			return fmt.Sprintf("there is no domain %q: types that begin with %s are those of the domain %s, write %s, and %s.* for all of its types",
				name, d.TypePrefix, d.Name, d.Name, d.Name)
		}
	}
	return ""
}

// beginningProblem is for types that are selected by how they begin, as in artifact.*. If
// no type begins so, but a domain is called so, it says how that one's types begin.
func (c catalogue) beginningProblem(eventType string) string {
	name, ok := strings.CutSuffix(eventType, ".*")
	if !ok {
		return ""
	}
	d, known := c.Domain(name)
	if !known || slices.ContainsFunc(c.Domains(), func(other schemas.Domain) bool { return strings.HasPrefix(other.TypePrefix, name+".") }) {
		return ""
	}
	return fmt.Sprintf("no type begins with %s.: those of the domain %s begin with %s, write %s*", name, name, d.TypePrefix, d.TypePrefix)
}

// seen is the catalogue as the principal of a request sees it: what a token may not see
// is not in it.
func (c catalogue) seen(ctx context.Context) catalogue {
	if p := access.PrincipalOf(ctx); p.Limited() {
		c.sees = p.Sees
	}
	return c
}

// sync is that of schemas.Live.
func (c catalogue) sync(ctx context.Context) (*schemas.Catalogue, error) {
	now, err := c.live.Sync(ctx)
	if err != nil {
		return nil, err
	}
	return c.only(now), nil
}

// only leaves out what is not seen.
func (c catalogue) only(all *schemas.Catalogue) *schemas.Catalogue {
	if c.sees == nil {
		return all
	}
	return all.Only(c.sees)
}
