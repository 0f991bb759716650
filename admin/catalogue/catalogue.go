// Package catalogue answers what event types and domains there are, as the API sees them:
// always by the newest catalogue, and for a principal without what its token hides.
package catalogue

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

// timeout bounds the wait for a newer catalogue. After it the copy of this
// process is used.
const timeout = 2 * time.Second

// A Catalogue is the event catalogue as it is now: what is not found in this process's
// copy may have been registered by another process a moment ago, so the copy is brought
// up to date first.
type Catalogue struct {
	live *schemas.Live
	sees func(domain string) bool // nil: all domains
}

// New returns the whole catalogue. live is kept running by the caller.
func New(live *schemas.Live) Catalogue { return Catalogue{live: live} }

// Resolve is that of schemas.Catalogue.
func (c Catalogue) Resolve(eventType string) (schemas.Type, error) {
	t, err := c.only(c.live.Current()).Resolve(eventType)
	if err != nil {
		t, err = c.Newest().Resolve(eventType)
	}
	return t, err
}

// Domain is that of schemas.Catalogue.
func (c Catalogue) Domain(name string) (schemas.Domain, bool) {
	d, known := c.only(c.live.Current()).Domain(name)
	if !known {
		d, known = c.Newest().Domain(name)
	}
	return d, known
}

// Domains is that of schemas.Catalogue.
func (c Catalogue) Domains() []schemas.Domain { return c.Newest().Domains() }

// Newest is the catalogue as it is now or, where that cannot be read in time, the copy of
// this process.
func (c Catalogue) Newest() *schemas.Catalogue {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	newest, err := c.live.Sync(ctx)
	if err != nil {
		return c.only(c.live.Current())
	}
	return c.only(newest)
}

// Problem says why no event can have a type.
func (c Catalogue) Problem(eventType string) string {
	const seeTypes = "; GET /v1/event-types lists them"
	if domain, ok := strings.CutSuffix(eventType, ".*"); ok {
		if _, known := c.Domain(domain); known {
			return ""
		}
		if meant := c.PrefixProblem(domain); meant != "" {
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

// PrefixProblem is for a name that no domain has. If types begin with it, it says which
// domain is meant. It is not taken for the domain: where types are stored, what was
// written has to be what is read back, and a domain of that name may be registered later.
func (c Catalogue) PrefixProblem(name string) string {
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

// BeginningProblem is for types that are selected by how they begin, as in artifact.*. If
// no type begins so, but a domain is called so, it says how that one's types begin.
func (c Catalogue) BeginningProblem(eventType string) string {
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

// Seen is the catalogue as the principal of a request sees it: what a token may not see
// is not in it.
func (c Catalogue) Seen(ctx context.Context) Catalogue {
	if p := access.PrincipalOf(ctx); p.Limited() {
		c.sees = p.Sees
	}
	return c
}

// Sync is that of schemas.Live.
func (c Catalogue) Sync(ctx context.Context) (*schemas.Catalogue, error) {
	now, err := c.live.Sync(ctx)
	if err != nil {
		return nil, err
	}
	return c.only(now), nil
}

// only leaves out what is not seen.
func (c Catalogue) only(all *schemas.Catalogue) *schemas.Catalogue {
	if c.sees == nil {
		return all
	}
	return all.Only(c.sees)
}
