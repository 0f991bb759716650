package admin

import (
	"context"
	"strconv"
	"strings"
	"time"

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
